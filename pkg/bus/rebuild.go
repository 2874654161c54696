package bus

import (
	"context"
	"fmt"

	"github.com/signalmesh/signalmesh/pkg/codec"
	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/pattern"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

// A Rebuilt is a state folded from the history of one subject: the account, the order, that
// signals are about. It is what event sourcing calls an aggregate.
//
// It knows how far the bus was read, so that [Rebuilt.Refresh] reads only what came since,
// and that a decision made on it can be published on condition that nothing came in
// between. It is not safe for concurrent use.
type Rebuilt[S any] struct {
	State    S
	Signals  int    // folded so far
	Sequence uint64 // position of the last signal folded; 0 when there was none

	b       *Bus
	pattern pattern.Pattern
	filters []string
	subject string
	fold    func(S, *signal.Signal) (S, error)
	config  replayConfig
	read    uint64 // how far the bus has been read
	last    uint64 // position of the last message of the pattern, about whatever subject
}

// Rebuild folds the signals whose type matches the pattern and whose subject attribute is
// about, from the oldest that is kept to the last one there is now, each onto the state that
// the ones before it gave, beginning with initial. An error of fold ends it and is returned.
//
// It reads every signal of the pattern and looks for those about the subject: a pattern as
// narrow as the subject's types makes it cheap, about a second for 100,000 signals.
// Options bound it, as [UntilSequence] and [Until] do for the state as of a position or a
// time, or begin where a state that was kept left off: give that as initial, with
// [FromSequence] of what follows [Rebuilt.Read].
func Rebuild[S any](ctx context.Context, b *Bus, on, about string, initial S, fold func(S, *signal.Signal) (S, error), opts ...ReplayOption) (*Rebuilt[S], error) {
	p, cfg, err := replaying(on, opts)
	switch {
	case err != nil:
	case about == "":
		err = fault.Newf(fault.Invalid, "no subject is given")
	case cfg.follow || cfg.limit > 0 || !cfg.start.time.IsZero():
		err = fault.Newf(fault.Invalid, "a rebuild begins at a position and ends with the last signal there is")
	}
	r := &Rebuilt[S]{State: initial, b: b, pattern: p, subject: about, fold: fold, config: cfg}
	if err == nil {
		r.filters, _ = b.space.Filters(b.name, p)
		r.read, r.last = cfg.start.sequence-1, cfg.start.sequence-1
		err = r.Refresh(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("rebuild %.256s: %w", about, err)
	}
	return r, nil
}

// Refresh folds what has come since. When fold fails the state is what it was before the
// signal that it failed on, and the next Refresh begins with that.
func (r *Rebuilt[S]) Refresh(ctx context.Context) error {
	end, err := r.b.Last(ctx)
	if err != nil {
		return err
	}
	if r.config.last > 0 {
		end = min(end, r.config.last)
	}
	if r.read >= end {
		return nil
	}
	return r.advance(ctx, end)
}

// advance folds what it finds up to a position, or to the time at which the state is asked
// for: then it stays there, and no decision can be published on it.
func (r *Rebuilt[S]) advance(ctx context.Context, end uint64) error {
	sc := scan{
		stream: r.b.space.Stream(r.b.name), filters: r.filters,
		start: start{given: true, sequence: r.read + 1}, until: end,
	}
	for m, err := range r.b.scan(ctx, sc) {
		if err != nil {
			return err
		}
		if r.config.past(m.Sequence, m.Stored) {
			return nil
		}
		s, err := codec.FromNATS(m.Header, m.Data)
		if err == nil && s.Subject == r.subject && r.pattern.Match(s.Type) && r.config.keeps(s) {
			if err := r.add(m.Sequence, s); err != nil {
				return err
			}
		}
		r.read, r.last = m.Sequence, m.Sequence
	}
	r.read = end
	return nil
}

func (r *Rebuilt[S]) add(sequence uint64, s *signal.Signal) error {
	state, err := r.fold(r.State, s)
	if err != nil {
		return fmt.Errorf("fold signal at %d: %w", sequence, err)
	}
	r.State = state
	r.Signals++
	r.Sequence = sequence
	return nil
}

// Read is how far the bus was read: nothing at this position or before it is missing from
// the state.
func (r *Rebuilt[S]) Read() uint64 { return r.read }

// Expectation holds as long as the state is up to date, for [Bus.PublishIf]. With a pattern
// that is one type, it is about signals of that type, whatever their subject; with any other,
// about all signals of the bus, since that is what the engine checks without a race between
// its replicas. A conflict can therefore come from a signal about something else: the answer
// is the same, [Rebuilt.Refresh] and decide again, which [Rebuilt.Decide] does.
func (r *Rebuilt[S]) Expectation() Expectation {
	if r.pattern.IsExact() && r.config.start.sequence <= 1 {
		return ExpectSequence(r.pattern.String(), r.last)
	}
	return ExpectLast(r.read)
}

const (
	decisions = 64 // how often Decide decides before it says that the bus is too busy
	narrow    = 8  // how often of these on condition of what is narrower than the bus
)

// Decide publishes what decide makes of the state, on condition that the state was up to
// date, and repeats both as long as it was not. decide gets the state as it is then, and may
// be called several times; no signals and no error mean that there is nothing to do. What
// was published becomes part of the state with the next Refresh or Decide.
//
// The error is that of decide or of the publish, coded Conflict when others kept publishing
// for so long that it was given up.
func (r *Rebuilt[S]) Decide(ctx context.Context, decide func(S) ([]*signal.Signal, error)) ([]Ack, error) {
	for try := 1; ; try++ {
		if err := r.Refresh(ctx); err != nil {
			return nil, fmt.Errorf("rebuild %.256s: %w", r.subject, err)
		}
		signals, err := decide(r.State)
		if err != nil || len(signals) == 0 {
			return nil, err
		}
		expect := r.Expectation()
		if try > narrow { // the last signal of the type may be one that has aged out
			expect = ExpectLast(r.read)
		}
		acks, err := r.b.PublishIf(ctx, expect, signals...)
		if !fault.Is(err, fault.Conflict) || try == decisions {
			return acks, err
		}
	}
}
