package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/signalmesh/signalmesh/pkg/bus"
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
	out      *shared // open while the table, or the flight of a carried target, lives
	openErr  error   // why out is nil
}

// A run is one delivery: a job, its signal, and what happened to it in earlier runs.
type run struct {
	job
	s        *signal.Signal
	sequence uint64
	first    int                // number of the next attempt; 0 means 1
	attempts []delivery.Attempt // made before this run
	letter   *delivery.Letter   // the dead letter that is redriven
	taken    int                // how often it was taken off the bus, this time included
}

// crashLimit is how often a delivery may be taken off the bus without coming to an end. One
// that gets that far takes its process down every time.
const crashLimit = 16

// key identifies the delivery over all attempts, nodes and redrives.
func (r run) key(bus string) string {
	return dispatch.Key(bus, r.s.Source, r.s.ID, r.route, r.target)
}

// run attempts the delivery until it has a verdict, is parked, or ctx ends. The verdict of a
// dead delivery is returned only when its dead letter is stored; until then it is stopped.
// progress hears of every failed attempt that is followed by another.
func (a *Agent) run(ctx context.Context, r run, progress func(delivery.Verdict)) delivery.Verdict {
	v := delivery.Verdict{Route: r.route, Target: r.target, Adapter: r.to.Adapter, Revision: r.revision, Node: a.cfg.Node, Attempts: r.attempts}
	if r.out != nil {
		v.Endpoint = dispatch.Endpoint(r.out.Adapter)
	}
	if expiry, ok := r.s.Expiry(); ok && !time.Now().Before(expiry) {
		v.Status, v.Reason = delivery.Expired, "expired at "+expiry.UTC().Format(time.RFC3339)
		return a.decided(v)
	}
	res := a.attempt(ctx, r, &v, progress)
	v.Attempts = delivery.JoinAttempts(r.attempts, res.Attempts)
	v.Status = res.Status
	var err error
	switch res.Status {
	case delivery.Dead:
		v.Letter, err = a.bury(ctx, r, v, res)
		v.Reason = fmt.Sprintf("%s: %v", res.Reason, res.Err)
	case delivery.Retrying:
		v.NextAt, v.Parked = res.Next, true
		err = a.park(ctx, r, v)
	}
	if err != nil { // only the end of ctx
		v.Status, v.Parked, v.NextAt, v.Letter = delivery.Stopped, false, time.Time{}, ""
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

// attempt runs the policy over the adapter. What must not be tried at all fails at once, in
// the same form, so that it becomes a dead letter like any other.
func (a *Agent) attempt(ctx context.Context, r run, v *delivery.Verdict, progress func(delivery.Verdict)) delivery.Result {
	switch {
	case r.s.Hops() >= a.cfg.MaxHops:
		err := fault.Newf(fault.Denied, "the signal was caused by itself %d times over: a loop of routes (max_hops %d)", r.s.Hops(), a.cfg.MaxHops)
		return delivery.Result{Status: delivery.Dead, Reason: delivery.ReasonLoop, Err: err}
	case r.taken > crashLimit:
		err := fault.Newf(fault.Internal, "taken off the bus %d times without coming to an end; it may be what ends the process", r.taken-1)
		return delivery.Result{Status: delivery.Dead, Reason: delivery.ReasonCrashLoop, Err: err}
	case r.openErr != nil && fault.Is(r.openErr, fault.Denied):
		return delivery.Result{Status: delivery.Dead, Reason: delivery.ReasonDenied, Err: r.openErr}
	}
	info := dispatch.Info{Key: r.key(a.bus.Name()), Bus: a.bus.Name(), Route: r.route, Target: r.target, Sequence: r.sequence}
	return r.policy.Run(ctx, func(ctx context.Context, n int) error {
		if r.openErr != nil {
			return r.openErr
		}
		info.Attempt = n
		return a.send(dispatch.WithInfo(ctx, info), r, v, info.Key)
	}, delivery.Options{
		First: r.first, Node: a.cfg.Node, Hold: a.cfg.Hold, Timeout: r.timeout(),
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
// signal, before the attempt counts as a success; the answer's id is fixed by the delivery,
// so that a repeated attempt does not publish it twice.
func (a *Agent) send(ctx context.Context, r run, v *delivery.Verdict, key string) error {
	var reply *signal.Signal
	err := a.bus.Wrap(func(ctx context.Context, s *signal.Signal) (err error) {
		reply, err = dispatch.Send(ctx, r.out.Adapter, s)
		return err
	})(ctx, r.s)
	if err != nil || reply == nil {
		return err
	}
	if reply.ID == "" {
		reply.ID = "reply-" + key
	}
	if err := a.bus.Publish(signal.NewContext(ctx, r.s), reply); err != nil {
		return fmt.Errorf("publish the reply: %w", err)
	}
	v.Reply = reply.ID
	return nil
}

func (a *Agent) attempted(ctx context.Context, r run, at delivery.Attempt) {
	outcome := "ok"
	if !at.OK() {
		outcome = string(at.Code)
		a.log.InfoContext(ctx, "delivery attempt failed", "route", r.route, "target", r.target,
			"signal_id", r.s.ID, "attempt", at.Number, "status", at.Status, "error", at.Error)
	}
	a.cfg.Metrics.Attempt(r.to.Adapter, outcome, at.Took)
}

// bury stores the dead letter of a delivery and returns its id. It tries until that works or
// ctx ends: without its letter a delivery is not dead.
func (a *Agent) bury(ctx context.Context, r run, v delivery.Verdict, res delivery.Result) (string, error) {
	l := delivery.Letter{Kind: delivery.KindRoute}
	if r.letter != nil {
		l = *r.letter
	}
	l.ID, l.Bus, l.Name, l.Target, l.Adapter = r.key(a.bus.Name()), a.bus.Name(), r.route, r.target, r.to.Adapter
	l.Revision, l.Node, l.Sequence = r.revision, a.cfg.Node, r.sequence
	l.Signal = r.s.AppendJSON(nil)
	res.Attempts = v.Attempts
	l = l.Died(res)
	err := a.insist(ctx, "store dead letter", func() error { return a.bus.DeadLetters().Write(ctx, l) })
	if err == nil {
		a.cfg.Metrics.DeadLetter(l.Bus, string(l.Kind), string(l.Reason))
		a.log.WarnContext(ctx, "delivery is dead", "route", r.route, "target", r.target, "signal_id", r.s.ID, "letter", l.ID, "reason", string(l.Reason), "error", l.Error)
	}
	return l.ID, err
}

// park stores the delivery as a request that comes back when its next attempt is due.
func (a *Agent) park(ctx context.Context, r run, v delivery.Verdict) error {
	n := v.Attempts[len(v.Attempts)-1].Number
	req := delivery.Request{
		Bus: a.bus.Name(), Kind: delivery.KindRoute, Name: r.route, Target: r.target,
		Signal: json.RawMessage(r.s.AppendJSON(nil)), Sequence: r.sequence,
		First: n + 1, Attempts: v.Attempts, Letter: r.letter, At: time.Now().UTC(),
	}
	id := fmt.Sprintf("%s-%d-%d", r.key(a.bus.Name()), redrives(r.letter), n)
	return a.insist(ctx, "park delivery", func() error { return a.bus.Later(ctx, id, req, v.NextAt) })
}

func redrives(l *delivery.Letter) int {
	if l == nil {
		return 0
	}
	return len(l.Redrives)
}

// quarantine puts what lies on the bus but is no signal into the dead letters, as it came.
func (a *Agent) quarantine(ctx context.Context, m *bus.Message) {
	l := delivery.Letter{
		ID: dispatch.Key(a.bus.Name(), "sequence", strconv.FormatUint(m.Sequence, 10)), Bus: a.bus.Name(), Kind: delivery.KindSignal, Name: "undecodable",
		Header: m.Header, Raw: m.Body, Sequence: m.Sequence, LastAt: time.Now().UTC(), Node: a.cfg.Node,
	}
	l = l.Died(delivery.Result{Reason: delivery.ReasonUndecodable, Err: m.DecodeErr})
	if err := a.insist(ctx, "store dead letter", func() error { return a.bus.DeadLetters().Write(ctx, l) }); err != nil {
		a.handBack(m)
		return
	}
	a.cfg.Metrics.DeadLetter(l.Bus, string(l.Kind), string(l.Reason))
	a.log.WarnContext(ctx, "message is not a signal", "sequence", m.Sequence, "letter", l.ID, "error", m.DecodeErr)
	a.acknowledge(m)
}

// insist repeats a store operation until it succeeds or ctx ends, and returns nil or the
// reason for that end. An input that the store refuses for good would refuse every time:
// that error is returned too.
func (a *Agent) insist(ctx context.Context, deed string, do func() error) error {
	res := storePolicy.Run(ctx, func(context.Context, int) error {
		err := do()
		if err != nil && (fault.Is(err, fault.Invalid) || fault.Is(err, fault.TooLarge)) {
			err = fault.Permanent(err)
		}
		return err
	}, delivery.Options{OnAttempt: func(at delivery.Attempt, _ time.Time) {
		if !at.OK() {
			a.log.WarnContext(ctx, "the store did not take it", "deed", deed, "attempt", at.Number, "error", at.Error)
		}
	}})
	if res.Status == delivery.Delivered {
		return nil
	}
	return errors.Join(fmt.Errorf("%s: %w", deed, res.Err))
}

// storePolicy keeps trying: while the store is away nothing can be settled anyway.
var storePolicy = delivery.Policy{MaxAttempts: 1 << 30, Min: 50 * time.Millisecond, Max: 2 * time.Second}

// timeout bounds one attempt of an adapter that does not return by itself.
func (r run) timeout() time.Duration {
	if r.out != nil {
		if l, ok := r.out.Adapter.(dispatch.Limiter); ok {
			return max(l.Timeout(), 0) + time.Second // its own limit comes first
		}
	}
	return DefaultTimeout
}
