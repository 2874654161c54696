package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/signalmesh/signalmesh/pkg/delivery"
	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/signal"
	"github.com/signalmesh/signalmesh/pkg/subject"
)

// crashMargin is how many more deliveries than attempts a signal gets before it is taken
// for what crashes its handlers. Deliveries also count when a member stops or loses its
// connection, so it is not zero.
const crashMargin = 3

// A job is one signal to be delivered to the handler.
type job struct {
	m      *Message // to be settled
	s      *signal.Signal
	place  Place
	first  int              // number of the first attempt
	letter *delivery.Letter // of a redrive
	broken error            // why the handler must not be called
	late   bool             // the signal expired before an attempt
}

// accept takes one message of the bus. It blocks while every handler is busy.
func (s *Subscription) accept(ctx context.Context, m *Message) {
	switch {
	case m.DecodeErr != nil:
		s.counts.undecodable.Add(1)
		s.b.log.Debug("message is not a signal", "subscription", s.cfg.name, "sequence", m.Sequence, "error", m.DecodeErr)
		s.settled(m, m.Ack())
		return
	case !s.pattern.Match(m.Signal.Type):
		s.settled(m, m.Ack())
		return
	case expired(m.Signal, time.Now()):
		s.expire(m, m.Signal)
		return
	}
	wanted, err := s.wants(m.Signal)
	if err == nil && !wanted {
		s.counts.skipped.Add(1)
		s.settled(m, m.Ack())
		return
	}
	s.begin(ctx, job{
		m: m, s: m.Signal, broken: err, first: 1,
		place: Place{Subscription: s.cfg.name, Sequence: m.Sequence, Stored: m.Stored},
	})
}

// expired reports whether a signal is of no use to anybody any more at that time.
func expired(sig *signal.Signal, at time.Time) bool {
	if _, expires := sig.Ext(signal.ExtExpiry); !expires {
		return false
	}
	expiry, ok := sig.Expiry()
	return ok && !at.Before(expiry)
}

// expire is the end of a signal that nobody needs any more.
func (s *Subscription) expire(m *Message, sig *signal.Signal) {
	s.counts.expired.Add(1)
	s.b.log.Debug("signal has expired", "subscription", s.cfg.name, "signal_id", sig.ID, "type", sig.Type, "sequence", m.Sequence)
	s.settled(m, m.Ack())
}

// wants runs the filter.
func (s *Subscription) wants(sig *signal.Signal) (wanted bool, err error) {
	if s.cfg.filter == nil {
		return true, nil
	}
	defer func() {
		if v := recover(); v != nil {
			err = fault.Permanent(fault.Newf(fault.Internal, "filter: panic: %v", v))
		}
	}()
	return s.cfg.filter(sig), nil
}

// again takes one request to run a delivery of this subscription once more.
func (s *Subscription) again(ctx context.Context, m *Message) {
	var req delivery.Request
	err := json.Unmarshal(m.Body, &req)
	var sig *signal.Signal
	if err == nil {
		sig, err = s.b.requested(ctx, req)
	}
	switch {
	case fault.Is(err, fault.Unavailable):
		s.settled(m, m.NakWithDelay(time.Second))
		return
	case err != nil:
		s.b.log.Error("request to run a delivery cannot be read", "subscription", s.cfg.name, "sequence", m.Sequence, "error", err)
		s.settled(m, m.Term("unreadable request"))
		return
	}
	s.begin(ctx, job{
		m: m, s: sig, first: max(req.First, 1), letter: req.Letter,
		place: Place{Subscription: s.cfg.name, Sequence: req.Sequence},
	})
}

// requested returns the signal of a request, which may have been too large to travel twice.
func (b *Bus) requested(ctx context.Context, req delivery.Request) (*signal.Signal, error) {
	if len(req.Signal) > 0 || req.Sequence == 0 {
		return req.Decode()
	}
	e, err := b.Get(ctx, req.Sequence)
	return e.Signal, err
}

// begin starts a delivery as soon as a handler is free, in the order of the calls, and with
// [OrderBy] when those before it with its key have their outcome.
func (s *Subscription) begin(ctx context.Context, j job) {
	if !acquire(ctx, s.room) {
		s.settled(j.m, j.m.NakWithDelay(0))
		return
	}
	before, leave := s.lineUp(&j)
	if before == nil && !acquire(ctx, s.slots) {
		leave()
		<-s.room
		s.settled(j.m, j.m.NakWithDelay(0))
		return
	}
	s.work.Go(func() { // ends with an outcome, or with ctx
		defer func() { <-s.room }()
		defer leave()
		if before != nil && !s.turn(ctx, before) {
			s.settled(j.m, j.m.NakWithDelay(0))
			return
		}
		s.deliver(ctx, j)
	})
}

