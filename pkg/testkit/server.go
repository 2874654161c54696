package testkit

import (
	"sync"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/signalmesh/signalmesh/pkg/embed"
)

// servers holds the server of each running test.
var servers = struct {
	sync.Mutex
	of map[testing.TB]*embed.Server
}{of: map[testing.TB]*embed.Server{}}

// A ServerOption changes the server of a test. The call that starts the server decides.
type ServerOption interface{ apply(*embed.Config) }

type serverOption func(*embed.Config)

func (f serverOption) apply(c *embed.Config) { f(c) }

// Durable syncs every acknowledged write to disk, as a node does. Without it a test is
// spared the time.
func Durable() ServerOption {
	return serverOption(func(c *embed.Config) { c.Durability = embed.Sync })
}

// Domain gives the server a JetStream domain.
func Domain(name string) ServerOption {
	return serverOption(func(c *embed.Config) { c.Domain = name })
}

// Server is the NATS server of the test, on a free loopback port and a directory of its
// own. The first call starts it.
func Server(tb testing.TB, opts ...ServerOption) *embed.Server {
	tb.Helper()
	servers.Lock()
	defer servers.Unlock()
	if s := servers.of[tb]; s != nil {
		if len(opts) > 0 {
			tb.Fatal("testkit: the server of this test runs already, its options come too late")
		}
		return s
	}
	cfg := embed.Config{Name: "testkit", Dir: tb.TempDir(), Durability: embed.Fast}
	for _, o := range opts {
		o.apply(&cfg)
	}
	s, err := embed.Start(tb.Context(), cfg)
	if err != nil {
		tb.Fatalf("testkit: %v", err)
	}
	servers.of[tb] = s
	tb.Cleanup(func() {
		servers.Lock()
		delete(servers.of, tb)
		servers.Unlock()
		s.Shutdown()
	})
	return s
}

// Conn is a new connection to the server of the test, within the process.
func Conn(tb testing.TB, opts ...nats.Option) *nats.Conn {
	tb.Helper()
	nc, err := Server(tb).Connect(opts...)
	if err != nil {
		tb.Fatalf("testkit: %v", err)
	}
	tb.Cleanup(nc.Close)
	return nc
}

// JetStream is JetStream over a new connection to the server of the test.
func JetStream(tb testing.TB) jetstream.JetStream {
	tb.Helper()
	js, err := jetstream.New(Conn(tb))
	if err != nil {
		tb.Fatalf("testkit: %v", err)
	}
	return js
}
