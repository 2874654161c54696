package bus_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/signalmesh/signalmesh/pkg/bus"
	"github.com/signalmesh/signalmesh/pkg/codec"
	"github.com/signalmesh/signalmesh/pkg/delivery"
	"github.com/signalmesh/signalmesh/pkg/embed"
	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

// serveDue publishes what comes due until the test ends, or the func is called.
func serveDue(tb testing.TB, b *bus.Bus) (stop func()) {
	tb.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- b.PublishDue(ctx) }() // ends with ctx
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil && !b.Conn().IsClosed() {
			tb.Errorf("PublishDue = %v", err)
		}
	})
	tb.Cleanup(stop)
	return stop
}

func publishAt(tb testing.TB, b *bus.Bus, at time.Time, signals ...*signal.Signal) {
	tb.Helper()
	if err := b.PublishAt(tb.Context(), at, signals...); err != nil {
		tb.Fatal(err)
	}
}

func delays(tb testing.TB, b *bus.Bus) []bus.Delay {
	tb.Helper()
	var all []bus.Delay
	for d, err := range b.Delays().List(tb.Context()) {
		if err != nil {
			tb.Fatal(err)
		}
		all = append(all, d)
	}
	return all
}

func TestPublishAt(t *testing.T) {
	t.Parallel()
	for _, mode := range []codec.Mode{codec.Structured, codec.Binary, codec.Msgpack} {
		t.Run(mode.String(), func(t *testing.T) {
			t.Parallel()
			b := open(t, bus.Encode(mode))
			serveDue(t, b)
			got := make(chan *signal.Signal, 10)
			subscribe(t, b, "a.**", to(got))
			s := make1(t, "a.b", map[string]int{"n": 1}, signal.About("x"), signal.Ext("colour", "red"))
			before := s.Clone()
			at := time.Now().Add(1500 * time.Millisecond)
			publishAt(t, b, at, s)
			if diff := cmp.Diff(before, s); diff != "" {
				t.Errorf("PublishAt changed the signal: %s", diff)
			}
			waiting := delays(t, b)
			if len(waiting) != 1 || waiting[0].Signal.ID != s.ID || !waiting[0].At.Equal(at) {
				t.Errorf("waiting = %+v, want %s at %s", waiting, s.ID, at)
			}
			if diff := cmp.Diff(s, await(t, got, "the signal")); diff != "" {
				t.Errorf("the delayed signal differs (-want +got):\n%s", diff)
			}
			if late := time.Since(at); late < 0 || late > 10*time.Second {
				t.Errorf("it appeared %s after its time", late)
			}
			if left := delays(t, b); len(left) != 0 {
				t.Errorf("%d still wait, want none", len(left))
			}
			wantCode(t, b.Delays().Cancel(t.Context(), s.ID), fault.NotFound)
		})
	}
}

func TestPublishAtPastIsNow(t *testing.T) {
	t.Parallel()
	b := open(t) // nothing publishes what is due
	s := several(t, "a", 2)
	publishAt(t, b, time.Now().Add(-time.Hour), s[0])
	publishAt(t, b, time.Time{}, s[1])
	if got := ids(replayed(t, b, "a")); !cmp.Equal(got, ids(s)) {
		t.Errorf("on the bus: %q, want %q", got, ids(s))
	}
}

func TestPublishAtInvalid(t *testing.T) {
	t.Parallel()
	b := open(t)
	soon := time.Now().Add(time.Hour)
	bad := make1(t, "a", 1)
	bad.Type = "a..b"
	wantCode(t, b.PublishAt(t.Context(), soon, bad), fault.Invalid)
	wantCode(t, b.PublishAt(t.Context(), soon, nil), fault.Invalid)
	wantCode(t, b.PublishAt(t.Context(), soon, make1(t, "a", 1, signal.Expires(soon))), fault.Invalid)
	wantCode(t, b.PublishAt(t.Context(), time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC), make1(t, "a", 1)), fault.Invalid)
	wantCode(t, b.PublishAt(t.Context(), soon, make1(t, "a", make([]byte, b.Conn().MaxPayload()-200))), fault.TooLarge)
	if left := delays(t, b); len(left) != 0 {
		t.Errorf("%d wait, want none", len(left))
	}
}

// A signal that is delayed again is moved; one that is published meanwhile appears once.
func TestPublishAtAgain(t *testing.T) {
	t.Parallel()
	b := open(t)
	serveDue(t, b)
	s, other := make1(t, "a", 1), make1(t, "a", 2)
	publishAt(t, b, time.Now().Add(time.Hour), s, other)
	if n := len(delays(t, b)); n != 2 {
		t.Errorf("%d wait, want 2", n)
	}
	publishAt(t, b, time.Now().Add(1500*time.Millisecond), s)
	publish(t, b, other)
	publishAt(t, b, time.Now().Add(1600*time.Millisecond), other)
	until(t, "both", func() bool { return len(delays(t, b)) == 0 && pendingDue(t, b) == 0 })
	if got := ids(replayed(t, b, "a")); len(got) != 2 || got[0] != other.ID || got[1] != s.ID {
		t.Errorf("on the bus: %q, want %s and %s", got, other.ID, s.ID)
	}
}

