package bus_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/signalmesh/signalmesh/pkg/bus"
	"github.com/signalmesh/signalmesh/pkg/embed"
	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

// balance folds deposits and withdrawals.
func balance(cents int, s *signal.Signal) (int, error) {
	n, err := strconv.Atoi(string(s.Data))
	if err != nil {
		return cents, err
	}
	if s.Type == "account.withdrawn" {
		n = -n
	}
	return cents + n, nil
}

func rebuilt(tb testing.TB, b *bus.Bus, on, about string, opts ...bus.ReplayOption) *bus.Rebuilt[int] {
	tb.Helper()
	r, err := bus.Rebuild(tb.Context(), b, on, about, 0, balance, opts...)
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

func TestRebuild(t *testing.T) {
	t.Parallel()
	b := open(t)
	if r := rebuilt(t, b, "account.*", "a"); r.State != 0 || r.Signals != 0 {
		t.Errorf("rebuilt from nothing: %d of %d signals", r.State, r.Signals)
	}
	for i := 1; i <= 10; i++ {
		publish(t, b, make1(t, "account.deposited", i, signal.About("a")), make1(t, "account.deposited", 100, signal.About("b")),
			make1(t, "order.created", 7, signal.About("a")))
	}
	publish(t, b, make1(t, "account.withdrawn", 5, signal.About("a")))
	r := rebuilt(t, b, "account.*", "a")
	if r.State != 50 || r.Signals != 11 || r.Sequence != 31 || r.Read() != 31 {
		t.Errorf("state %d of %d signals up to %d, read to %d, want 50 of 11 up to 31 and 31", r.State, r.Signals, r.Sequence, r.Read())
	}
	publish(t, b, make1(t, "account.deposited", 1, signal.About("a")), make1(t, "noise", 1))
	if err := r.Refresh(t.Context()); err != nil || r.State != 51 || r.Signals != 12 || r.Read() != 33 {
		t.Errorf("Refresh: %v, state %d of %d signals, read to %d", err, r.State, r.Signals, r.Read())
	}
	if past := rebuilt(t, b, "account.*", "a", bus.UntilSequence(6)); past.State != 3 || past.Read() != 6 {
		t.Errorf("as of position 6: %d, want 3", past.State)
	}
	before, err := b.Get(t.Context(), 6)
	if err != nil {
		t.Fatal(err)
	}
	past := rebuilt(t, b, "account.*", "a", bus.Until(before.Stored))
	if past.State != 3 {
		t.Errorf("as of the time of position 6: %d, want 3", past.State)
	}
	_, err = b.PublishIf(t.Context(), past.Expectation(), make1(t, "account.deposited", 1))
	wantCode(t, err, fault.Conflict)
	kept, err := bus.Rebuild(t.Context(), b, "account.*", "a", 50, balance, bus.FromSequence(32))
	if err != nil || kept.State != 51 || kept.Signals != 1 {
		t.Errorf("from a state that was kept: %+v, %v, want 51 with one signal", kept, err)
	}
	_, err = bus.Rebuild(t.Context(), b, "account.*", "", 0, balance)
	wantCode(t, err, fault.Invalid)
	_, err = bus.Rebuild(t.Context(), b, "account.*", "a", 0, balance, bus.Follow())
	wantCode(t, err, fault.Invalid)
}

// A fold that fails leaves the state before it, and goes on there.
func TestRebuildFoldFails(t *testing.T) {
	t.Parallel()
	b := open(t)
	publish(t, b, make1(t, "account.deposited", 1, signal.About("a")))
	broken, sick := errors.New("sick"), false
	r, err := bus.Rebuild(t.Context(), b, "account.*", "a", 0, func(n int, s *signal.Signal) (int, error) {
		if sick {
			return -1, broken
		}
		return balance(n, s)
	})
	if err != nil {
		t.Fatal(err)
	}
	publish(t, b, make1(t, "account.deposited", 2, signal.About("a")))
	sick = true
	if err := r.Refresh(t.Context()); !errors.Is(err, broken) || r.State != 1 {
		t.Errorf("Refresh = %v with state %d, want the error of fold and 1", err, r.State)
	}
	sick = false
	if err := r.Refresh(t.Context()); err != nil || r.State != 3 {
		t.Errorf("Refresh = %v with state %d, want 3", err, r.State)
	}
}

// Whoever decides on an old state is refused, whether the pattern is one type or several.
func TestRebuildExpectation(t *testing.T) {
	t.Parallel()
	for _, on := range []string{"account.deposited", "account.*"} {
		t.Run(on, func(t *testing.T) {
			t.Parallel()
			b := open(t)
			publish(t, b, make1(t, "account.deposited", 1, signal.About("a")))
			r := rebuilt(t, b, on, "a")
			publish(t, b, make1(t, "account.deposited", 1, signal.About("a")))
			next := make1(t, "account.deposited", 1, signal.About("a"))
			_, err := b.PublishIf(t.Context(), r.Expectation(), next)
			wantCode(t, err, fault.Conflict)
			if err := r.Refresh(t.Context()); err != nil {
				t.Fatal(err)
			}
			if _, err := b.PublishIf(t.Context(), r.Expectation(), next); err != nil {
				t.Fatal(err)
			}
			// Its answer got lost, and meanwhile somebody else published.
			publish(t, b, make1(t, "account.deposited", 1, signal.About("b")))
			if acks, err := b.PublishIf(t.Context(), r.Expectation(), next); err != nil || !acks[0].Duplicate || acks[0].Sequence != 3 {
				t.Errorf("repeated: %+v, %v, want the duplicate at 3", acks, err)
			}
		})
	}
}

// Many withdraw at once, more than there is: never does an account go below zero, and no
// decision is lost or made twice.
func TestRebuildDecide(t *testing.T) {
	t.Parallel()
	srv := serve(t, embed.Fast)
	b := join(t, srv)
	decideTogether(t, b, func() *bus.Bus { return join(t, srv) })
}

func decideTogether(t *testing.T, b *bus.Bus, join func() *bus.Bus) {
	t.Helper()
	const writers, each, funds = 4, 6, 15
	publish(t, b, make1(t, "account.deposited", funds, signal.About("a")))
	errEmpty := errors.New("empty")
	var mu sync.Mutex
	var work sync.WaitGroup
	taken, refused := 0, 0
	for range writers {
		other := join()
		work.Go(func() {
			r, err := bus.Rebuild(t.Context(), other, "account.*", "a", 0, balance)
			for range each {
				if err == nil {
					_, err = r.Decide(t.Context(), func(cents int) ([]*signal.Signal, error) {
						if cents < 1 {
							return nil, errEmpty
						}
						return []*signal.Signal{make1(t, "account.withdrawn", 1, signal.About("a"))}, nil
					})
				}
				mu.Lock()
				switch {
				case err == nil:
					taken++
				case errors.Is(err, errEmpty):
					refused++
					err = nil
				default:
					t.Errorf("Decide: %v", err)
				}
				mu.Unlock()
			}
		})
	}
	work.Wait()
	r := rebuilt(t, b, "account.*", "a")
	if taken != funds || refused != writers*each-funds || r.State != 0 || r.Signals != 1+funds {
		t.Errorf("%d withdrawals, %d refused, balance %d after %d signals; want %d, %d, 0 and %d",
			taken, refused, r.State, r.Signals, funds, writers*each-funds, 1+funds)
	}
}

// The same with three replicas, which keep their own counsel of what is in flight.
func TestRebuildDecideReplicated(t *testing.T) {
	t.Parallel()
	urls := serveCluster(t)
	join := func() *bus.Bus {
		nc, err := nats.Connect(strings.Join(urls, ","))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(nc.Close)
		b, err := bus.Open(t.Context(), nc, bus.Replicas(3))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(b.Close)
		return b
	}
	b := join()
	decideTogether(t, b, join)
	snap(t, b, "r3", "**")
	if got := len(snapped(t, b, "r3")); got != 16 {
		t.Errorf("a replicated snapshot holds %d signals, want 16", got)
	}
}

// serveCluster starts three servers that keep replicas for each other. A port that somebody
// else takes in the moment between being found and being used costs another try.
func serveCluster(t *testing.T) []string {
	t.Helper()
	for range 3 {
		if urls := tryCluster(t); urls != nil {
			return urls
		}
	}
	t.Fatal("no cluster came up on three sets of ports")
	return nil
}

func tryCluster(t *testing.T) (urls []string) {
	t.Helper()
	var servers []*server.Server
	var ports []net.Listener
	var routes []string
	for range 3 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		ports, routes = append(ports, l), append(routes, "nats://"+l.Addr().String())
	}
	for i, l := range ports {
		s, err := server.NewServer(&server.Options{
			ServerName: fmt.Sprintf("n%d", i), Host: "127.0.0.1", Port: -1, NoSigs: true, NoLog: true,
			JetStream: true, StoreDir: t.TempDir(),
			Cluster: server.ClusterOpts{Name: "c", Host: "127.0.0.1", Port: l.Addr().(*net.TCPAddr).Port},
			Routes:  server.RoutesFromStr(strings.Join(routes, ",")),
		})
		if err != nil {
			t.Fatal(err)
		}
		_ = l.Close()
		s.Start()
		t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
		servers = append(servers, s)
		if !s.ReadyForConnections(patience / 2) {
			for _, l := range ports[i:] {
				_ = l.Close()
			}
			for _, s := range servers {
				s.Shutdown()
			}
			return nil
		}
		urls = append(urls, s.ClientURL())
	}
	until(t, "a cluster that has found itself", func() bool {
		return slices.ContainsFunc(servers, func(s *server.Server) bool {
			return s.JetStreamIsLeader() && len(s.JetStreamClusterPeers()) == 3
		})
	})
	return urls
}

