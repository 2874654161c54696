package journal

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/signalmesh/signalmesh/pkg/fault"
)

// Lag returns how many signals on the bus are not recorded yet. [ErrNotFollowed] if nobody
// has ever recorded this bus.
func (j *Journal) Lag(ctx context.Context) (uint64, error) {
	info, err := j.position(ctx)
	if err != nil {
		return 0, fmt.Errorf("lag of the journal: %w", err)
	}
	return info.NumPending + uint64(info.NumAckPending), nil
}

// ErrNotFollowed says that the bus has no recorder, so nothing on it gets into the journal. Code
// fault.NotFound.
var ErrNotFollowed = fault.Hint(fault.Wrap(fault.NotFound, errors.New("nobody records this bus")),
	"a node that serves the bus does: is signald running?")

// How often Wait looks, at first and at last.
const (
	lookFirst = 2 * time.Millisecond
	lookLast  = 50 * time.Millisecond

	enoughIdle = 6 // looks at a recorder without work, 126 ms, that mean there is none
)

// Wait returns when every signal that is on the bus now has been recorded, so that what is
// asked next knows all that was published before. The context bounds it: recording takes
// milliseconds, unless there is much to catch up on or no node runs.
func (j *Journal) Wait(ctx context.Context) error {
	if err := j.wait(ctx); err != nil {
		return fmt.Errorf("wait for the journal: %w", err)
	}
	return nil
}

func (j *Journal) wait(ctx context.Context) error {
	last, err := j.lastOnBus(ctx)
	if err != nil || last == 0 {
		return err
	}
	idle := 0
	for pause := lookFirst; ; pause = min(2*pause, lookLast) {
		info, err := j.position(ctx)
		if err != nil {
			return err
		}
		behind := info.NumPending + uint64(info.NumAckPending)
		if behind > 0 {
			idle = 0
		}
		// The server may count a signal a moment after it is stored; and the last one may be
		// deleted before the recorder gets there, so that the floor never reaches it.
		if idle++; info.AckFloor.Stream >= last || idle > enoughIdle {
			return nil
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return fault.Newf(fault.Unavailable, "%d signals behind: %w", behind, ctx.Err())
		}
	}
}

// lastOnBus is the position of the last signal that is there; 0 if the bus is empty.
func (j *Journal) lastOnBus(ctx context.Context) (uint64, error) {
	a, err := j.read.ask(ctx, j.signal, request{LastBy: j.space.All(j.bus)})
	return a.last, err
}

// position asks for the state of the shared consumer.
func (j *Journal) position(ctx context.Context) (*jetstream.ConsumerInfo, error) {
	c, err := j.js.Consumer(ctx, j.signal, RecorderName)
	if errors.Is(err, jetstream.ErrConsumerNotFound) {
		return nil, ErrNotFollowed
	}
	if err != nil {
		return nil, coded(err)
	}
	return c.CachedInfo(), nil
}

// coded gives an error of the JetStream API a code.
func coded(err error) error {
	if errors.Is(err, jetstream.ErrStreamNotFound) || errors.Is(err, jetstream.ErrConsumerNotFound) {
		return fault.Wrap(fault.NotFound, err)
	}
	return fault.Wrap(fault.Unavailable, err)
}