// pendingDue counts what came due and is not published.
func pendingDue(tb testing.TB, b *bus.Bus) uint64 {
	tb.Helper()
	c, err := b.JetStream().Consumer(tb.Context(), b.Space().LaterStream(b.Name()), "due")
	if err != nil {
		tb.Fatal(err)
	}
	info := c.CachedInfo()
	return info.NumPending + uint64(info.NumAckPending)
}

func TestCancelDelayed(t *testing.T) {
	t.Parallel()
	b := open(t)
	serveDue(t, b)
	s, last := make1(t, "a", 1), make1(t, "a", 2)
	twin := s.Clone()
	twin.Source = "/other"
	publishAt(t, b, time.Now().Add(2*time.Second), s, twin)
	if err := b.Delays().Cancel(t.Context(), s.ID); err != nil {
		t.Fatal(err)
	}
	wantCode(t, b.Delays().Cancel(t.Context(), s.ID), fault.NotFound)
	publishAt(t, b, time.Now().Add(2100*time.Millisecond), last)
	until(t, "the last", func() bool { return len(delays(t, b)) == 0 && pendingDue(t, b) == 0 })
	if got := ids(replayed(t, b, "a")); len(got) != 1 || got[0] != last.ID {
		t.Errorf("on the bus: %q, want only %s", got, last.ID)
	}
	// What was cancelled may be delayed again.
	publishAt(t, b, time.Now().Add(100*time.Millisecond), s)
	until(t, "the one that was cancelled before", func() bool { return len(replayed(t, b, "a")) == 2 })
}

// Many are cancelled in the very moment they come due: a cancellation that succeeded holds.
func TestCancelRace(t *testing.T) {
	t.Parallel()
	b := open(t)
	serveDue(t, b)
	const n = 300
	signals := several(t, "a", n)
	at := time.Now().Add(1200 * time.Millisecond)
	publishAt(t, b, at, signals...)
	var cancelled sync.Map
	var succeeded, missed atomic.Int64
	var work sync.WaitGroup
	work.Go(func() {
		<-time.After(time.Until(at.Add(-60 * time.Millisecond)))
		for _, s := range signals {
			switch err := b.Delays().Cancel(context.Background(), s.ID); {
			case err == nil:
				cancelled.Store(s.ID, true)
				succeeded.Add(1)
			case fault.Is(err, fault.NotFound) || fault.Is(err, fault.Conflict):
				missed.Add(1)
			default:
				t.Error(err)
			}
		}
	})
	work.Wait()
	until(t, "the rest", func() bool { return len(delays(t, b)) == 0 && pendingDue(t, b) == 0 })
	got := replayed(t, b, "a")
	for _, s := range got {
		if _, was := cancelled.Load(s.ID); was {
			t.Errorf("signal %s appeared although it was cancelled", s.ID)
		}
	}
	if int64(len(got)) > missed.Load() || succeeded.Load()+missed.Load() != n {
		t.Errorf("%d appeared, %d were cancelled and %d missed, of %d", len(got), succeeded.Load(), missed.Load(), n)
	}
	t.Logf("%d cancelled, %d missed, %d appeared", succeeded.Load(), missed.Load(), len(got))
}

