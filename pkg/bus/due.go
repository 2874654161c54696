package bus

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/signalmesh/signalmesh/pkg/codec"
	"github.com/signalmesh/signalmesh/pkg/delivery"
	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/pattern"
	"github.com/signalmesh/signalmesh/pkg/signal"
	"github.com/signalmesh/signalmesh/pkg/subject"
)

// What comes due is put by the engine under a subject of this kind.
const (
	kindDue   = delivery.Kind("publish")
	dueSignal = "signal" // a delayed signal; a schedule has the key of its name here
	dueName   = "due"    // of the consumer, and of dead letters
)

const (
	dueAtOnce  = 32               // published side by side
	dueAgain   = time.Second      // before what the bus did not take is tried again
	dueDrain   = 5 * time.Second  // for what is under way when PublishDue ends
	dueAckWait = 10 * time.Second // before another process takes what a dead one held
)

// PublishDue puts on the bus what has come due: delayed signals, and the signals of
// schedules. It does so until ctx ends, and returns nil then; another error says why it
// cannot go on. Every node runs it for its buses; it is for programs without one. Several
// processes share the work, and while none runs it, what comes due waits.
//
// What is due is acknowledged only when the bus has stored it. What the bus refuses for
// good, such as a signal that a middleware denies, becomes a dead letter (kind signal, name
// due).
func (b *Bus) PublishDue(ctx context.Context) error {
	var work sync.WaitGroup
	slots := make(chan struct{}, dueAtOnce)
	life, interrupt := context.WithCancel(context.WithoutCancel(ctx)) // outlives ctx by the drain
	defer interrupt()
	c, err := b.Consume(ctx, ConsumeConfig{
		Durable: dueName, Later: kindDue, MaxAckPending: 4 * dueAtOnce, AckWait: dueAckWait, KeepAlive: true,
	}, func(m *Message) {
		if !acquire(life, slots) {
			_ = m.NakWithDelay(0) // or it comes back after AckWait
			return
		}
		work.Go(func() { // ends with an outcome, or with life
			defer func() { <-slots }()
			b.publishDue(life, m)
		})
	})
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("publish what is due: %w", err)
	}
	select {
	case <-ctx.Done():
		drain := time.AfterFunc(dueDrain, interrupt)
		defer drain.Stop()
	case <-c.Done():
		interrupt()
	}
	c.Stop()
	<-c.Done()
	work.Wait()
	if b.nc.IsConnected() {
		_ = b.nc.FlushTimeout(answerTimeout) // what the server does not know comes again
	}
	return c.Err()
}

// publishDue settles one message that has come due.
func (b *Bus) publishDue(ctx context.Context, m *Message) {
	publish := b.fire
	if _, delayed := m.Header[headerHold]; delayed {
		publish = b.appear
	}
	err := publish(ctx, m)
	switch {
	case err == nil:
		err = m.Ack()
	case ctx.Err() != nil:
		err = m.NakWithDelay(0)
	case transientDue(err):
		b.log.Warn("what is due is not published; trying again", "sequence", m.Sequence, "error", err)
		err = m.NakWithDelay(dueAgain)
	default:
		err = b.buryDue(ctx, m, err)
	}
	if err != nil && !fault.Is(err, fault.Conflict) {
		b.log.Debug("verdict not sent", "sequence", m.Sequence, "error", err)
	}
}

// transientDue reports whether the same message may be taken later.
func transientDue(err error) bool {
	switch fault.CodeOf(err) {
	case fault.Unavailable, fault.Exhausted, fault.Internal, fault.Conflict:
		return !fault.IsPermanent(err)
	default:
		return false
	}
}

// buryDue keeps what can't be published as a dead letter.
func (b *Bus) buryDue(ctx context.Context, m *Message, reason error) error {
	l := delivery.Letter{
		ID: subject.Key(fmt.Sprintf("due\x00%s\x00%d", b.name, m.Sequence)), Kind: delivery.KindSignal, Name: dueName,
		Header: m.Header, Raw: m.Body, Node: b.node,
	}.Died(delivery.Result{Status: delivery.Dead, Reason: delivery.ReasonPermanent, Err: reason})
	if err := b.DeadLetters().Write(ctx, l); err != nil {
		b.log.Error("dead letter not stored; trying again", "sequence", m.Sequence, "error", err)
		return m.NakWithDelay(dueAgain)
	}
	b.log.Warn("what is due can't be published", "sequence", m.Sequence, "letter", l.ID, "error", reason)
	return m.Term("dead letter " + l.ID)
}

// appear publishes a delayed signal. It passed the middleware when it was delayed.
func (b *Bus) appear(ctx context.Context, m *Message) error {
	cancelled := b.space.Cancelled(b.name, first(m.Header, headerHold))
	_, err := b.lastMessage(ctx, b.space.LaterStream(b.name), cancelled)
	if err == nil {
		return nil
	}
	if !fault.Is(err, fault.NotFound) {
		return err
	}
	s, err := codec.FromNATS(m.Header, m.Body)
	if err != nil {
		return err
	}
	subj, err := b.space.Signal(b.name, s.Type)
	if err != nil {
		return err
	}
	if time.Since(m.Stored) > b.stream.CachedInfo().Config.Duplicates/2 {
		there, err := b.has(ctx, s, m.Stored)
		if err != nil || there {
			return err
		}
	}
	out := &nats.Msg{Subject: subj, Data: m.Body, Header: nats.Header{}}
	for name, values := range m.Header {
		if name != headerHold && !strings.HasPrefix(name, "Nats-") {
			out.Header[name] = values
		}
	}
	out.Header[jetstream.MsgIDHeader] = []string{subject.MsgID(s.Source, s.ID)}
	ctx, cancel := bounded(ctx)
	defer cancel()
	_, err = b.commits.store(ctx, out)
	return err
}

// has looks for a signal among those stored since then: the engine forgets an id after its
// dedup window, and what is due may have been published and not acknowledged before that.
func (b *Bus) has(ctx context.Context, s *signal.Signal, since time.Time) (bool, error) {
	on := s.Type
	if p, err := pattern.Parse(on); err != nil || !p.IsExact() {
		on = "**"
	}
	for e, err := range b.Entries(ctx, on, Since(since), Limit(1), WithFilter(func(e *signal.Signal) bool {
		return e.ID == s.ID && e.Source == s.Source
	})) {
		return e.Signal != nil, err
	}
	return false, nil
}
