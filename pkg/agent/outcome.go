package agent

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/signalmesh/signalmesh/pkg/bus"
	"github.com/signalmesh/signalmesh/pkg/delivery"
	"github.com/signalmesh/signalmesh/pkg/dispatch"
	"github.com/signalmesh/signalmesh/pkg/fault"
)

// conclude turns the end of a run into its verdict. It stores the dead letter of a delivery
// that is dead, and the request of one that waits; if ctx ends before that, the delivery is
// stopped.
func (a *Agent) conclude(ctx context.Context, r *run, v delivery.Verdict, res delivery.Result) delivery.Verdict {
	if v.Attempts = res.Attempts; len(r.attempts) > 0 {
		v.Attempts = delivery.JoinAttempts(r.attempts, res.Attempts)
	}
	v.Status, v.Reason, v.NextAt = res.Status, "", time.Time{}
	if res.Status == delivery.Retrying {
		err := a.park(ctx, r, v.Attempts, res.Next)
		switch {
		case err == nil:
			v.NextAt, v.Parked = res.Next, true
		case ctx.Err() != nil:
			v.Status = delivery.Stopped
		default: // the store refuses it for good
			res.Status, res.Reason, res.Err = delivery.Dead, delivery.ReasonPermanent, err
		}
	}
	if res.Status == delivery.Dead {
		v.Status, v.Reason = delivery.Dead, delivery.Excerpt(fmt.Sprintf("%s: %v", res.Reason, res.Err))
		var err error
		if v.Letter, err = a.bury(ctx, r, v, res); err != nil { // ctx has ended
			v.Status, v.Reason, v.Letter = delivery.Stopped, "", ""
		}
	}
	return a.decided(v)
}

// expire is the end of a delivery that nobody needs any more. A dead letter that is redriven
// does not vanish over it.
func (a *Agent) expire(ctx context.Context, r *run, v delivery.Verdict, expiry time.Time) delivery.Verdict {
	text := "expired at " + expiry.UTC().Format(time.RFC3339)
	if r.letter != nil {
		return a.conclude(ctx, r, v, delivery.Result{
			Status: delivery.Dead, Reason: delivery.ReasonExpired, Err: fault.Newf(fault.Invalid, "the signal %s", text),
		})
	}
	v.Status, v.Reason = delivery.Expired, text
	return a.decided(v)
}

// longestPutOff bounds how long a delivery waits for another try at a busy target.
const longestPutOff = time.Minute

// putOff parks a delivery for which there is no place at its target: for as long as it has
// waited already, so that what waits for a target that stays busy costs little.
func (a *Agent) putOff(ctx context.Context, r *run, v delivery.Verdict) delivery.Verdict {
	now := time.Now()
	if r.asked.IsZero() {
		r.asked = now
	}
	wait := min(max(now.Sub(r.asked), a.cfg.Hold), longestPutOff)
	wait += rand.N(wait/4 + 1)
	v.Status, v.Parked, v.NextAt = delivery.Retrying, true, now.Add(wait).UTC()
	v.Reason = fmt.Sprintf("the target has %d deliveries under way and no place for another", a.cfg.PerTarget)
	if err := a.later(ctx, r, fmt.Sprintf("busy-%d", now.UnixNano()), v.Attempts, max(r.first, 1), v.NextAt); err != nil {
		if ctx.Err() == nil {
			return a.conclude(ctx, r, v, delivery.Result{Status: delivery.Dead, Reason: delivery.ReasonPermanent, Err: err})
		}
		v.Status, v.Parked, v.NextAt, v.Reason = delivery.Stopped, false, time.Time{}, ""
	}
	return a.decided(v)
}

func (a *Agent) decided(v delivery.Verdict) delivery.Verdict {
	v.At = time.Now().UTC()
	if v.Status.Final() {
		a.cfg.Metrics.Delivery(a.bus.Name(), v.Route, string(v.Status))
	}
	return v
}

