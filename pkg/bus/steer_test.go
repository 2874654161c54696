package bus_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/signalmesh/signalmesh/pkg/bus"
	"github.com/signalmesh/signalmesh/pkg/embed"
	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

func subscriptionOf(t *testing.T, b *bus.Bus, name string) bus.SubscriptionInfo {
	t.Helper()
	in, err := b.Subscription(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return in
}

// sequences is a handler that sends where it is.
func sequences(c chan<- uint64) signal.Handler {
	return func(ctx context.Context, _ *signal.Signal) error {
		p, _ := bus.Position(ctx)
		c <- p.Sequence
		return nil
	}
}

func TestPause(t *testing.T) {
	t.Parallel()
	b := open(t)
	got := make(chan uint64, 100)
	subscribe(t, b, "a", sequences(got), bus.Durable("d"))
	publish(t, b, make1(t, "a", 1))
	await(t, got, "signal")
	if err := b.PauseSubscription(t.Context(), "d", time.Time{}); err != nil {
		t.Fatal(err)
	}
	publish(t, b, make1(t, "other", 1))
	publish(t, b, several(t, "a", 3)...)
	quiet(t, got, 100*time.Millisecond, "a signal while paused")
	first, err := b.Get(t.Context(), 3)
	if err != nil {
		t.Fatal(err)
	}
	until(t, "three to lag, the first of them the oldest", func() bool {
		in := subscriptionOf(t, b, "d")
		return in.Paused && in.PausedUntil.IsZero() && in.Waiting == 3 && in.Lag == 3 && in.Oldest.Equal(first.Stored)
	})
	// Another member, with other settings, leaves it paused.
	subscribe(t, b, "a", sequences(got), bus.Durable("d"), bus.MaxInFlight(7)).Stop()
	quiet(t, got, 50*time.Millisecond, "a signal while paused")
	for range 2 {
		if err := b.ResumeSubscription(t.Context(), "d"); err != nil {
			t.Fatal(err)
		}
	}
	for want := uint64(3); want <= 5; want++ {
		if n := await(t, got, "what waited"); n != want {
			t.Errorf("got %d, want %d", n, want)
		}
	}
	until(t, "nothing to lag", func() bool {
		in := subscriptionOf(t, b, "d")
		return in.Lag == 0 && in.Oldest.IsZero() && !in.Paused
	})
}

func TestPauseUntil(t *testing.T) {
	t.Parallel()
	b := open(t)
	got := make(chan uint64, 100)
	subscribe(t, b, "a", sequences(got), bus.Durable("d"))
	end := time.Now().Add(300 * time.Millisecond)
	if err := b.PauseSubscription(t.Context(), "d", end); err != nil {
		t.Fatal(err)
	}
	publish(t, b, make1(t, "a", 1))
	if in := subscriptionOf(t, b, "d"); in.Paused && !in.PausedUntil.Equal(end) {
		t.Errorf("paused until %s, want %s", in.PausedUntil, end)
	}
	await(t, got, "signal after the pause")
	if time.Now().Before(end) {
		t.Error("a signal came before the end of the pause")
	}
	wantCode(t, b.PauseSubscription(t.Context(), "d", time.Now().Add(-time.Second)), fault.Invalid)
	wantCode(t, b.PauseSubscription(t.Context(), "none", time.Time{}), fault.NotFound)
	wantCode(t, b.ResumeSubscription(t.Context(), "none"), fault.NotFound)
	wantCode(t, b.ResumeSubscription(t.Context(), "a.b"), fault.NotFound)
	_, err := b.Subscription(t.Context(), "none")
	wantCode(t, err, fault.NotFound)
}

// A redrive waits for the end of the pause as well.
func TestPauseHoldsRedrives(t *testing.T) {
	t.Parallel()
	b := open(t)
	calls := make(chan bool, 10)
	sub := subscribe(t, b, "a", func(context.Context, *signal.Signal) error {
		calls <- true
		return fault.Permanent(fault.Newf(fault.Invalid, "no"))
	}, bus.Durable("d"))
	publish(t, b, make1(t, "a", 1))
	await(t, calls, "call")
	until(t, "a dead letter", func() bool { return sub.Stats().Dead == 1 })
	if err := b.PauseSubscription(t.Context(), "d", time.Time{}); err != nil {
		t.Fatal(err)
	}
	if err := b.DeadLetters().Redrive(t.Context(), letters(t, b, bus.LetterFilter{})[0].ID, "me"); err != nil {
		t.Fatal(err)
	}
	quiet(t, calls, 100*time.Millisecond, "a redrive while paused")
	if err := b.ResumeSubscription(t.Context(), "d"); err != nil {
		t.Fatal(err)
	}
	await(t, calls, "redrive")
}

// Back and ahead, with the member running; the beginning of the subscription is no limit.
func TestReset(t *testing.T) {
	t.Parallel()
	for name, begin := range map[string]func(first time.Time) bus.StartOption{
		"current":  func(time.Time) bus.StartOption { return bus.FromCurrent() },
		"origin":   func(time.Time) bus.StartOption { return bus.FromOrigin() },
		"sequence": func(time.Time) bus.StartOption { return bus.FromSequence(4) },
		"time":     func(third time.Time) bus.StartOption { return bus.Since(third) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := open(t)
			publish(t, b, several(t, "a", 2)...)
			publish(t, b, make1(t, "a", 3))
			third, err := b.Get(t.Context(), 3)
			if err != nil {
				t.Fatal(err)
			}
			got := make(chan uint64, 100)
			sub := subscribe(t, b, "a", sequences(got), bus.Durable("d"), begin(third.Stored))
			publish(t, b, several(t, "a", 2)...)
			for await(t, got, "signal") != 5 {
			}
			until(t, "all to be handled", func() bool { return subscriptionOf(t, b, "d").Lag == 0 })
			for _, reset := range []struct {
				name     string
				to       bus.StartOption
				at, last uint64
			}{
				{"sequence", bus.FromSequence(4), 4, 5},
				{"origin", bus.FromOrigin(), 1, 5},
				{"time", bus.Since(third.Stored), 3, 5},
				{"time again", bus.Since(third.Stored), 3, 5},
				{"end", bus.FromCurrent(), 6, 5},
				{"after the last", bus.Since(time.Now().Add(time.Hour)), 6, 5},
				{"sequence after the last", bus.FromSequence(6), 6, 5},
			} {
				at, err := b.ResetSubscription(t.Context(), "d", reset.to)
				if err != nil || at != reset.at {
					t.Fatalf("%s: ResetSubscription() = %d, %v, want %d", reset.name, at, err, reset.at)
				}
				var all, want []uint64
				for n := reset.at; n <= reset.last; n++ {
					want, all = append(want, n), append(all, await(t, got, reset.name))
				}
				if !slices.Equal(all, want) {
					t.Errorf("%s: got %v, want %v", reset.name, all, want)
				}
				until(t, "all to be handled", func() bool { return subscriptionOf(t, b, "d").Lag == 0 })
			}
			publish(t, b, make1(t, "a", 6))
			if n := await(t, got, "a new signal"); n != 6 {
				t.Errorf("got %d, want 6", n)
			}
			quiet(t, got, 50*time.Millisecond, "a signal too many")
			if sub.Err() != nil {
				t.Errorf("Err() = %v", sub.Err())
			}
		})
	}
}

