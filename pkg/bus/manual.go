package bus

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/signalmesh/signalmesh/pkg/fault"
)

// What is wrong with what [Subscription.Ack] and its like were given. The error that they
// return wraps one of these and names the argument.
var (
	// ErrAckArgument is for no argument at all, an empty id, or the position 0.
	ErrAckArgument = fault.Newf(fault.Invalid, "no signal id or position")

	// ErrNotManual is for a subscription without [ManualAck].
	ErrNotManual = fault.Newf(fault.Invalid, "the subscription has no manual acknowledgement")

	// ErrNotInFlight is for a signal that this member does not hold: it was never taken, is
	// with another member, or has become a dead letter meanwhile.
	ErrNotInFlight = fault.Newf(fault.NotFound, "not in flight at this subscription")

	// ErrSettled is for a signal that has got another verdict already.
	ErrSettled = fault.Newf(fault.Conflict, "settled already")

	// ErrAmbiguous is for an id under which signals of several sources are in flight; the
	// position tells them apart.
	ErrAmbiguous = fault.Newf(fault.Conflict, "signals of several sources have this id")

	// ErrEnded is for a subscription that has ended; what it held has gone back to the bus.
	ErrEnded = fault.Newf(fault.Conflict, "the subscription has ended")
)

// Ack acknowledges signals of a [ManualAck] subscription by id: they are handled. It is all
// or nothing: when one of the ids is wrong, none is acknowledged. The order does not matter,
// a signal may be acknowledged before its handler has returned, after its AckWait while it
// waits for another attempt, and again: the last 10,000 acknowledgements are remembered.
//
// Nil means that the server has got them, which may still be about to record them. When it
// cannot be reached, the error is coded Unavailable: the signals count as handled here, and those of which the server did not
// hear come again. The other errors are [ErrAckArgument], [ErrNotManual], [ErrNotInFlight],
// [ErrSettled], [ErrAmbiguous] and [ErrEnded].
func (s *Subscription) Ack(ctx context.Context, ids ...string) error {
	return s.ack(ctx, keysOf(ids))
}

// AckSequence is [Subscription.Ack] by position on the bus, which [Position] says.
func (s *Subscription) AckSequence(ctx context.Context, sequences ...uint64) error {
	var keys []key
	for _, n := range sequences {
		keys = append(keys, key{sequence: n})
	}
	return s.ack(ctx, keys)
}

func (s *Subscription) ack(ctx context.Context, keys []key) error {
	err := s.say(keys, acked, func(t *unsettled) error {
		if t.final == acked {
			return nil
		}
		t.decide(acked, nil)
		return t.m.Ack()
	})
	if err == nil {
		flush, cancel := bounded(ctx)
		defer cancel()
		err = coded(s.b.nc.FlushWithContext(flush))
	}
	if err != nil {
		return fmt.Errorf("acknowledge: %w", err)
	}
	return nil
}

// Nak says that a try at a signal of a [ManualAck] subscription has failed. It counts as a
// failed attempt: another follows after the backoff, and not before the delay, or the
// signal becomes a dead letter. It means nothing for a signal that waits for an attempt.
// The errors are those of [Subscription.Ack].
func (s *Subscription) Nak(id string, delay time.Duration) error {
	err := s.say([]key{{id: id}}, 0, func(t *unsettled) error {
		if t.running && t.failed == nil {
			t.failed = fault.RetryAfter(delay, fault.Newf(fault.Unavailable, "not acknowledged: given back"))
			t.nudge()
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("give back: %w", err)
	}
	return nil
}

// Term gives up a signal of a [ManualAck] subscription: as soon as its handler has returned,
// it becomes a dead letter with this reason. Doing so again is fine. The errors are those
// of [Subscription.Ack].
func (s *Subscription) Term(id, reason string) error {
	err := s.say([]key{{id: id}}, given, func(t *unsettled) error {
		if t.final != given {
			t.decide(given, fault.Permanent(fault.Newf(fault.Invalid, "given up: %.1024s", reason)))
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("give up: %w", err)
	}
	return nil
}

// InProgress makes AckWait begin again for signals of a [ManualAck] subscription. The errors
// are those of [Subscription.Ack].
func (s *Subscription) InProgress(ids ...string) error {
	err := s.say(keysOf(ids), 0, func(t *unsettled) error {
		t.extended = true
		t.nudge()
		return nil
	})
	if err != nil {
		return fmt.Errorf("in progress: %w", err)
	}
	return nil
}

// key names a signal in flight.
type key struct {
	id       string
	sequence uint64 // when id is ""
}

func keysOf(ids []string) []key {
	var keys []key
	for _, id := range ids {
		keys = append(keys, key{id: id})
	}
	return keys
}

func (k key) String() string {
	if k.id != "" {
		return "signal " + strconv.Quote(fmt.Sprintf("%.128s", k.id))
	}
	return "position " + strconv.FormatUint(k.sequence, 10)
}

// say does something to all of the named signals, or to none. What has been said already of
// a signal that is settled need not be said again.
func (s *Subscription) say(keys []key, v verdict, do func(*unsettled) error) error {
	if s.book == nil {
		return ErrNotManual
	}
	if len(keys) == 0 {
		return ErrAckArgument
	}
	s.book.mu.Lock()
	defer s.book.mu.Unlock()
	var all []*unsettled
	for _, k := range keys {
		if k == (key{}) {
			return ErrAckArgument
		}
		found, err := s.book.find(k, v)
		if err != nil {
			return fmt.Errorf("%s: %w", k, err)
		}
		all = append(all, found...)
	}
	for _, t := range all {
		if err := do(t); err != nil {
			return err
		}
	}
	return nil
}
