package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/signalmesh/signalmesh/pkg/codec"
	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/provision"
	"github.com/signalmesh/signalmesh/pkg/signal"
	"github.com/signalmesh/signalmesh/pkg/subject"
	"github.com/signalmesh/signalmesh/streams"
)

// DefaultName is the bus that [Open] opens unless told otherwise.
const DefaultName = provision.DefaultBus

// A Bus is a named log of signals. Its methods may be called concurrently.
type Bus struct {
	name   string
	space  subject.Space
	node   string
	mode   codec.Mode
	log    *slog.Logger
	nc     *nats.Conn
	js     jetstream.JetStream
	stream jetstream.Stream

	publishing []signal.Middleware
	handling   []signal.Middleware
	commits    *committer

	mu     sync.Mutex
	closed bool
	parts  map[part]struct{} // what Close ends
}

// part is something that runs until it is stopped.
type part interface {
	Stop()
	Done() <-chan struct{}
}

// Open connects to the bus over nc, which stays the caller's, and makes its streams if they
// are missing. What exists is not changed. The context bounds the call.
//
// Errors are coded Invalid for a bad option, Conflict when the streams belong to something
// else, and Unavailable when JetStream does not answer.
func Open(ctx context.Context, nc *nats.Conn, opts ...OpenOption) (*Bus, error) {
	cfg := openConfig{name: DefaultName, log: slog.Default()}
	for _, o := range opts {
		o.open(&cfg)
	}
	b, err := open(ctx, nc, cfg)
	if err != nil {
		return nil, fmt.Errorf("open bus %.64s: %w", cfg.name, err)
	}
	return b, nil
}

func open(ctx context.Context, nc *nats.Conn, cfg openConfig) (*Bus, error) {
	if err := subject.CheckName("bus", cfg.name); err != nil {
		return nil, err
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, fault.Wrap(fault.Unavailable, err)
	}
	b := &Bus{
		name: cfg.name, space: cfg.space, node: cfg.node, mode: cfg.mode, nc: nc, js: js,
		log:        cfg.log.With("bus", cfg.name),
		publishing: cfg.publishing, handling: cfg.handling,
		parts: make(map[part]struct{}),
	}
	if !cfg.asIs {
		if err := b.provision(ctx, cfg.replicas); err != nil {
			return nil, err
		}
	}
	b.stream, err = js.Stream(ctx, b.space.Stream(b.name))
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, fault.Hint(fault.Newf(fault.NotFound, "no stream %s", b.space.Stream(b.name)),
			"make it with `sigctl streams apply`, or open the bus without WithoutProvision")
	}
	if err != nil {
		return nil, coded(err)
	}
	b.commits = newCommitter(b)
	return b, nil
}

// provision makes the streams that are missing.
func (b *Bus) provision(ctx context.Context, replicas int) error {
	defs, err := provision.Load(streams.FS, provision.Vars{Space: b.space, Buses: []string{b.name}, Replicas: replicas},
		streams.Signals, streams.DeadLetters, streams.Later, streams.Snapshots)
	if err != nil {
		return err
	}
	return provision.Ensure(ctx, b.js, defs...)
}

// Name is the name of the bus.
func (b *Bus) Name() string { return b.name }

// Space makes the names of what belongs to the bus on NATS.
func (b *Bus) Space() subject.Space { return b.space }

// Conn is the connection that was given to [Open].
func (b *Bus) Conn() *nats.Conn { return b.nc }

// JetStream is the engine on that connection.
func (b *Bus) JetStream() jetstream.JetStream { return b.js }

// Wrap puts the middleware of [WithHandlerMiddleware] around a handler. Subscriptions do so
// by themselves; it is for those who consume the bus in another way.
func (b *Bus) Wrap(h signal.Handler) signal.Handler { return signal.Chain(h, b.handling...) }

// Close stops every subscription and consumer of the bus and waits for their handlers to
// return. The connection stays open. It may be called more than once, and never from a
// handler.
func (b *Bus) Close() {
	b.mu.Lock()
	b.closed = true
	var open []part
	for p := range b.parts {
		open = append(open, p)
	}
	b.mu.Unlock()
	for _, p := range open {
		p.Stop()
	}
	for _, p := range open {
		<-p.Done()
	}
	b.commits.close()
}

var errClosed = fault.Newf(fault.Unavailable, "bus is closed")

// adopt makes Close end p, and lets go of it when it ends by itself. A bus that is closed
// refuses it.
func (b *Bus) adopt(p part) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return errClosed
	}
	b.parts[p] = struct{}{}
	return nil
}

// disown is called by a part at its end.
func (b *Bus) disown(p part) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.parts, p)
}

func (b *Bus) isClosed() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.closed
}
