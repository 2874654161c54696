package delivery

import (
	"context"
	"time"

	"github.com/signalmesh/signalmesh/pkg/fault"
)

// MaxKept is how many attempts a [Result] keeps: the first, and the latest ones.
const MaxKept = 32

// Options are what a run needs to know beside its policy. The zero value will do.
type Options struct {
	First   int           // number of the first attempt of this run; 0 means 1
	Node    string        // written into each attempt
	Timeout time.Duration // of one attempt; its end is a failed attempt. 0: none

	// Hold is the longest wait that the run sits out. A longer one ends it as Retrying, with
	// Result.Next set, for the caller to put the delivery away until then. 0: any wait.
	Hold time.Duration

	// OnAttempt is called after every attempt that counts, before the wait, on the
	// caller's goroutine. next is when the following attempt begins, zero if none will.
	OnAttempt func(a Attempt, next time.Time)
}

// A Result is how a run ended.
type Result struct {
	Status   Status    // Delivered, Dead, Stopped or Retrying
	Reason   Reason    // of Dead: ReasonAttempts or ReasonPermanent
	Attempts []Attempt // made in this run, at most MaxKept
	Next     time.Time // of Retrying: when the next attempt is due
	Err      error     // of the last attempt; of the context when Stopped
}

// Run calls do until it succeeds, fails for good or the attempts are used up, and says
// which. It blocks meanwhile and keeps no goroutine.
//
// The context given to do ends with ctx and with Options.Timeout. When ctx ends, Run
// stops as soon as do returns: an error that do returns then is taken for an effect of
// stopping and is not counted, because a delivery that is handed back loses nothing,
// while one that is given up does. A success still counts.
func (p Policy) Run(ctx context.Context, do func(ctx context.Context, attempt int) error, o Options) Result {
	p = p.WithDefaults()
	var res Result
	for n := max(o.First, 1); ; n++ {
		if err := ctx.Err(); err != nil {
			return res.stopped(context.Cause(ctx))
		}
		a := Attempt{Number: n, At: time.Now().UTC(), Node: o.Node}
		err := try(ctx, do, n, o.Timeout)
		if err != nil && ctx.Err() != nil {
			return res.stopped(context.Cause(ctx))
		}
		a.Took = time.Since(a.At)
		a.describe(err)
		res.Attempts = JoinAttempts(res.Attempts, []Attempt{a})
		res.Err = err

		var wait time.Duration
		switch {
		case err == nil:
			res.Status = Delivered
		case fault.IsPermanent(err):
			res.Status, res.Reason = Dead, ReasonPermanent
		case n >= p.MaxAttempts:
			res.Status, res.Reason = Dead, ReasonAttempts
		default:
			wait = p.Wait(n, err)
		}
		res.Next = o.report(a, res.Status, wait)
		if res.Status == "" && o.Hold > 0 && wait > o.Hold {
			res.Status = Retrying
		}
		if res.Status != "" {
			return res
		}
		if !sleep(ctx, wait) {
			return res.stopped(context.Cause(ctx))
		}
	}
}

func (r Result) stopped(err error) Result {
	r.Status, r.Reason, r.Next, r.Err = Stopped, "", time.Time{}, err
	return r
}

// report tells OnAttempt and returns when the next attempt is due.
func (o Options) report(a Attempt, s Status, wait time.Duration) (next time.Time) {
	if s == "" {
		next = time.Now().UTC().Add(wait)
	}
	if o.OnAttempt != nil {
		o.OnAttempt(a, next)
	}
	return next
}

// try makes one attempt, turning a panic into its error.
func try(ctx context.Context, do func(context.Context, int) error, n int, timeout time.Duration) (err error) {
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	defer func() {
		if v := recover(); v != nil {
			err = newPanic(v)
		}
	}()
	return do(ctx, n)
}

// sleep waits for d and reports whether it did before ctx ended.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
