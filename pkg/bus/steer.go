package bus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/signalmesh/signalmesh/pkg/fault"
)

// never is until when a subscription stays paused that is to be resumed by somebody.
var never = time.Date(9999, time.January, 1, 0, 0, 0, 0, time.UTC)

// PauseSubscription keeps a durable subscription from taking signals, over all its members
// and across restarts, until that time, or until it is resumed if the time is zero. The bus
// keeps the backlog. What its members have taken already is still handled, a fraction of a
// second's work, and so are its retries. Pausing again changes the time.
//
// The error is coded NotFound when there is no such subscription, and Invalid when the time
// has passed.
func (b *Bus) PauseSubscription(ctx context.Context, name string, until time.Time) error {
	now := time.Now()
	switch {
	case until.IsZero():
		until = never
	case !until.After(now):
		return fault.Newf(fault.Invalid, "pause subscription %.64s: the time %s has passed", name, until.UTC().Format(time.RFC3339))
	}
	err := b.steer(ctx, name, func(stream, consumer string) error {
		_, err := b.js.PauseConsumer(ctx, stream, consumer, until)
		return err
	})
	if err != nil {
		return fmt.Errorf("pause subscription %.64s: %w", name, err)
	}
	return nil
}

// ResumeSubscription ends the pause of a durable subscription; it goes on where it stood.
// Resuming one that is not paused is fine. The error is coded NotFound when there is none.
func (b *Bus) ResumeSubscription(ctx context.Context, name string) error {
	err := b.steer(ctx, name, func(stream, consumer string) error {
		_, err := b.js.ResumeConsumer(ctx, stream, consumer)
		return err
	})
	if err != nil {
		return fmt.Errorf("resume subscription %.64s: %w", name, err)
	}
	return nil
}

// steer does something to both consumers of a subscription: that of its signals, and that of
// what is to be run again for it.
func (b *Bus) steer(ctx context.Context, name string, do func(stream, consumer string) error) error {
	if _, err := b.consumerInfo(ctx, name); err != nil {
		return err
	}
	if err := do(b.space.Stream(b.name), consumerOf(name)); err != nil {
		return coded(err)
	}
	err := do(b.space.LaterStream(b.name), consumerOf(name))
	if errors.Is(err, jetstream.ErrConsumerNotFound) { // no member ever got so far
		return nil
	}
	return coded(err)
}

// ResetSubscription moves a durable subscription, back or ahead, and returns the position
// where it goes on: [FromOrigin], [FromCurrent], [FromSequence] or [Since]. Signals that it
// had dealt with reach its handlers again, with their attempts counted anew; those that it
// is moved past do not. Members need not stop. What they have taken already they still
// handle, besides, and it comes again where it lies ahead. Dead letters, their redrives and
// a pause stay as they are.
//
// The error is coded NotFound when there is no such subscription, and Invalid for a position
// that is not on the bus yet.
func (b *Bus) ResetSubscription(ctx context.Context, name string, to StartOption) (uint64, error) {
	at, err := b.resetSubscription(ctx, name, to)
	if err != nil {
		return 0, fmt.Errorf("reset subscription %.64s: %w", name, err)
	}
	return at, nil
}

func (b *Bus) resetSubscription(ctx context.Context, name string, to StartOption) (uint64, error) {
	if to == nil {
		return 0, fault.Newf(fault.Invalid, "it is not said where to")
	}
	live, err := b.consumerInfo(ctx, name)
	if err != nil {
		return 0, err
	}
	var c subscribeConfig
	to.subscribe(&c)
	at, err := b.positionOf(ctx, c.start)
	if err != nil {
		return 0, err
	}
	_, err = b.js.ResetConsumerToSequence(ctx, live.Stream, live.Name, at)
	if errors.Is(err, jetstream.ErrConsumerInvalidReset) {
		return at, b.remake(ctx, live, at)
	}
	return at, coded(err)
}

// positionOf is the position of the first signal of a reader that starts there.
func (b *Bus) positionOf(ctx context.Context, from start) (uint64, error) {
	s, err := b.js.Stream(ctx, b.space.Stream(b.name))
	if err != nil {
		return 0, coded(err)
	}
	state := s.CachedInfo().State
	switch {
	case !from.time.IsZero():
		for e, err := range b.Entries(ctx, "**", startOption(from), Limit(1)) {
			return e.Sequence, err
		}
		return state.LastSeq + 1, nil
	case from.sequence == 0:
		return state.LastSeq + 1, nil
	case from.sequence > state.LastSeq+1:
		return 0, fault.Newf(fault.Invalid, "position %d is after the end of the bus, %d", from.sequence, state.LastSeq)
	}
	return max(from.sequence, state.FirstSeq, 1), nil
}

// remake puts a consumer in the place of one that cannot be reset because it began later:
// the engine resets none to before its beginning. The members take it for the same.
func (b *Bus) remake(ctx context.Context, live *jetstream.ConsumerInfo, at uint64) error {
	// From the deletion on this must come to its end.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*PublishTimeout)
	defer cancel()
	want := live.Config
	want.DeliverPolicy, want.OptStartSeq, want.OptStartTime = jetstream.DeliverByStartSequencePolicy, at, nil
	if want.FilterSubject != "" {
		want.FilterSubjects, want.FilterSubject = []string{want.FilterSubject}, ""
	}
	var err error
	for try := range 5 {
		if try > 0 {
			pause(ctx, try)
		}
		err = b.js.DeleteConsumer(ctx, live.Stream, live.Name)
		if err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
			continue
		}
		if _, err = b.js.CreateConsumer(ctx, live.Stream, want); err == nil {
			return nil
		}
	}
	return fault.Hint(coded(err), "if the subscription is gone now, subscribe with bus.FromSequence(%d)", at)
}
