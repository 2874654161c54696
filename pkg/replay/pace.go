package replay

import (
	"context"
	"time"
)

// A pace says when each signal is due, counted from the beginning of the job.
type pace struct {
	speed float64
	rate  float64

	begun bool
	first time.Time // when the first signal was stored
	slot  float64   // seconds at which the rate allows the next
}

// next is when the signal that was stored at the given time is due. It is never earlier than
// the one before: clocks jump, and an archive has any order.
func (p *pace) next(stored time.Time) time.Duration {
	if !p.begun {
		p.begun, p.first = true, stored
	}
	due := p.slot
	if p.speed > 0 {
		due = max(due, stored.Sub(p.first).Seconds()/p.speed)
	}
	p.slot = due
	if p.rate > 0 {
		p.slot += 1 / p.rate
	}
	return time.Duration(due * float64(time.Second))
}

// wait returns at the given time, or when ctx ends.
func wait(ctx context.Context, until time.Time) error {
	t := time.NewTimer(time.Until(until))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