// park stores the delivery as a request that comes back when its next attempt is due.
func (a *Agent) park(ctx context.Context, r *run, attempts []delivery.Attempt, due time.Time) error {
	n := attempts[len(attempts)-1].Number
	r.asked = due
	return a.later(ctx, r, fmt.Sprintf("attempt-%d", n), attempts, n+1, due)
}

// later stores a request for the delivery. The same event of the same life of the delivery
// is the same request, however often it is stored.
func (a *Agent) later(ctx context.Context, r *run, event string, attempts []delivery.Attempt, first int, due time.Time) error {
	req := delivery.Request{
		Bus: a.bus.Name(), Kind: delivery.KindRoute, Name: r.route, Target: r.target,
		Signal: r.s.AppendJSON(nil), Sequence: r.sequence,
		First: first, Attempts: attempts, Letter: r.letter, At: r.asked,
	}
	id := r.key(a.bus.Name()) + "-" + r.life() + "-" + event
	return a.insist(ctx, "park delivery", func() error {
		return hopelessIf(a.bus.Later(ctx, id, req, due), fault.Invalid, fault.TooLarge)
	})
}

// life tells one redrive of the delivery from the others.
func (r *run) life() string {
	if r.letter == nil || len(r.letter.Redrives) == 0 {
		return "0"
	}
	return strconv.FormatInt(r.letter.Redrives[len(r.letter.Redrives)-1].At.UnixNano(), 10)
}

// bury stores the dead letter of a delivery and returns its id. It tries until that works or
// ctx ends: without its letter a delivery is not dead.
func (a *Agent) bury(ctx context.Context, r *run, v delivery.Verdict, res delivery.Result) (string, error) {
	l := delivery.Letter{Kind: delivery.KindRoute}
	if r.letter != nil {
		l = *r.letter
	}
	l.ID, l.Name, l.Target, l.Adapter = r.key(a.bus.Name()), r.route, r.target, r.to.Adapter
	l.Revision, l.Sequence = r.revision, r.sequence
	l.Signal = r.s.AppendJSON(nil)
	res.Attempts = v.Attempts
	return l.ID, a.write(ctx, l.Died(res), res.Err)
}

// quarantine puts what lies on the bus but is no signal into the dead letters, as it came.
func (a *Agent) quarantine(ctx context.Context, m *bus.Message) {
	l := delivery.Letter{
		ID:   dispatch.Key(a.bus.Name(), "sequence", strconv.FormatUint(m.Sequence, 10)),
		Kind: delivery.KindSignal, Name: "undecodable", Header: m.Header, Raw: m.Body, Sequence: m.Sequence,
	}
	a.discard(ctx, m, l.Died(delivery.Result{Reason: delivery.ReasonUndecodable, Err: m.DecodeErr}), m.DecodeErr)
}

// discard acknowledges a message when its dead letter is stored.
func (a *Agent) discard(ctx context.Context, m *bus.Message, l delivery.Letter, err error) {
	if a.write(ctx, l, err) != nil {
		a.handBack(m)
		return
	}
	a.acknowledge(m)
}

// write stores a dead letter, however long that takes; the error means that ctx ended.
func (a *Agent) write(ctx context.Context, l delivery.Letter, cause error) error {
	l.Bus, l.Node = a.bus.Name(), a.cfg.Node
	if err := a.insist(ctx, "store dead letter", func() error { return a.bus.DeadLetters().Write(ctx, l) }); err != nil {
		return err
	}
	log := a.log.With("kind", string(l.Kind), "name", l.Name, "target", l.Target, "sequence", l.Sequence, "letter", l.ID, "reason", string(l.Reason), "error", l.Error)
	var crash *delivery.Panic
	if errors.As(cause, &crash) {
		log = log.With("stack", string(crash.Stack))
	}
	log.WarnContext(ctx, "given up")
	a.cfg.Metrics.DeadLetter(l.Bus, string(l.Kind), string(l.Reason))
	return nil
}
