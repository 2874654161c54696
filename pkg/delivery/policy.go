package delivery

import (
	"errors"
	"math/rand/v2"
	"time"

	"github.com/signalmesh/signalmesh/pkg/fault"
)

// What a zero field of a [Policy] means.
const (
	DefaultMaxAttempts   = 5
	DefaultMin           = 100 * time.Millisecond
	DefaultMax           = 30 * time.Second
	DefaultJitter        = 0.2
	DefaultMaxRetryAfter = 5 * time.Minute
)

// NoJitter as [Policy.Jitter] makes every wait exactly the exponential one.
const NoJitter = -1

// A Policy is how often and how soon a failed attempt is followed by another. A zero
// field has its default. A Policy is a plain value and safe to share.
type Policy struct {
	MaxAttempts   int           `json:"max_attempts,omitempty" doc:"attempts in all; the first one counts" default:"5"`
	Min           time.Duration `json:"min,omitempty" doc:"wait after the first failure; it doubles with each further one" default:"100ms"`
	Max           time.Duration `json:"max,omitempty" doc:"longest wait between two attempts" default:"30s"`
	Jitter        float64       `json:"jitter,omitempty" doc:"share of a wait that is random, 0 to 1; -1 for none" default:"0.2"`
	MaxRetryAfter time.Duration `json:"max_retry_after,omitempty" doc:"longest wait that a receiver may ask for" default:"5m"`
}

// WithDefaults returns p with every zero field set. A Max below Min is lifted to Min
// where only one of the two was given.
func (p Policy) WithDefaults() Policy {
	if p.MaxAttempts == 0 {
		p.MaxAttempts = DefaultMaxAttempts
	}
	if p.Min == 0 {
		p.Min = DefaultMin
		if p.Max > 0 {
			p.Min = min(p.Min, p.Max)
		}
	}
	if p.Max == 0 {
		p.Max = max(DefaultMax, p.Min)
	}
	if p.Jitter == 0 {
		p.Jitter = DefaultJitter
	}
	if p.MaxRetryAfter == 0 {
		p.MaxRetryAfter = max(DefaultMaxRetryAfter, p.Max)
	}
	return p
}

// Validate reports everything that is wrong with p, with code [fault.Invalid]. Zero
// fields are fine.
func (p Policy) Validate() error {
	var errs []error
	bad := func(format string, args ...any) {
		errs = append(errs, fault.Newf(fault.Invalid, format, args...))
	}
	if p.MaxAttempts < 0 {
		bad("max_attempts %d is negative", p.MaxAttempts)
	}
	if p.Min < 0 || p.Max < 0 || p.MaxRetryAfter < 0 {
		bad("a wait is negative (min %s, max %s, max_retry_after %s)", p.Min, p.Max, p.MaxRetryAfter)
	}
	if p.Max > 0 && p.Min > p.Max {
		bad("min %s is longer than max %s", p.Min, p.Max)
	}
	if !(p.Jitter == NoJitter || p.Jitter >= 0 && p.Jitter <= 1) {
		bad("jitter %v is not between 0 and 1", p.Jitter)
	}
	if len(errs) == 0 {
		return nil
	}
	return fault.Wrap(fault.Invalid, errors.Join(errs...))
}

// Wait reports how long to wait after the given attempt (1 is the first) failed with err.
//
// The wait is Min·2ⁿ⁻¹ plus a random share of it, never outside Min..Max. An err with
// [fault.RetryAfter] makes it at least as long as asked for, up to MaxRetryAfter, which
// may be longer than Max.
func (p Policy) Wait(attempt int, err error) time.Duration {
	p = p.WithDefaults()
	wait := p.backoff(attempt, rand.Float64())
	if asked, ok := fault.Delay(err); ok {
		wait = max(wait, min(asked, p.MaxRetryAfter))
	}
	return wait
}

// backoff is the exponential wait with the random number r in [0, 1). The room for
// jitter is kept free below Max, so that waits spread there as well.
func (p Policy) backoff(attempt int, r float64) time.Duration {
	jitter := max(p.Jitter, 0)
	room := max(p.Min, time.Duration(float64(p.Max)/(1+jitter)))
	wait := p.Min
	for n := 1; n < attempt && wait < room; n++ {
		if wait *= 2; wait <= 0 { // overflow
			wait = room
		}
	}
	wait = min(wait, room)
	return min(wait+time.Duration(jitter*r*float64(wait)), p.Max)
}
