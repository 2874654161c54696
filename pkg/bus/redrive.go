package bus

import (
	"context"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/signalmesh/signalmesh/pkg/delivery"
	"github.com/signalmesh/signalmesh/pkg/fault"
)

// Redrive has exactly the delivery of a letter run once more, in the name of whoever orders
// it, and takes the letter away. If it fails again the letter comes back under the same id
// with its history. It returns when that is stored; a crash in between leaves the letter
// there as well.
//
// Errors are coded NotFound when there is no such letter, or when neither the letter nor the
// bus has its signal any more, and Invalid when the letter has no receiver.
func (d DeadLetters) Redrive(ctx context.Context, id, by string) error {
	ctx, cancel := bounded(ctx)
	defer cancel()
	l, at, err := d.find(ctx, id)
	if err == nil {
		err = d.redrive(ctx, placed{l, at}, by)
	}
	if err != nil {
		return fmt.Errorf("redrive dead letter %.64s: %w", id, err)
	}
	return nil
}

func (d DeadLetters) redrive(ctx context.Context, l placed, by string) error {
	if err := d.runnable(ctx, l.Letter); err != nil {
		return err
	}
	now := time.Now()
	// Whoever else redrives it at this moment makes the same request.
	id := fmt.Sprintf("redrive-%s-%d-%d", l.ID, l.at, len(l.Redrives))
	if err := d.b.later(ctx, id, l.Request(now, by), now); err != nil {
		return err
	}
	return d.remove(ctx, l.at)
}

// runnable says why a letter can't be redriven, if so.
func (d DeadLetters) runnable(ctx context.Context, l delivery.Letter) error {
	if l.Kind != delivery.KindRoute && l.Kind != delivery.KindSubscription {
		return fault.Newf(fault.Invalid, "a dead letter of kind %s has no receiver to be delivered to", l.Kind)
	}
	if len(l.Signal) == 0 {
		if _, err := d.b.Get(ctx, l.Sequence); err != nil {
			return fmt.Errorf("the letter does not carry its signal: %w", err)
		}
	}
	return nil
}

// A RedriveOption is an option of [DeadLetters.RedriveAll].
type RedriveOption interface{ redrive(*redriveConfig) }

type redriveConfig struct {
	rate   float64
	dryRun bool
}

type redriveOption func(*redriveConfig)

func (o redriveOption) redrive(c *redriveConfig) { o(c) }

// RedriveRate redrives so many letters per second at most. 0, the default, is as fast as it
// goes, which is thousands: the receivers' own limits hold nevertheless, and what they have
// no place for waits in the stream.
func RedriveRate(perSecond float64) RedriveOption {
	return redriveOption(func(c *redriveConfig) { c.rate = perSecond })
}

// RedriveDryRun only counts.
func RedriveDryRun() RedriveOption {
	return redriveOption(func(c *redriveConfig) { c.dryRun = true })
}

// Redriven is what became of the letters that a redrive selected.
type Redriven struct {
	Runs int // deliveries that run once more, or would
	Kept int // letters that can't be redriven: no receiver, or no signal any more

	Reason error // of the first that is kept
}

// RedriveAll redrives what the filter selects, in one way through the letters. Those that
// can't be redriven are counted and stay; any other error ends it. What fails again while it
// runs is not redriven a second time.
func (d DeadLetters) RedriveAll(ctx context.Context, f LetterFilter, by string, opts ...RedriveOption) (Redriven, error) {
	var cfg redriveConfig
	for _, o := range opts {
		o.redrive(&cfg)
	}
	if cfg.rate < 0 || math.IsNaN(cfg.rate) {
		return Redriven{}, fault.Newf(fault.Invalid, "redrive dead letters: rate %g is negative", cfg.rate)
	}
	if cfg.dryRun {
		cfg.rate = 0
	}
	var mu sync.Mutex
	var done Redriven
	err := d.each(ctx, f, cfg.rate, func(ctx context.Context, l placed) error {
		var err error
		switch {
		case cfg.dryRun:
			err = d.runnable(ctx, l.Letter)
		case !d.there(ctx, l.at): // read a while ago, and somebody else has taken it since
			return nil
		default:
			err = d.redrive(ctx, l, by)
		}
		mu.Lock()
		defer mu.Unlock()
		switch {
		case err == nil:
			done.Runs++
		case fault.Is(err, fault.NotFound), fault.Is(err, fault.Invalid):
			if done.Kept++; done.Reason == nil {
				done.Reason = fmt.Errorf("dead letter %s: %w", l.ID, err)
			}
		default:
			return fmt.Errorf("%s: %w", l.ID, err)
		}
		return nil
	})
	if err != nil {
		return done, fmt.Errorf("redrive dead letters: %w", err)
	}
	return done, nil
}

// abreast is how many letters are dealt with at once: each waits for the engine twice.
const abreast = 32

// each calls do for what the filter selects, for several at once and at most at the rate per
// second, if that is not 0. It returns the first error, of the reading or of do, after which
// nothing more begins.
func (d DeadLetters) each(ctx context.Context, f LetterFilter, rate float64, do func(context.Context, placed) error) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var work sync.WaitGroup
	places := make(chan struct{}, abreast)
	began, n := time.Now(), 0
	for l, err := range d.selected(ctx, f) {
		if err == nil && rate > 0 {
			waitUntil(ctx, began.Add(time.Duration(float64(n)/rate*float64(time.Second))))
		}
		if err == nil && !acquire(ctx, places) {
			err = ctx.Err()
		}
		if err != nil {
			stop(err) // unless it is what do has ended it with
			break
		}
		n++
		work.Go(func() { // ends with do
			defer func() { <-places }()
			if err := do(ctx, l); err != nil {
				stop(err)
			}
		})
	}
	work.Wait()
	return coded(context.Cause(ctx))
}

// waitUntil waits until t, or the end of ctx.
func waitUntil(ctx context.Context, t time.Time) {
	d := time.Until(t)
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