func TestResetErrors(t *testing.T) {
	t.Parallel()
	b := open(t)
	subscribe(t, b, "a", to(nil), bus.Durable("d"))
	for _, test := range []struct {
		name string
		to   bus.StartOption
		want fault.Code
	}{{"none", bus.FromOrigin(), fault.NotFound}, {"d", nil, fault.Invalid}, {"d", bus.FromSequence(2), fault.Invalid}} {
		_, err := b.ResetSubscription(t.Context(), test.name, test.to)
		wantCode(t, err, test.want)
	}
}

// Two members under load are sent back to before
// their beginning: every signal is handled again, and a pause survives.
func TestResetUnderLoad(t *testing.T) {
	t.Parallel()
	srv := serve(t, embed.Fast)
	b := join(t, srv)
	publish(t, b, several(t, "a", 50)...)
	got := make(chan uint64, 10_000)
	for range 2 {
		subscribe(t, join(t, srv), "a", sequences(got), bus.Durable("d"), bus.Concurrency(3), bus.MaxInFlight(20))
	}
	publish(t, b, several(t, "a", 500)...)
	await(t, got, "signal")
	if _, err := b.ResetSubscription(t.Context(), "d", bus.FromOrigin()); err != nil {
		t.Fatal(err)
	}
	seen := map[uint64]bool{}
	for len(seen) < 550 {
		seen[await(t, got, "signal after the reset")] = true
	}
	until(t, "all to be handled", func() bool { return subscriptionOf(t, b, "d").Lag == 0 })
	if err := b.PauseSubscription(t.Context(), "d", time.Time{}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.ResetSubscription(t.Context(), "d", bus.FromOrigin()); err != nil {
		t.Fatal(err)
	}
	in := subscriptionOf(t, b, "d")
	if !in.Paused || in.Waiting != 550 {
		t.Errorf("info = %+v, want it paused with 550 waiting", in)
	}
}
