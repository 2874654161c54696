package journal

import (
	"context"
	"fmt"
	"slices"

	"github.com/nats-io/nats.go"

	"github.com/signalmesh/signalmesh/pkg/signal"
)

// maxEntries is how many keys one put writes at most.
const maxEntries = 3

// Record notes the signal and, if cause is not "", that the signal with that id caused it.
// It is for what does not come over the bus; what does is recorded by [Journal.Follow].
//
// In this order: the cause must be in the journal ([ErrCauseNotFound]), must not be an effect
// of the signal by however many steps ([ErrCycle]), and must not have happened after it ([ErrOrder]; equal
// times are fine, and signals without a time are not compared). Then nothing is written.
// The checks and the write are not one transaction: two calls that together make a cycle may
// both succeed if they run at the same moment. With cause "" the cause that the signal names
// itself is noted unchecked, as it is for signals on the bus.
//
// Recording again is harmless. With another cause it adds that cause.
func (j *Journal) Record(ctx context.Context, s *signal.Signal, cause string) error {
	err := s.Validate()
	if err == nil && cause != "" {
		err = j.mayCause(ctx, cause, s)
	}
	if err == nil {
		err = j.record(ctx, s, cause)
	}
	if err != nil {
		return fmt.Errorf("record %q: %w", s.ID, err)
	}
	return nil
}

func (j *Journal) record(ctx context.Context, s *signal.Signal, cause string) error {
	if cause == "" {
		cause = s.Causation()
	}
	known, err := j.recordsOf(ctx, s.ID)
	if err != nil {
		return err
	}
	sequence, effect := uint64(0), entryOf(s, 0)
	for _, r := range known {
		if r.same(effect) { // it is on the bus after all
			sequence = r.Sequence
		}
	}
	return j.write.store(ctx, j.entries(s, sequence, cause)...)
}

// entries are the keys to write for a signal: its node, its edge if it has a cause, and its
// place in a conversation if it has one.
func (j *Journal) entries(s *signal.Signal, sequence uint64, cause string) []entry {
	out := make([]entry, 1, maxEntries)
	out[0].msg = &nats.Msg{Subject: j.keys.node(s, cause), Data: nodeDocument(s, sequence, cause)}
	if cause != "" {
		out = append(out, entry{msg: &nats.Msg{
			Subject: j.keys.edge(cause, s), Data: edgeDocument(s, sequence, cause),
		}})
	}
	if c := s.Conversation(); c != "" {
		out = append(out, entry{msg: &nats.Msg{
			Subject: j.keys.member(c, s), Data: memberDocument(s, sequence, c),
		}})
	}
	return out
}

// mayCause checks that the signal may be recorded as an effect of the cause.
func (j *Journal) mayCause(ctx context.Context, cause string, s *signal.Signal) error {
	found, err := j.recordsOf(ctx, cause)
	if err != nil {
		return err
	}
	effect := entryOf(s, 0)
	if slices.ContainsFunc(found, func(r *Record) bool { return r.same(effect) }) {
		return fmt.Errorf("its own cause: %w", ErrCycle)
	}
	if len(found) == 0 {
		return fmt.Errorf("cause %q: %w", cause, ErrCauseNotFound)
	}
	if err := j.acyclic(ctx, found, effect); err != nil {
		return err
	}
	if !slices.ContainsFunc(found, func(r *Record) bool { return inOrder(r.Entry, effect) }) {
		return fmt.Errorf("cause %q at %s: %w", cause, found[0].Time.UTC().Format(timeFormat), ErrOrder)
	}
	return nil
}

const timeFormat = "2006-01-02T15:04:05.999Z07:00"

func inOrder(cause, effect Entry) bool {
	return cause.Time.IsZero() || effect.Time.IsZero() || !effect.Time.Before(cause.Time)
}

// acyclic walks from the causes backwards and fails if it meets the effect. A signal that
// has no effects yet, as a new one hasn't, is not looked for.
func (j *Journal) acyclic(ctx context.Context, causes []*Record, effect Entry) error {
	msgs, _, err := j.read.page(ctx, j.bucket, j.keys.edges(effect.ID), 0, 1)
	if err != nil || len(msgs) == 0 {
		return err
	}
	seen := make(map[string]bool)
	for len(causes) > 0 {
		var next []string
		for _, r := range causes {
			if r.same(effect) {
				return fmt.Errorf("%q is among its effects: %w", r.ID, ErrCycle)
			}
			for _, c := range r.Causes {
				if !seen[c] {
					seen[c] = true
					next = append(next, c)
				}
			}
		}
		if causes, err = j.recordsOf(ctx, next...); err != nil {
			return err
		}
	}
	return nil
}
