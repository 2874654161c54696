package agent

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/signalmesh/signalmesh/pkg/delivery"
	"github.com/signalmesh/signalmesh/pkg/dispatch"
	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

// A job is one target that a signal goes to.
type job struct {
	route    string
	target   string // its name within the route
	revision uint64
	policy   delivery.Policy
	to       dispatch.Target
	carried  bool
	out      *shared // open while the table, or the flight of a carried target, lives
	openErr  error   // why out is nil
}

// A run is one delivery: a job, its signal, and what happened to it in earlier runs.
type run struct {
	*job
	s        *signal.Signal
	sequence uint64
	first    int                // number of the next attempt; 0 means 1
	attempts []delivery.Attempt // made before this run
	letter   *delivery.Letter   // the dead letter that is redriven
	back     bool               // it comes from the LATER stream
	asked    time.Time          // since when it waits for a place at its target; zero: now
	fatal    bool               // it ends the process whenever it runs
}

// goOn makes the run the continuation of one whose attempts these are.
func (r *run) goOn(attempts []delivery.Attempt) {
	if n := len(attempts); n > 0 {
		r.first, r.attempts = attempts[n-1].Number+1, attempts
	}
}

// key identifies the delivery over all attempts, nodes and redrives.
func (r *run) key(bus string) string {
	if id := r.s.ExtString(signal.ExtReplay); id != "" { // meant to be taken once more
		return dispatch.Key(bus, r.s.Source, r.s.ID, r.route, r.target, id)
	}
	return dispatch.Key(bus, r.s.Source, r.s.ID, r.route, r.target)
}

// run attempts the delivery until it has a verdict, is parked, or ctx ends. The verdict of a
// dead delivery is returned only when its dead letter is stored, that of a parked one when
// its request is; until then it is stopped. progress hears of every failed attempt that is
// followed by another.
func (a *Agent) run(ctx context.Context, r *run, progress func(delivery.Verdict)) delivery.Verdict {
	v := delivery.Verdict{
		Route: r.route, Target: r.target, Adapter: r.to.Adapter, Revision: r.revision, Node: a.cfg.Node, Attempts: r.attempts,
	}
	if r.out != nil {
		v.Endpoint = r.out.endpoint
	}
	if expiry, ok := r.s.Expiry(); ok && !time.Now().Before(expiry) {
		return a.expire(ctx, r, v, expiry)
	}
	if reason, err := a.refuse(r); err != nil {
		return a.conclude(ctx, r, v, delivery.Result{Status: delivery.Dead, Reason: reason, Err: err})
	}
	if r.out != nil {
		if !r.out.room.enter(ctx, a.patience(r)) {
			return a.putOff(ctx, r, v)
		}
		defer r.out.room.leave()
	}
	res := a.attempt(ctx, r, &v, progress)
	return a.conclude(ctx, r, v, res)
}

// refuse says why the delivery must not be tried at all, if so.
func (a *Agent) refuse(r *run) (delivery.Reason, error) {
	switch {
	case r.s.Hops() >= a.cfg.MaxHops:
		return delivery.ReasonLoop, fault.Newf(fault.Denied,
			"the signal was caused by itself %d times over: a loop of routes (max_hops %d)", r.s.Hops(), a.cfg.MaxHops)
	case r.fatal:
		return delivery.ReasonCrashLoop, fault.Newf(fault.Internal,
			"taken off the bus more than %d times without coming to an end; it may be what ends the process", crashLimit)
	case r.openErr == nil:
	case fault.Is(r.openErr, fault.Denied):
		return delivery.ReasonDenied, r.openErr
	case fault.IsPermanent(r.openErr):
		return delivery.ReasonPermanent, r.openErr
	}
	return "", nil
}

// patience is how long the delivery waits for a place at its target. One that has been
// waiting in the stream can wait there for longer, and makes room for those behind it.
func (a *Agent) patience(r *run) time.Duration {
	if r.back {
		return 0
	}
	return a.cfg.Hold
}

// attempt runs the policy over the adapter.
func (a *Agent) attempt(ctx context.Context, r *run, v *delivery.Verdict, progress func(delivery.Verdict)) delivery.Result {
	info := dispatch.Info{Key: r.key(a.bus.Name()), Bus: a.bus.Name(), Route: r.route, Target: r.target, Sequence: r.sequence}
	timeout := DefaultTimeout
	if r.out != nil {
		timeout = r.out.timeout
	}
	ctx = signal.NewContext(ctx, r.s) // what an adapter publishes is an effect
	return r.policy.Run(ctx, func(ctx context.Context, n int) error {
		info.Attempt = n
		reply, err := a.send(dispatch.WithInfo(ctx, info), r, info.Key)
		if err == nil {
			v.Reply = reply
		}
		return err
	}, delivery.Options{
		First: r.first, Node: a.cfg.Node, Hold: a.cfg.Hold, Timeout: timeout,
		OnAttempt: func(at delivery.Attempt, next time.Time) {
			a.attempted(ctx, r, at)
			if !next.IsZero() {
				v.Status, v.NextAt, v.At = delivery.Retrying, next, time.Now().UTC()
				v.Attempts = delivery.JoinAttempts(v.Attempts, []delivery.Attempt{at})
				progress(*v)
			}
		},
	})
}

// send makes one attempt. An adapter that answers has its answer published, caused by the
// signal, before the attempt counts as a success. It returns the id of the answer.
func (a *Agent) send(ctx context.Context, r *run, key string) (replyID string, err error) {
	out := r.out
	if out == nil { // it could not be opened, and may now
		if out, err = a.pool.get(ctx, r.to, r.carried); err != nil {
			return "", err
		}
		defer a.pool.put(out)
	}
	var reply *signal.Signal
	err = a.bus.Wrap(func(ctx context.Context, s *signal.Signal) (err error) {
		reply, err = dispatch.Send(ctx, out.adapter, s)
		return err
	})(ctx, r.s)
	if err != nil || reply == nil {
		return "", err
	}
	reply, err = replyTo(r.s, reply, key)
	if err == nil {
		err = a.bus.Publish(ctx, reply)
	}
	if err != nil {
		err = hopelessIf(fmt.Errorf("publish the reply: %w", err), fault.Invalid, fault.TooLarge)
		return "", err
	}
	return reply.ID, nil
}

// replyTo makes an answer an effect of s, whatever it says of itself: a target that echoes
// what it gets must not begin a chain that nothing ends. An answer without an id gets that
// of the delivery, so that a repeated attempt does not publish it twice.
func replyTo(s, answer *signal.Signal, key string) (*signal.Signal, error) {
	reply := answer.Clone()
	if reply.ID == "" {
		reply.ID = "reply-" + key
	}
	hops := min(max(reply.Hops(), s.Hops()+1), math.MaxInt32)
	if err := reply.SetExt(signal.ExtHops, hops); err != nil {
		return nil, err
	}
	return reply, reply.SetExt(signal.ExtCausation, s.ID)
}

func (a *Agent) attempted(ctx context.Context, r *run, at delivery.Attempt) {
	outcome := "ok"
	if !at.OK() {
		outcome = string(at.Code)
		a.log.InfoContext(ctx, "delivery attempt failed", "route", r.route, "target", r.target,
			"signal_id", r.s.ID, "attempt", at.Number, "status", at.Status, "error", at.Error)
	}
	a.cfg.Metrics.Attempt(r.to.Adapter, outcome, at.Took)
}
