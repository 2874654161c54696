package bus_test

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/goleak"

	"github.com/signalmesh/signalmesh/pkg/bus"
	"github.com/signalmesh/signalmesh/pkg/embed"
	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/signal"
	"github.com/signalmesh/signalmesh/pkg/subject"
)

// A server that is shut down while a batch is staged leaves the stage's goroutines behind
// (2.15.2); they are the server's, and one test here shuts servers down like that.
func TestMain(m *testing.M) {
	const server = "github.com/nats-io/nats-server/v2/server"
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction(server+".(*fileStore).flushStreamStateLoop"),
		goleak.IgnoreAnyFunction(server+".(*msgBlock).flushLoop"),
		goleak.IgnoreAnyFunction(server+"/ats.Register.func1"))
}

// patience is for what must happen; nothing here waits that long unless it fails.
const patience = 20 * time.Second

func serve(tb testing.TB, durability embed.Durability) *embed.Server {
	tb.Helper()
	srv, err := embed.Start(tb.Context(), embed.Config{Dir: tb.TempDir(), Durability: durability})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(srv.Shutdown)
	return srv
}

func connect(tb testing.TB, srv *embed.Server) *nats.Conn {
	tb.Helper()
	nc, err := nats.Connect(srv.ClientURL(), nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(nc.Close)
	return nc
}

// join opens the bus over a connection of its own, as another process would.
func join(tb testing.TB, srv *embed.Server, opts ...bus.OpenOption) *bus.Bus {
	tb.Helper()
	opts = append([]bus.OpenOption{bus.WithLogger(slog.New(slog.DiscardHandler))}, opts...)
	b, err := bus.Open(tb.Context(), connect(tb, srv), opts...)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(b.Close)
	return b
}

// open is a bus on a server of its own.
func open(tb testing.TB, opts ...bus.OpenOption) *bus.Bus {
	tb.Helper()
	return join(tb, serve(tb, embed.Fast), opts...)
}

func make1(tb testing.TB, typ string, data any, opts ...signal.Option) *signal.Signal {
	tb.Helper()
	s, err := signal.New(typ, data, append([]signal.Option{signal.From("/test")}, opts...)...)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// several makes n signals of the type with the data 1 to n.
func several(tb testing.TB, typ string, n int) []*signal.Signal {
	tb.Helper()
	var all []*signal.Signal
	for i := range n {
		all = append(all, make1(tb, typ, i+1))
	}
	return all
}

func publish(tb testing.TB, b *bus.Bus, signals ...*signal.Signal) {
	tb.Helper()
	for len(signals) > 0 {
		n := min(len(signals), bus.MaxBatch)
		if err := b.Publish(context.Background(), signals[:n]...); err != nil {
			tb.Fatal(err)
		}
		signals = signals[n:]
	}
}

func subscribe(tb testing.TB, b *bus.Bus, on string, h signal.Handler, opts ...bus.SubscribeOption) *bus.Subscription {
	tb.Helper()
	s, err := b.Subscribe(tb.Context(), on, h, opts...)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// to is a handler that sends what it gets.
func to(c chan<- *signal.Signal) signal.Handler {
	return func(_ context.Context, s *signal.Signal) error {
		c <- s
		return nil
	}
}

func await[T any](tb testing.TB, c <-chan T, what string) (v T) {
	tb.Helper()
	select {
	case v = <-c:
	case <-time.After(patience):
		tb.Fatalf("waited %s for %s", patience, what)
	}
	return v
}

// quiet fails if something comes within d.
func quiet[T any](tb testing.TB, c <-chan T, d time.Duration, what string) {
	tb.Helper()
	select {
	case v := <-c:
		tb.Errorf("%s: %v", what, v)
	case <-time.After(d):
	}
}

// hold waits until it is let go, or the test is over.
func hold(tb testing.TB, let <-chan bool) {
	select {
	case <-let:
	case <-tb.Context().Done():
	}
}

// until asks again and again until the answer is true.
func until(tb testing.TB, what string, ok func() bool) {
	tb.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); !ok(); <-tick.C {
		if time.Now().After(end) {
			tb.Fatalf("waited %s for %s", patience, what)
		}
	}
}

// replayed returns the signals of the bus that match, oldest first.
func replayed(tb testing.TB, b *bus.Bus, on string, opts ...bus.ReplayOption) []*signal.Signal {
	tb.Helper()
	var all []*signal.Signal
	for s, err := range b.Replay(tb.Context(), on, opts...) {
		if err != nil {
			tb.Fatal(err)
		}
		all = append(all, s)
	}
	return all
}

func ids(signals []*signal.Signal) []string {
	var all []string
	for _, s := range signals {
		all = append(all, s.ID)
	}
	return all
}

func wantCode(tb testing.TB, err error, code fault.Code) {
	tb.Helper()
	if !fault.Is(err, code) {
		tb.Errorf("error = %v (code %s), want code %s", err, fault.CodeOf(err), code)
	}
}

func TestOpen(t *testing.T) {
	t.Parallel()
	srv := serve(t, embed.Fast)
	nc := connect(t, srv)

	_, err := bus.Open(t.Context(), nc, bus.WithoutProvision())
	wantCode(t, err, fault.NotFound)
	for _, name := range []string{"", "a b", "a.b", "x_DLQ", strings.Repeat("x", 65)} {
		_, err := bus.Open(t.Context(), nc, bus.Named(name))
		wantCode(t, err, fault.Invalid)
	}

	space, err := subject.NewSpace("acme")
	if err != nil {
		t.Fatal(err)
	}
	shop := join(t, srv, bus.Named("shop"), bus.WithSpace(space))
	again := join(t, srv, bus.Named("shop"), bus.WithSpace(space), bus.WithoutProvision())
	other := join(t, srv, bus.Named("shop"))
	if got := shop.Name() + " " + shop.Space().Stream("shop"); got != "shop ACME_shop" {
		t.Errorf("bus and stream = %s, want shop ACME_shop", got)
	}
	publish(t, shop, make1(t, "order.created", 1))
	if got := len(replayed(t, again, "**")); got != 1 {
		t.Errorf("the same bus opened again has %d signals, want 1", got)
	}
	if got := len(replayed(t, other, "**")); got != 0 {
		t.Errorf("the bus of another space has %d signals, want 0", got)
	}
	if last, err := shop.Last(t.Context()); last != 1 || err != nil {
		t.Errorf("Last() = %d, %v, want 1", last, err)
	}
}

func TestOpenUnreachable(t *testing.T) {
	t.Parallel()
	srv := serve(t, embed.Fast)
	nc := connect(t, srv)
	nc.Close()
	_, err := bus.Open(t.Context(), nc)
	wantCode(t, err, fault.Unavailable)
}

func TestClose(t *testing.T) {
	t.Parallel()
	b := open(t)
	got := make(chan *signal.Signal, 10)
	entered := make(chan bool)
	eph := subscribe(t, b, "**", to(got))
	dur := subscribe(t, b, "**", func(ctx context.Context, _ *signal.Signal) error {
		entered <- true
		<-ctx.Done()
		return ctx.Err()
	}, bus.Durable("d"))
	publish(t, b, make1(t, "a", 1))
	await(t, got, "the ephemeral subscription")
	await(t, entered, "the durable subscription")
	b.Close()
	for _, s := range []*bus.Subscription{eph, dur} {
		await(t, s.Done(), "the end of a subscription")
		if s.Err() != nil {
			t.Errorf("Err() = %v after Close, want nil", s.Err())
		}
	}
	wantCode(t, b.Publish(t.Context(), make1(t, "a", 1)), fault.Unavailable)
	_, err := b.Subscribe(t.Context(), "a", to(got))
	wantCode(t, err, fault.Unavailable)
	b.Close()
}