// The last signal of the type is gone, and with it what the engine would compare with.
func TestRebuildDecideAfterDeletion(t *testing.T) {
	t.Parallel()
	b := open(t)
	publish(t, b, make1(t, "account.deposited", 1, signal.About("a")), make1(t, "other", 1))
	r := rebuilt(t, b, "account.deposited", "a")
	stream, err := b.JetStream().Stream(t.Context(), "SIG_default")
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Purge(t.Context(), jetstream.WithPurgeSubject("sig.default.account.deposited")); err != nil {
		t.Fatal(err)
	}
	acks, err := r.Decide(t.Context(), func(int) ([]*signal.Signal, error) {
		return []*signal.Signal{make1(t, "account.deposited", 2, signal.About("a"))}, nil
	})
	if err != nil || len(acks) != 1 {
		t.Errorf("Decide = %v, %v, want it published", acks, err)
	}
}

func ExampleRebuild() {
	ctx := context.Background()
	nc, done := exampleServer(ctx)
	defer done()
	b, err := bus.Open(ctx, nc)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer b.Close()
	deposit := func(cents int) *signal.Signal {
		s, _ := signal.New("account.deposited", cents, signal.About("acc-42"))
		return s
	}
	_ = b.Publish(ctx, deposit(100), deposit(20))

	account, err := bus.Rebuild(ctx, b, "account.*", "acc-42", 0, balance)
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = account.Decide(ctx, func(cents int) ([]*signal.Signal, error) {
		if cents < 50 {
			return nil, errors.New("not enough")
		}
		s, err := signal.New("account.withdrawn", 50, signal.About("acc-42"))
		return []*signal.Signal{s}, err
	})
	if err == nil {
		err = account.Refresh(ctx)
	}
	fmt.Println(account.State, account.Signals, err)
	// Output: 70 3 <nil>
}

func BenchmarkRebuild(b *testing.B) {
	bs := open(b)
	fill(b, bs, 100_000)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := bus.Rebuild(b.Context(), bs, "order.*", "o-1", 0, balance); err != nil {
			b.Fatal(err)
		}
	}
}
