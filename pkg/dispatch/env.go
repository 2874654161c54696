package dispatch

import (
	"context"
	"io"
	"log/slog"
	"os"

	"github.com/nats-io/nats.go"

	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/netguard"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

// Env is what a process lends to its adapters. The zero Env works for adapters that need
// none of it, and is the strictest: public addresses only, no secrets.
type Env struct {
	// Conn is the mesh's NATS connection. Adapters that need it and find nil don't open.
	Conn *nats.Conn

	// Space is the subject prefix of the mesh; "" means the default one.
	Space string

	// Bus is the bus whose signals are delivered.
	Bus string

	// Node is the name of this process in the mesh.
	Node string

	// Version is the version of the program, told to the other side where there is a place
	// for it, such as an HTTP user agent.
	Version string

	// Guard makes every connection that leaves the mesh. nil allows public addresses only.
	Guard *netguard.Guard

	// Log receives what adapters have to say; nil drops it.
	Log *slog.Logger

	// Stdout is where the console adapter writes; nil means the process's own.
	Stdout io.Writer

	// Publish puts a signal on a bus and returns when it is stored.
	Publish func(ctx context.Context, bus string, s *signal.Signal) error

	// AllowSecrets says that the options are the operator's own words: they may refer to
	// secrets of this process and hold templates. It stays false for targets that a signal
	// carries; else whoever may publish could have any secret sent to an address of theirs.
	AllowSecrets bool
}

// Logger returns Log, or a logger that drops everything.
func (e Env) Logger() *slog.Logger {
	if e.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return e.Log
}

// Out returns Stdout, or the process's own standard output.
func (e Env) Out() io.Writer {
	if e.Stdout == nil {
		return os.Stdout
	}
	return e.Stdout
}

// Connection returns Conn, or an Unavailable error when there is none.
func (e Env) Connection() (*nats.Conn, error) {
	if e.Conn == nil {
		return nil, fault.Newf(fault.Unavailable, "no connection to NATS is given to this target")
	}
	return e.Conn, nil
}

// UserAgent names the program to the other side, "signald/1.2.3".
func (e Env) UserAgent() string {
	if e.Version == "" {
		return "signald"
	}
	return "signald/" + e.Version
}