func acquire(ctx context.Context, slots chan struct{}) bool {
	select {
	case slots <- struct{}{}:
		return true
	default:
	}
	select {
	case slots <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

// deliver runs the attempts of a delivery that has a slot, and settles it. The slot is free
// while the delivery waits between attempts.
func (s *Subscription) deliver(ctx context.Context, j job) {
	slot := true
	var res delivery.Result
	if n := j.m.Delivered; n > s.cfg.policy.MaxAttempts+crashMargin {
		res = delivery.Result{
			Status: delivery.Dead, Reason: delivery.ReasonCrashLoop,
			Err: fault.Newf(fault.Internal, "delivered %d times without an outcome", n-1),
		}
	} else {
		res = s.run(ctx, &j, &slot)
	}
	if slot {
		<-s.slots
	}
	switch {
	case j.late && j.letter == nil:
		s.expire(j.m, j.s)
	case res.Status == delivery.Delivered:
		s.counts.handled.Add(1)
		s.settled(j.m, j.m.Ack())
	case res.Status == delivery.Dead:
		if j.late { // a dead letter that is redriven does not vanish over it
			res.Reason = delivery.ReasonExpired
		}
		s.bury(ctx, j, res)
	default:
		s.settled(j.m, j.m.NakWithDelay(0))
	}
}

// run makes the attempts of a delivery. What has been said of a signal by hand has the last
// word.
func (s *Subscription) run(ctx context.Context, j *job, slot *bool) delivery.Result {
	attempts, stop := context.WithCancel(ctx)
	defer stop()
	var t *unsettled
	if s.book != nil {
		t = s.book.take(*j, stop)
	}
	res := s.cfg.policy.Run(attempts, func(ctx context.Context, attempt int) error {
		if !*slot {
			if !acquire(ctx, s.slots) {
				return ctx.Err()
			}
			*slot = true
		}
		if t == nil {
			return s.attempt(ctx, j, t, attempt, slot)
		}
		defer s.book.pass(t)
		return s.book.outcome(attempts, t, s.attempt(ctx, j, t, attempt, slot))
	}, delivery.Options{First: j.first, Node: s.b.node, Timeout: s.cfg.timeout, OnAttempt: s.attempted(j)})
	if t == nil {
		return res
	}
	switch final, reason := s.book.release(t); final {
	case acked:
		res.Status, j.late = delivery.Delivered, false
	case given:
		res.Status, res.Reason, res.Err, j.late = delivery.Dead, delivery.ReasonPermanent, reason, false
	}
	return res
}

// attempt calls the handler in a slot and leaves the slot.
func (s *Subscription) attempt(ctx context.Context, j *job, t *unsettled, attempt int, slot *bool) error {
	defer func() { *slot = false; <-s.slots }()
	if j.late = expired(j.s, time.Now()); j.late { // while it waited, or before a redrive
		return fault.Permanent(fault.Newf(fault.Invalid, "the signal expired at %s", j.s.ExtString(signal.ExtExpiry)))
	}
	if t != nil && s.book.begin(t) {
		return nil
	}
	return s.call(ctx, *j, attempt)
}

func (s *Subscription) call(ctx context.Context, j job, attempt int) error {
	if j.broken != nil {
		return j.broken
	}
	j.place.Attempt = attempt
	ctx = context.WithValue(signal.NewContext(ctx, j.s), placeKey{}, j.place)
	return s.handler(ctx, j.s)
}

// attempted counts failures, and keeps the stack of a panic, which no letter holds.
func (s *Subscription) attempted(j *job) func(delivery.Attempt, time.Time) {
	return func(a delivery.Attempt, next time.Time) {
		if a.OK() || j.late {
			return
		}
		s.counts.failed.Add(1)
		s.b.log.Debug("attempt failed", "subscription", s.cfg.name, "signal_id", j.s.ID, "type", j.s.Type,
			"attempt", a.Number, "error", a.Error, "next_at", next)
	}
}

// bury writes the dead letter of a delivery and then acknowledges its signal. It insists
// until ctx ends: without its letter a delivery is not dead.
func (s *Subscription) bury(ctx context.Context, j job, res delivery.Result) {
	var crash *delivery.Panic
	log := s.b.log.With("subscription", s.cfg.name, "signal_id", j.s.ID, "type", j.s.Type, "reason", string(res.Reason), "error", res.Err)
	if errors.As(res.Err, &crash) {
		log = log.With("stack", string(crash.Stack))
	}
	if s.cfg.name == "" {
		s.counts.dead.Add(1)
		log.Warn("signal given up; a subscription that is not durable has no dead letters")
		return
	}
	l := s.letter(j, res)
	for try := 0; ; try++ {
		err := s.b.DeadLetters().Write(ctx, l)
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			s.settled(j.m, j.m.NakWithDelay(0))
			return
		}
		s.b.log.Error("dead letter not stored; trying again", "subscription", s.cfg.name, "signal_id", j.s.ID, "error", err)
		pause(ctx, try)
	}
	s.counts.dead.Add(1)
	log.Warn("signal given up", "letter", l.ID)
	s.settled(j.m, j.m.Term("dead letter "+l.ID))
}

// letter is the dead letter of a delivery. Its id is that of the signal at this
// subscription, so that writing it again, or a redrive that fails, does not make two.
func (s *Subscription) letter(j job, res delivery.Result) delivery.Letter {
	l := delivery.Letter{Bus: s.b.name, Kind: delivery.KindSubscription, Name: s.cfg.name, Sequence: j.place.Sequence}
	if j.letter != nil {
		l = *j.letter
	}
	l.ID = subject.Key(fmt.Sprintf("%s\x00%s\x00%s\x00%s", l.Kind, l.Name, j.s.Source, j.s.ID))
	l.Signal, l.Node = j.s.AppendJSON(nil), s.b.node
	return l.Died(res)
}

// settled tells of a verdict that did not get through; then the signal comes again.
func (s *Subscription) settled(m *Message, err error) {
	if err != nil && !fault.Is(err, fault.Conflict) {
		s.b.log.Debug("verdict not sent", "subscription", s.cfg.name, "sequence", m.Sequence, "error", err)
	}
}
