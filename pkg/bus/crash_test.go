package bus_test

import (
	"context"
	"testing"
	"time"

	"github.com/signalmesh/signalmesh/pkg/bus"
	"github.com/signalmesh/signalmesh/pkg/delivery"
	"github.com/signalmesh/signalmesh/pkg/embed"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

// What ends the process of its subscription each time comes to an end itself: no verdict
// ever reaches the server, which hands the signal to the next process after AckWait. So does
// a redrive of it. Those beside it are handled, and nobody listens for advisories.
func TestWhatEndsTheProcess(t *testing.T) {
	t.Parallel()
	srv := serve(t, embed.Fast)
	watcher := join(t, srv)
	innocent := make(chan string, 100)
	calls := 0
	// process lives until the poison kills it, or done says that it need not.
	process := func(done func() bool) {
		b := join(t, srv)
		entered, ready := make(chan bool, 10), make(chan struct{})
		sub := subscribe(t, b, "a", func(ctx context.Context, s *signal.Signal) error {
			if string(s.Data) != "1" {
				innocent <- string(s.Data)
				return nil
			}
			<-ready
			entered <- true
			b.Conn().Close() // as far as the server can tell, the process has gone
			<-ctx.Done()
			return ctx.Err()
		}, bus.Durable("d"), bus.MaxAttempts(2), bus.AckWait(200*time.Millisecond), bus.FromOrigin())
		close(ready)
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for !done() {
			select {
			case <-entered:
				calls++
				await(t, sub.Done(), "the end")
				return
			case <-tick.C:
			}
		}
		if err := sub.Drain(t.Context()); err != nil {
			t.Error(err)
		}
	}
	dead := func(redrives int) bool {
		all := letters(t, watcher, bus.LetterFilter{})
		return len(all) == 1 && len(all[0].Redrives) == redrives
	}
	end := func(redrives int) delivery.Letter {
		t.Helper()
		calls = 0
		for limit := time.Now().Add(patience); !dead(redrives); {
			if time.Now().After(limit) {
				t.Fatalf("no dead letter after %d calls", calls)
			}
			process(func() bool { return dead(redrives) })
		}
		if calls != 5 {
			t.Errorf("the handler was called %d times, want 2 attempts and 3 more", calls)
		}
		return letters(t, watcher, bus.LetterFilter{})[0]
	}

	publish(t, watcher, several(t, "a", 3)...)
	l := end(0)
	if l.Reason != delivery.ReasonCrashLoop || l.Sequence != 1 || l.Name != "d" {
		t.Errorf("letter = %s of signal %d at %s, want crash_loop of 1 at d", l.Reason, l.Sequence, l.Name)
	}
	process(func() bool { return len(innocent) >= 2 })

	if err := watcher.DeadLetters().Redrive(t.Context(), l.ID, "ann"); err != nil {
		t.Fatal(err)
	}
	again := end(1)
	if again.ID != l.ID || again.Reason != delivery.ReasonCrashLoop || again.Redrives[0].Reason != delivery.ReasonCrashLoop {
		t.Errorf("letter after the redrive = %+v, want %s with its history", again, l.ID)
	}
	seen := map[string]bool{}
	for len(innocent) > 0 {
		seen[<-innocent] = true
	}
	if !seen["2"] || !seen["3"] {
		t.Errorf("handled %v, want 2 and 3", seen)
	}
}