// What waits survives a restart of the server, what came due meanwhile appears after it, and
// nothing appears twice, whoever publishes it.
func TestDelayedSurvivesRestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	srv, err := embed.Start(t.Context(), embed.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	b := join(t, srv)
	signals := several(t, "a", 20)
	publishAt(t, b, time.Now().Add(200*time.Millisecond), signals[:10]...)
	later := time.Now().Add(2 * time.Second)
	publishAt(t, b, later, signals[10:]...)
	gone := time.Now().Add(300 * time.Millisecond)
	b.Close()
	b.Conn().Close()
	srv.Shutdown()
	<-time.After(time.Until(gone)) // the first ten come due while nothing runs

	srv, err = embed.Start(t.Context(), embed.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(srv.Shutdown)
	one, other := join(t, srv), join(t, srv)
	serveDue(t, one)
	stop := serveDue(t, other)
	until(t, "those that came due while nothing ran", func() bool { return len(replayed(t, one, "a")) >= 10 })
	stop()
	until(t, "all", func() bool { return len(delays(t, one)) == 0 && pendingDue(t, one) == 0 })
	seen := map[string]int{}
	for _, s := range replayed(t, one, "a") {
		seen[s.ID]++
	}
	for _, s := range signals {
		if seen[s.ID] != 1 {
			t.Errorf("signal %s is on the bus %d times, want once", s.ID, seen[s.ID])
		}
	}
}

// What came due is not acknowledged before the bus has stored it.
func TestDueWaitsForTheBus(t *testing.T) {
	t.Parallel()
	b := open(t)
	stream, err := b.JetStream().Stream(t.Context(), b.Space().Stream(b.Name()))
	if err != nil {
		t.Fatal(err)
	}
	full := stream.CachedInfo().Config
	full.MaxMsgs, full.Discard = 1, 1 // DiscardNew
	if _, err := b.JetStream().UpdateStream(t.Context(), full); err != nil {
		t.Fatal(err)
	}
	publish(t, b, make1(t, "a", 1))
	serveDue(t, b)
	s := make1(t, "b", 2)
	publishAt(t, b, time.Now().Add(50*time.Millisecond), s)
	until(t, "the signal to be due", func() bool { return len(delays(t, b)) == 0 })
	if n := pendingDue(t, b); n != 1 {
		t.Errorf("%d are due and not published, want 1", n)
	}
	full.MaxMsgs = -1
	if _, err := b.JetStream().UpdateStream(t.Context(), full); err != nil {
		t.Fatal(err)
	}
	until(t, "the signal", func() bool { return len(replayed(t, b, "b")) == 1 })
}

// The middleware runs where a signal is delayed, and not once more where it appears.
func TestPublishAtMiddleware(t *testing.T) {
	t.Parallel()
	srv := serve(t, embed.Fast)
	var calls atomic.Int64
	refuse := errors.New("not today")
	b := join(t, srv, bus.WithMiddleware(func(next signal.Handler) signal.Handler {
		return func(ctx context.Context, s *signal.Signal) error {
			calls.Add(1)
			switch s.Type {
			case "refused":
				return refuse
			case "kept.back":
				return nil
			}
			c := s.Clone()
			if err := c.SetExt("stamp", "yes"); err != nil {
				return err
			}
			return next(ctx, c)
		}
	}), bus.WithLogger(slog.New(slog.DiscardHandler)))
	serveDue(t, b)
	at := time.Now().Add(50 * time.Millisecond)
	if err := b.PublishAt(t.Context(), at, make1(t, "refused", 1)); !errors.Is(err, refuse) {
		t.Errorf("PublishAt = %v, want %v", err, refuse)
	}
	publishAt(t, b, at, make1(t, "kept.back", 1), make1(t, "a", 1))
	until(t, "the signal", func() bool { return len(replayed(t, b, "**")) == 1 })
	if got := replayed(t, b, "**")[0]; got.Type != "a" || got.ExtString("stamp") != "yes" {
		t.Errorf("on the bus: %s with stamp %q, want a with yes", got.Type, got.ExtString("stamp"))
	}
	if calls.Load() != 3 {
		t.Errorf("middleware was called %d times, want 3", calls.Load())
	}
}

// An effect that is delayed is still an effect.
func TestPublishAtFromHandler(t *testing.T) {
	t.Parallel()
	b := open(t)
	serveDue(t, b)
	subscribe(t, b, "cause", func(ctx context.Context, s *signal.Signal) error {
		return b.PublishAt(ctx, time.Now().Add(50*time.Millisecond), make1(t, "effect", 1, signal.WithID(fmt.Sprint("e-", s.ID))))
	})
	cause := make1(t, "cause", 1)
	publish(t, b, cause)
	until(t, "the effect", func() bool { return len(replayed(t, b, "effect")) == 1 })
	if e := replayed(t, b, "effect")[0]; e.Causation() != cause.ID || e.Hops() != 1 {
		t.Errorf("cause and hops of the effect = %q and %d, want %s and 1", e.Causation(), e.Hops(), cause.ID)
	}
}

// A process that dies between storing and acknowledging leaves a repeat behind, which is
// recognized even when the engine has forgotten the id.
func TestDueIsNotRepeated(t *testing.T) {
	t.Parallel()
	srv := serve(t, embed.Fast)
	b := join(t, srv)
	stream, err := b.JetStream().Stream(t.Context(), b.Space().Stream(b.Name()))
	if err != nil {
		t.Fatal(err)
	}
	forgetful := stream.CachedInfo().Config
	forgetful.Duplicates = 100 * time.Millisecond
	if _, err := b.JetStream().UpdateStream(t.Context(), forgetful); err != nil {
		t.Fatal(err)
	}
	b = join(t, srv)
	s := make1(t, "a", 1)
	publishAt(t, b, time.Now().Add(50*time.Millisecond), s)
	until(t, "the signal to be due", func() bool { return len(delays(t, b)) == 0 })
	publish(t, b, s)
	until(t, "the id to be forgotten", func() bool {
		acks, err := b.PublishAck(t.Context(), make1(t, "probe", 1, signal.WithID("probe")))
		return err == nil && acks[0].Sequence > 2 && !acks[0].Duplicate
	})
	serveDue(t, b)
	until(t, "what is due", func() bool { return dueExists(t, b) && pendingDue(t, b) == 0 })
	if got := replayed(t, b, "a"); len(got) != 1 {
		t.Errorf("the signal is on the bus %d times, want once", len(got))
	}
}

// dueExists reports whether anybody has ever published what is due.
func dueExists(tb testing.TB, b *bus.Bus) bool {
	tb.Helper()
	_, err := b.JetStream().Consumer(tb.Context(), b.Space().LaterStream(b.Name()), "due")
	return err == nil
}

// What can never be published is not lost.
func TestDueDeadLetter(t *testing.T) {
	t.Parallel()
	b := open(t, bus.WithMiddleware(func(next signal.Handler) signal.Handler {
		return func(ctx context.Context, s *signal.Signal) error {
			return fault.Newf(fault.Denied, "not for you")
		}
	}))
	serveDue(t, b)
	if err := b.Schedules().Put(t.Context(), bus.Schedule{Name: "s", When: "@every 1s", Signal: make1(t, "a", 1)}); err != nil {
		t.Fatal(err)
	}
	until(t, "a dead letter", func() bool { return len(letters(t, b, bus.LetterFilter{})) > 0 })
	if l := letters(t, b, bus.LetterFilter{})[0]; l.Name != "due" || l.Code != fault.Denied || len(l.Raw) == 0 {
		t.Errorf("dead letter = %+v", l)
	}
}

// A bus that is closed, and a stream that is gone, end it with an error or none.
func TestPublishDueEnds(t *testing.T) {
	t.Parallel()
	b := open(t)
	ended := make(chan error, 1)
	go func() { ended <- b.PublishDue(context.Background()) }() // ends when the bus is closed
	until(t, "the consumer", func() bool { return dueExists(t, b) })
	if err := b.JetStream().DeleteConsumer(t.Context(), b.Space().LaterStream(b.Name()), "due"); err != nil {
		t.Fatal(err)
	}
	wantCode(t, await(t, ended, "the end"), fault.NotFound)
	go func() { ended <- b.PublishDue(context.Background()) }() // ends when the bus is closed
	until(t, "the consumer", func() bool { return dueExists(t, b) })
	b.Close()
	if err := await(t, ended, "the end"); err != nil && !fault.Is(err, fault.Unavailable) {
		t.Errorf("PublishDue on a closed bus = %v", err)
	}
}

// A signal that expires between two attempts is not tried again; one whose dead letter is
// redriven keeps the letter.
func TestExpiryBetweenAttempts(t *testing.T) {
	t.Parallel()
	b := open(t)
	calls := make(chan bool, 10)
	sub := subscribe(t, b, "a", func(context.Context, *signal.Signal) error {
		calls <- true
		return errors.New("not now")
	}, bus.Durable("d"), bus.MaxAttempts(5), bus.Backoff(1500*time.Millisecond, 1500*time.Millisecond))
	publish(t, b, make1(t, "a", 1, signal.Expires(time.Now().Add(time.Second))))
	until(t, "the signal to expire", func() bool { st := sub.Stats(); return st.Expired == 1 && st.InFlight == 0 })
	if st := sub.Stats(); len(calls) != 1 || st.Failed != 1 || st.Dead != 0 {
		t.Errorf("%d calls, Stats() = %+v, want one call and one failure", len(calls), st)
	}

	s := make1(t, "a", 2, signal.Expires(time.Now().Add(2*time.Second)))
	quick := subscribe(t, b, "a", func(context.Context, *signal.Signal) error { return fault.Permanent(errors.New("no")) }, bus.Durable("quick"))
	publish(t, b, s)
	until(t, "a dead letter", func() bool { return quick.Stats().Dead == 1 })
	l := letters(t, b, bus.LetterFilter{Name: "quick", Kind: "subscription"})[0]
	until(t, "it to expire", func() bool { expiry, _ := s.Expiry(); return time.Now().After(expiry) })
	if err := b.DeadLetters().Redrive(t.Context(), l.ID, "test"); err != nil {
		t.Fatal(err)
	}
	until(t, "the letter to come back", func() bool { return quick.Stats().Dead == 2 })
	if l := letters(t, b, bus.LetterFilter{Name: "quick", Kind: "subscription"})[0]; l.Reason != delivery.ReasonExpired || len(l.Redrives) != 1 {
		t.Errorf("letter = %s with %d redrives, want expired with one", l.Reason, len(l.Redrives))
	}
}
