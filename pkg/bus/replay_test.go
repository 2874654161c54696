package bus_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/signalmesh/signalmesh/pkg/bus"
	"github.com/signalmesh/signalmesh/pkg/embed"
	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

func TestReplay(t *testing.T) {
	t.Parallel()
	b := open(t)
	if got := replayed(t, b, "**"); len(got) != 0 {
		t.Errorf("an empty bus has %d signals", len(got))
	}
	root := make1(t, "order.created", 1)
	publish(t, b, root)
	var stamp []time.Time
	for i, typ := range []string{"order", "order.item.added", "mail.sent", "order.paid"} {
		publish(t, b, make1(t, typ, i+2, signal.CausedBy(root), signal.About([]string{"x", "y"}[i%2])))
	}
	publish(t, b, make1(t, "order.created", 6))
	for i := range 6 {
		e, err := b.Get(t.Context(), uint64(i+1))
		if err != nil {
			t.Fatal(err)
		}
		stamp = append(stamp, e.Stored)
	}
	about := func(subject string) bus.ReplayOption {
		return bus.WithFilter(func(s *signal.Signal) bool { return s.Subject == subject })
	}
	tests := []struct {
		on   string
		opts []bus.ReplayOption
		want string
	}{
		{"**", nil, "1 2 3 4 5 6"},
		{"order.**", nil, "1 2 3 5 6"},
		{"order.*", nil, "1 5 6"},
		{"order", nil, "2"},
		{"**.added", nil, "3"},
		{"nothing", nil, ""},
		{"**", []bus.ReplayOption{bus.Limit(2)}, "1 2"},
		{"order.*", []bus.ReplayOption{bus.Limit(3)}, "1 5 6"},
		{"order.*", []bus.ReplayOption{bus.FromSequence(2), bus.Limit(1)}, "5"},
		{"**", []bus.ReplayOption{bus.FromSequence(6)}, "6"},
		{"**", []bus.ReplayOption{bus.FromSequence(7)}, ""},
		{"**", []bus.ReplayOption{bus.FromSequence(1 << 40)}, ""},
		{"**", []bus.ReplayOption{bus.FromCurrent()}, ""},
		{"**", []bus.ReplayOption{bus.Since(stamp[3])}, "4 5 6"},
		{"**", []bus.ReplayOption{bus.Since(time.Now().Add(time.Hour))}, ""},
		{"**", []bus.ReplayOption{bus.Until(stamp[1])}, "1 2"},
		{"**", []bus.ReplayOption{bus.Since(stamp[1]), bus.Until(stamp[3])}, "2 3 4"},
		{"**", []bus.ReplayOption{bus.Until(stamp[0].Add(-1))}, ""},
		{"**", []bus.ReplayOption{bus.Correlated(root.ID)}, "1 2 3 4 5"},
		{"**", []bus.ReplayOption{bus.Correlated("nobody")}, ""},
		{"**", []bus.ReplayOption{about("y")}, "3 5"},
		{"order.**", []bus.ReplayOption{about("x"), bus.Correlated(root.ID)}, "2"},
	}
	for _, test := range tests {
		var got []string
		for e, err := range b.Entries(t.Context(), test.on, test.opts...) {
			if err != nil {
				t.Fatal(err)
			}
			if string(e.Signal.Data) != fmt.Sprint(e.Sequence) || !e.Stored.Equal(stamp[e.Sequence-1]) {
				t.Errorf("signal %s is said to lie at %d, stored %s", e.Signal.Data, e.Sequence, e.Stored)
			}
			got = append(got, fmt.Sprint(e.Sequence))
		}
		if s := strings.Join(got, " "); s != test.want {
			t.Errorf("Entries(%s, %d options) = %s, want %s", test.on, len(test.opts), s, test.want)
		}
	}
}

// What is published while a replay goes on is not part of it.
func TestReplayEndsWhereItBegan(t *testing.T) {
	t.Parallel()
	b := open(t)
	publish(t, b, several(t, "a", 100)...)
	publish(t, b, several(t, "b", 100)...)
	for _, test := range []struct {
		on   string
		want int
	}{{"a", 100}, {"b", 200}, {"*", 700}} {
		n := 0
		for _, err := range b.Replay(t.Context(), test.on) {
			if err != nil {
				t.Fatal(err)
			}
			if n++; n <= 150 {
				publish(t, b, make1(t, "a", "late"), make1(t, "b", "late"))
			}
		}
		if n != test.want {
			t.Errorf("Replay(%s) ended after %d, want %d", test.on, n, test.want)
		}
	}
}

