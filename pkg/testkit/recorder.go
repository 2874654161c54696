package testkit

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/signalmesh/signalmesh/pkg/bus"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

// A Recorder keeps the signals that a subscription got, in order, for a test to look at.
// It reads like a tape: Next and Expect go on where the last one stopped.
type Recorder struct {
	tb   testing.TB
	what string // the pattern, for failures
	tape *tape[*signal.Signal]
	read int // how many Next and Expect have given out
}

// Record subscribes to the bus, and records every signal of the pattern that is published
// from now on; a start option among opts begins elsewhere. It ends with the test.
func Record(tb testing.TB, b *bus.Bus, pattern string, opts ...bus.SubscribeOption) *Recorder {
	tb.Helper()
	r := NewRecorder(tb, pattern)
	sub, err := b.Subscribe(tb.Context(), pattern, r.Handle, opts...)
	if err != nil {
		tb.Fatalf("testkit: record %s: %v", pattern, err)
	}
	tb.Cleanup(sub.Stop)
	return r
}

// Handle records a signal. It is a [signal.Handler], to record what something else than a
// subscription hands out.
func (r *Recorder) Handle(_ context.Context, s *signal.Signal) error {
	r.tape.add(s)
	return nil
}

// NewRecorder is a recorder that is fed by its Handle only; what names it in failures.
func NewRecorder(tb testing.TB, what string) *Recorder {
	return &Recorder{tb: tb, what: what, tape: newTape[*signal.Signal]()}
}

// All are the signals that came so far.
func (r *Recorder) All() []*signal.Signal {
	all, _ := r.tape.look()
	return all
}

// Next is the next signal. It fails the test when none comes within [Patience].
func (r *Recorder) Next() *signal.Signal {
	r.tb.Helper()
	return r.next(1, Patience)[0]
}

// Wait returns all signals when there are at least n of them. It fails the test when they
// have not come in time.
func (r *Recorder) Wait(n int, within time.Duration) []*signal.Signal {
	r.tb.Helper()
	return r.wait(n, within)
}

// Expect wants the next signals to have exactly these types, in this order, and returns
// them. It fails the test at the first that differs, or when they don't come within
// [Patience].
func (r *Recorder) Expect(types ...string) []*signal.Signal {
	r.tb.Helper()
	from := r.read
	differs := func(all []*signal.Signal) bool {
		for i, s := range all[from:min(len(all), from+len(types))] {
			if s.Type != types[i] {
				return true
			}
		}
		return false
	}
	all, ok := r.tape.until(func(all []*signal.Signal) bool {
		return len(all) >= from+len(types) || differs(all)
	}, Patience)
	if !ok || differs(all) {
		r.tb.Fatalf("recorder of %s: got %s, want %s", r.what, typesOf(all[from:]), strings.Join(types, ", "))
	}
	r.read += len(types)
	return all[from:r.read]
}

// Quiet fails the test when a signal that Next and Expect have not given out is there or
// comes within the time.
func (r *Recorder) Quiet(within time.Duration) {
	r.tb.Helper()
	all, ok := r.tape.until(func(all []*signal.Signal) bool { return len(all) > r.read }, within)
	if ok {
		r.tb.Fatalf("recorder of %s: got %s, want nothing", r.what, typesOf(all[r.read:]))
	}
}

func (r *Recorder) next(n int, within time.Duration) []*signal.Signal {
	r.tb.Helper()
	all := r.wait(r.read+n, within)
	got := all[r.read : r.read+n]
	r.read += n
	return got
}

func (r *Recorder) wait(n int, within time.Duration) []*signal.Signal {
	r.tb.Helper()
	all, ok := r.tape.until(func(all []*signal.Signal) bool { return len(all) >= n }, within)
	if !ok {
		r.tb.Fatalf("recorder of %s: %d signals within %s, want %d: %s", r.what, len(all), within, n, typesOf(all))
	}
	return all
}

// typesOf lists types with ids, "nothing" for none.
func typesOf(all []*signal.Signal) string {
	if len(all) == 0 {
		return "nothing"
	}
	var names []string
	for s := range slices.Values(all) {
		names = append(names, fmt.Sprintf("%s(%s)", s.Type, s.ID))
	}
	return strings.Join(names, ", ")
}

var _ signal.Handler = (*Recorder)(nil).Handle
