package bus_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/signalmesh/signalmesh/pkg/bus"
	"github.com/signalmesh/signalmesh/pkg/embed"
	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

func TestPublishWithoutServer(t *testing.T) {
	t.Parallel()
	srv := serve(t, embed.Fast)
	b := join(t, srv)
	srv.Shutdown()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	wantCode(t, b.Publish(ctx, make1(t, "a", 1)), fault.Unavailable)
	wantCode(t, b.Publish(ctx, several(t, "a", 3)...), fault.Unavailable)
	b.Conn().Close()
	wantCode(t, b.Publish(t.Context(), make1(t, "a", 1)), fault.Unavailable)
}

// The server is killed again and again while others publish. Every success is stored, and
// nothing is stored twice.
func TestServerDiesMidPublish(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	srv, err := embed.Start(t.Context(), embed.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	b := join(t, srv)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	var mu sync.Mutex
	accepted := map[string]uint64{}
	for w := range 8 {
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				signals := []*signal.Signal{make1(t, "a", i)}
				if w%2 == 0 {
					signals = several(t, "a", 5)
				}
				acks, err := b.PublishAck(context.Background(), signals...)
				if err != nil {
					wantCode(t, err, fault.Unavailable)
					continue
				}
				mu.Lock()
				for _, a := range acks {
					accepted[a.ID] = a.Sequence
				}
				mu.Unlock()
			}
		})
	}
	port := portOf(t, srv.ClientURL())
	for range 3 {
		progress(t, &mu, accepted)
		srv.Shutdown()
		if srv, err = embed.Start(t.Context(), embed.Config{Dir: dir, Port: port}); err != nil {
			t.Fatal(err)
		}
	}
	progress(t, &mu, accepted)
	close(stop)
	wg.Wait()
	t.Cleanup(srv.Shutdown)

	stored := map[string]uint64{}
	for e, err := range b.Entries(t.Context(), "**") {
		if err != nil {
			t.Fatal(err)
		}
		if at, twice := stored[e.Signal.ID]; twice {
			t.Errorf("signal %s lies at %d and %d", e.Signal.ID, at, e.Sequence)
		}
		stored[e.Signal.ID] = e.Sequence
	}
	for id, seq := range accepted {
		if stored[id] != seq {
			t.Errorf("accepted signal %s lies at %d, its ack said %d", id, stored[id], seq)
		}
	}
	t.Logf("%d accepted, %d stored", len(accepted), len(stored))
}

// progress waits until some more are accepted.
func progress(t *testing.T, mu *sync.Mutex, accepted map[string]uint64) {
	t.Helper()
	count := func() int { mu.Lock(); defer mu.Unlock(); return len(accepted) }
	before := count()
	until(t, "publishes to succeed", func() bool { return count() > before+50 })
}

func portOf(t *testing.T, url string) (port int) {
	t.Helper()
	if _, err := fmt.Sscanf(url[strings.LastIndexByte(url, ':')+1:], "%d", &port); err != nil {
		t.Fatal(err)
	}
	return port
}

// Ephemeral and durable, both go on when the server was restarted.
func TestServerRestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	srv, err := embed.Start(t.Context(), embed.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	b := join(t, srv)
	got := map[string]chan *signal.Signal{}
	for kind, opts := range kinds {
		got[kind] = make(chan *signal.Signal, 1000)
		subscribe(t, b, "a", to(got[kind]), opts...)
	}
	all := several(t, "a", 60)
	publish(t, b, all[:20]...)
	port := portOf(t, srv.ClientURL())
	for kind := range kinds {
		for _, want := range all[:20] {
			if s := await(t, got[kind], "signal before the restart"); s.ID != want.ID {
				t.Errorf("%s: got %s, want %s", kind, s.Data, want.Data)
			}
		}
	}
	srv.Shutdown()
	if srv, err = embed.Start(t.Context(), embed.Config{Dir: dir, Port: port}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(srv.Shutdown)
	nc, err := nats.Connect(srv.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	other, err := bus.Open(t.Context(), nc)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	publish(t, other, all[20:]...)
	for kind := range kinds {
		seen := map[string]bool{}
		for len(seen) < 40 {
			s := await(t, got[kind], "signal after the restart")
			if seen[s.ID] || slices.Contains(ids(all[:20]), s.ID) {
				t.Logf("%s: %s came again", kind, s.Data) // a verdict was lost
			}
			if !slices.Contains(ids(all[:20]), s.ID) {
				seen[s.ID] = true
			}
		}
	}
}