func TestReplayGap(t *testing.T) {
	t.Parallel()
	b := open(t)
	publish(t, b, several(t, "a", 20)...)
	stream, err := b.JetStream().Stream(t.Context(), "SIG_default")
	if err != nil {
		t.Fatal(err)
	}
	var got []uint64
	for e, err := range b.Entries(t.Context(), "a") {
		if err != nil {
			t.Fatal(err)
		}
		if got = append(got, e.Sequence); e.Sequence == 5 { // deleted in the middle of it, the last ones too
			for _, seq := range []uint64{10, 19, 20} {
				if err := stream.DeleteMsg(t.Context(), seq); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	for _, seq := range []uint64{1, 9, 11, 18} {
		if !slices.Contains(got, seq) {
			t.Errorf("signal %d is missing in %v", seq, got)
		}
	}
	if again := len(replayed(t, b, "a")); again != 17 {
		t.Errorf("a second replay has %d signals, want 17", again)
	}
}

func TestReplayErrors(t *testing.T) {
	t.Parallel()
	b := open(t)
	publish(t, b, several(t, "a", 3)...)
	once := func(ctx context.Context, want fault.Code, on string, opts ...bus.ReplayOption) (all int) {
		t.Helper()
		failed := 0
		for s, err := range b.Replay(ctx, on, opts...) {
			if err == nil {
				all++
				continue
			}
			failed++
			wantCode(t, err, want)
			if s != nil {
				t.Errorf("an error came with signal %v", s)
			}
		}
		if failed != 1 {
			t.Errorf("%d errors, want 1", failed)
		}
		return all
	}
	once(t.Context(), fault.Invalid, "a..b")
	once(t.Context(), fault.Invalid, "a", bus.Limit(-1))
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		for last, _ := b.Last(ctx); last < 4; last, _ = b.Last(ctx) {
		}
		cancel()
	}()
	for s, err := range b.Replay(ctx, "a", bus.Follow()) {
		if err != nil {
			if !errors.Is(err, context.Canceled) || s != nil {
				t.Errorf("after cancel: %v, %v, want only that it was canceled", s, err)
			}
			break
		}
		if string(s.Data) == "3" {
			publish(t, b, make1(t, "a", 4))
		}
	}
	b.Conn().Close()
	once(t.Context(), fault.Unavailable, "a")
}

func TestReplayStreamGone(t *testing.T) {
	t.Parallel()
	b := open(t)
	if err := b.JetStream().DeleteStream(t.Context(), "SIG_default"); err != nil {
		t.Fatal(err)
	}
	for _, err := range b.Replay(t.Context(), "a") {
		wantCode(t, err, fault.NotFound)
	}
	_, err := b.Last(t.Context())
	wantCode(t, err, fault.NotFound)
}

// A break ends everything the replay has started; goleak watches.
func TestReplayBreak(t *testing.T) {
	t.Parallel()
	b := open(t)
	publish(t, b, several(t, "a", 500)...)
	for range 5 {
		n := 0
		for _, err := range b.Replay(t.Context(), "a", bus.Follow()) {
			if err != nil {
				t.Fatal(err)
			}
			if n++; n == 3 {
				break
			}
		}
	}
	stream, err := b.JetStream().Stream(t.Context(), "SIG_default")
	if err != nil {
		t.Fatal(err)
	}
	if n := stream.CachedInfo().State.Consumers; n != 0 {
		t.Errorf("%d consumers are left", n)
	}
}

// A replay goes on when its consumer is lost and when the server was restarted.
func TestFollowThroughLoss(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	srv, err := embed.Start(t.Context(), embed.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	b := join(t, srv)
	const n = 60
	publish(t, b, several(t, "a", n/3)...)
	next := 1
	for s, err := range b.Replay(t.Context(), "a", bus.Follow()) {
		if err != nil {
			t.Fatal(err)
		}
		if string(s.Data) != fmt.Sprint(next) {
			t.Fatalf("got signal %s, want %d", s.Data, next)
		}
		switch next {
		case n / 3: // somebody deletes the consumer
			stream, err := b.JetStream().Stream(t.Context(), "SIG_default")
			if err != nil {
				t.Fatal(err)
			}
			for name := range stream.ConsumerNames(t.Context()).Name() {
				if err := stream.DeleteConsumer(t.Context(), name); err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
					t.Fatal(err)
				}
			}
			publish(t, b, rest(t, next, n/3)...)
		case 2 * n / 3: // its server goes, and the consumer with it
			port := portOf(t, srv.ClientURL())
			srv.Shutdown()
			if srv, err = embed.Start(t.Context(), embed.Config{Dir: dir, Port: port}); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(srv.Shutdown)
			publish(t, b, rest(t, next, n/3)...)
		}
		if next++; next > n {
			break
		}
	}
}

// rest makes n signals with the data that follows from.
func rest(t *testing.T, from, n int) []*signal.Signal {
	var all []*signal.Signal
	for i := range n {
		all = append(all, make1(t, "a", from+i+1))
	}
	return all
}
