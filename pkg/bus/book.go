package bus

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/signalmesh/signalmesh/pkg/fault"
)

// remembered is how many verdicts a book knows after the signals have gone.
const remembered = 10_000

// A verdict is final.
type verdict int

const (
	acked verdict = iota + 1
	given         // up
)

// A book knows what a subscription with manual acknowledgement holds, and what became of
// what it held lately.
type book struct {
	wait time.Duration // for a verdict after the handler has returned

	mu     sync.Mutex
	ended  bool
	held   map[key][]*unsettled // under id and position; several when one came again
	past   map[key]verdict
	recent []key // keys of past, oldest at next when it is full
	next   int
}

// unsettled is a signal in flight. The mutex of its book guards what changes.
type unsettled struct {
	keys   [2]key
	source string
	m      *Message
	stop   context.CancelFunc // ends the wait between attempts
	wake   chan struct{}      // something was said; one slot

	running  bool    // an attempt is under way
	final    verdict // 0: none
	reason   error   // of final
	failed   error   // what was said of the attempt under way
	extended bool    // the wait begins again
}

func newBook(wait time.Duration) *book {
	return &book{wait: wait, held: make(map[key][]*unsettled), past: make(map[key]verdict)}
}

// take enters a signal.
func (b *book) take(j job, stop context.CancelFunc) *unsettled {
	t := &unsettled{
		keys:   [2]key{{id: j.s.ID}, {sequence: j.place.Sequence}},
		source: j.s.Source, m: j.m, stop: stop, wake: make(chan struct{}, 1),
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, k := range t.keys {
		b.held[k] = append(b.held[k], t)
	}
	return t
}

// release lets go of a signal, whose verdict is final with that if there is one.
func (b *book) release(t *unsettled) (verdict, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, k := range t.keys {
		b.held[k] = slices.DeleteFunc(b.held[k], func(o *unsettled) bool { return o == t })
		if len(b.held[k]) == 0 {
			delete(b.held, k)
		}
		if t.final != 0 {
			b.remember(k, t.final)
		}
	}
	return t.final, t.reason
}

func (b *book) remember(k key, v verdict) {
	if _, known := b.past[k]; !known {
		if len(b.recent) < 2*remembered {
			b.recent = append(b.recent, k)
		} else {
			delete(b.past, b.recent[b.next])
			b.recent[b.next] = k
			b.next = (b.next + 1) % len(b.recent)
		}
	}
	b.past[k] = v
}

// find returns what is in flight under a key; nothing when it is settled with v already.
func (b *book) find(k key, v verdict) ([]*unsettled, error) {
	found := b.held[k]
	if len(found) == 0 {
		past, known := b.past[k]
		switch {
		case known && past == v:
			return nil, nil
		case known:
			return nil, ErrSettled
		case b.ended:
			return nil, ErrEnded
		}
		return nil, ErrNotInFlight
	}
	for _, t := range found {
		if t.source != found[0].source {
			return nil, ErrAmbiguous
		}
		if t.final != 0 && t.final != v {
			return nil, ErrSettled
		}
	}
	return found, nil
}

// end is for what is asked for from now on.
func (b *book) end() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ended = true
}

// decide settles a signal.
func (t *unsettled) decide(v verdict, reason error) {
	t.final, t.reason = v, reason
	if t.running {
		t.nudge()
	} else {
		t.stop()
	}
}

func (t *unsettled) nudge() {
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// begin says that an attempt is under way, unless there is a verdict.
func (b *book) begin(t *unsettled) (settled bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	t.running, t.failed = t.final == 0, nil
	return t.final != 0
}

// pass says that no attempt is under way any more.
func (b *book) pass(t *unsettled) {
	b.mu.Lock()
	defer b.mu.Unlock()
	t.running = false
}

// outcome waits for that of an attempt whose handler has returned err.
func (b *book) outcome(ctx context.Context, t *unsettled, err error) error {
	timer := time.NewTimer(b.wait)
	defer timer.Stop()
	for {
		b.mu.Lock()
		final, reason, failed, extended := t.final, t.reason, t.failed, t.extended
		t.extended = false
		b.mu.Unlock()
		switch {
		case final != 0:
			return reason
		case err != nil:
			return err
		case failed != nil:
			return failed
		case extended:
			timer.Reset(b.wait)
		}
		select {
		case <-t.wake:
		case <-timer.C:
			return fault.Newf(fault.Unavailable, "not acknowledged within %s", b.wait)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
