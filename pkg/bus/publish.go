package bus

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/signalmesh/signalmesh/pkg/codec"
	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/signal"
	"github.com/signalmesh/signalmesh/pkg/subject"
)

// MaxBatch is how many signals one Publish takes: what the engine stores all or nothing.
const MaxBatch = 1000

// PublishTimeout bounds a Publish whose context has no deadline.
const PublishTimeout = 10 * time.Second

const (
	answerTimeout = 3 * time.Second        // for one answer, before the message is sent again
	answerFirst   = time.Second            // for the first one: the server may be dead, and another have taken over
	pauseMin      = 25 * time.Millisecond  // before it is sent again
	pauseMax      = 250 * time.Millisecond // at most
)

// An Ack says where a signal lies.
type Ack struct {
	ID        string // of the signal
	Bus       string
	Sequence  uint64 // position on the bus; 0 when a middleware kept the signal back
	Duplicate bool   // it was there already: same source and id within the dedup window
}

// Publish stores the signals and returns when they are: then they survive whatever the
// server's durability promises, and not before does anybody receive them.
//
// Several signals are stored all or none, next to each other and in this order; at most
// [MaxBatch]. Those among them that are there already stay as they are, and the others are
// still stored all or none. Only a server without atomic batches (before 2.12, or switched
// off on the stream) stores them one by one; an error then leaves the first ones stored.
//
// A repeat of the same source and id within the dedup window (two minutes by default) is
// stored once and is no error, so a Publish that failed may be repeated as it is. It is
// repeated here, too: no answer means that nobody knows, and the same signal is sent again
// until the context ends, or [PublishTimeout] has passed when it has no deadline.
//
// Published with the context of a handler, a signal becomes an effect of the one that is
// handled, as with [signal.CausedBy], except where it says otherwise itself. The signals
// given are not changed.
//
// Errors are coded Invalid or TooLarge for signals that cannot be published, whatever a
// middleware answers, Exhausted when the store is full or overrun, and Unavailable when
// the engine does not answer in time, in which case the signals may or may not be stored.
// An invalid signal among several means that none is published.
func (b *Bus) Publish(ctx context.Context, signals ...*signal.Signal) error {
	_, err := b.PublishAck(ctx, signals...)
	return err
}

// PublishAck is [Bus.Publish] that says where each signal lies, in the order given.
func (b *Bus) PublishAck(ctx context.Context, signals ...*signal.Signal) ([]Ack, error) {
	return b.publish(ctx, Expectation{}, signals)
}

func (b *Bus) publish(ctx context.Context, expect Expectation, signals []*signal.Signal) ([]Ack, error) {
	return b.publication(ctx, publication{expect: expect}, signals)
}

// publication publishes as p says, which is otherwise empty. It has one error for all ways
// to fail.
func (b *Bus) publication(ctx context.Context, p publication, signals []*signal.Signal) ([]Ack, error) {
	acks, err := b.tryPublish(ctx, p, signals)
	switch {
	case err == nil:
		return acks, nil
	case len(signals) == 1 && signals[0] != nil:
		return nil, fmt.Errorf("publish %.256s: %w", signals[0].Type, err)
	}
	return nil, fmt.Errorf("publish %d signals: %w", len(signals), err)
}

func (b *Bus) tryPublish(ctx context.Context, p publication, signals []*signal.Signal) ([]Ack, error) {
	switch {
	case len(signals) == 0:
		return nil, nil
	case len(signals) > MaxBatch:
		return nil, fault.Hint(fault.Newf(fault.TooLarge, "at most %d at once", MaxBatch), "publish them in several calls")
	case b.isClosed():
		return nil, errClosed
	}
	signals, err := checked(effects(ctx, signals))
	if err != nil {
		return nil, err
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	p.b, p.given, p.acks = b, signals, make([]Ack, len(signals))
	for i, s := range signals {
		p.acks[i] = Ack{ID: s.ID, Bus: b.name}
	}
	return p.acks, p.pass(ctx, 0)
}

// checked returns the signals if all are valid.
func checked(signals []*signal.Signal) ([]*signal.Signal, error) {
	for i, s := range signals {
		var err error
		if s == nil {
			err = fault.Newf(fault.Invalid, "signal is nil")
		} else {
			err = s.Validate()
		}
		if err != nil && len(signals) > 1 {
			err = fmt.Errorf("signal %d: %w", i, err)
		}
		if err != nil {
			return nil, err
		}
	}
	return signals, nil
}

// effects makes the signals effects of the one that is being handled, if there is one.
func effects(ctx context.Context, signals []*signal.Signal) []*signal.Signal {
	cause, ok := signal.FromContext(ctx)
	if !ok {
		return signals
	}
	linked := make([]*signal.Signal, len(signals))
	for i, s := range signals {
		linked[i] = effect(cause, s)
	}
	return linked
}

// effect returns s with the extensions of an effect of cause that it lacks. A signal that
// names another cause is left as it is.
func effect(cause, s *signal.Signal) *signal.Signal {
	if s == nil || s.Causation() != "" && s.Causation() != cause.ID || s.ID == cause.ID && s.Source == cause.Source {
		return s
	}
	like, err := signal.New(s.Type, nil, signal.WithID(s.ID), signal.From(s.Source), signal.CausedBy(cause))
	if err != nil {
		return s // and Validate will say why
	}
	c := s.Clone()
	if c.Extensions == nil {
		c.Extensions = make(map[string]any, len(like.Extensions))
	}
	_, traced := c.Extensions[signal.ExtTraceParent]
	for name, value := range like.Extensions {
		if _, own := c.Extensions[name]; !own && (name != signal.ExtTraceState || !traced) {
			c.Extensions[name] = value
		}
	}
	return c
}

// A publication is one call of Publish on its way through the middleware.
type publication struct {
	b      *Bus
	expect Expectation
	at     time.Time // hold the signals back until then; zero: publish them
	given  []*signal.Signal
	acks   []Ack
	out    []outgoing
}

// outgoing is a signal that has passed the middleware.
type outgoing struct {
	index int // among the given
	id    string
	msg   *nats.Msg
}

// pass takes the signals from i on through the middleware, each inside the one before, so
// that all of it runs around the moment of storing, and then stores what came through.
func (p *publication) pass(ctx context.Context, i int) error {
	if len(p.b.publishing) == 0 {
		for ; i < len(p.given); i++ {
			if err := p.add(i, p.given[i]); err != nil {
				return err
			}
		}
	}
	if i == len(p.given) {
		return p.b.store(ctx, p)
	}
	through, before := false, len(p.out)
	err := signal.Chain(func(ctx context.Context, s *signal.Signal) error {
		through = true
		p.out = p.out[:before] // a middleware may call next once more
		if s != p.given[i] {
			if _, err := checked([]*signal.Signal{s}); err != nil {
				return err
			}
		}
		if err := p.add(i, s); err != nil {
			return err
		}
		return p.pass(ctx, i+1)
	}, p.b.publishing...)(ctx, p.given[i])
	if err != nil || through {
		return err
	}
	return p.pass(ctx, i+1)
}

// add encodes a signal for the wire.
func (p *publication) add(i int, s *signal.Signal) error {
	if !p.at.IsZero() && expired(s, p.at) {
		return fault.Newf(fault.Invalid, "it expires at %s, before it appears", s.ExtString(signal.ExtExpiry))
	}
	subj, err := p.b.space.Signal(p.b.name, s.Type)
	if err != nil {
		return err
	}
	header, body, err := codec.ToNATS(s, p.b.mode)
	if err != nil {
		return err
	}
	m := &nats.Msg{Subject: subj, Header: header, Data: body}
	if m.Header == nil {
		m.Header = make(nats.Header, 1)
	}
	id := subject.MsgID(s.Source, s.ID)
	m.Header[jetstream.MsgIDHeader] = []string{id}
	if limit := p.b.nc.MaxPayload(); limit > 0 && int64(m.Size()) > limit {
		return fault.Newf(fault.TooLarge, "signal takes %d bytes on the wire, the server allows %d", m.Size(), limit)
	}
	p.out = append(p.out, outgoing{index: i, id: id, msg: m})
	p.acks[i].ID = s.ID
	return nil
}

// store stores what came through the middleware and fills in the acks.
func (b *Bus) store(ctx context.Context, p *publication) error {
	out := p.unique()
	var err error
	switch {
	case len(out) == 0:
	case !p.at.IsZero():
		return b.hold(ctx, p, out)
	case len(out) == 1:
		err = b.storeOne(ctx, p, out[0])
	default:
		err = b.storeBatch(ctx, p, out)
	}
	if err == nil && len(out) < len(p.out) {
		p.copyTwins()
	}
	return err
}

func (b *Bus) storeOne(ctx context.Context, p *publication, o outgoing) error {
	var ack stored
	var err error
	if p.expect.given {
		p.expect.set(b, o.msg)
		ack, err = b.send(ctx, o.msg)
		if isWrongLast(err) {
			ack, err = b.expected(ctx, p.expect, o, err)
		}
	} else {
		ack, err = b.commits.store(ctx, o.msg)
	}
	if err == nil {
		p.note(o, ack)
	}
	return err
}

// note fills in the ack of a signal.
func (p *publication) note(o outgoing, at stored) {
	p.acks[o.index].Sequence, p.acks[o.index].Duplicate = at.sequence, at.duplicate
}

// unique returns what goes out, without signals that were given twice.
func (p *publication) unique() []outgoing {
	if len(p.out) < 2 {
		return p.out
	}
	seen := make(map[string]bool, len(p.out))
	var out []outgoing
	for _, o := range p.out {
		if !seen[o.id] {
			seen[o.id] = true
			out = append(out, o)
		}
	}
	return out
}

// copyTwins gives a signal that was given twice the position of the first.
func (p *publication) copyTwins() {
	at := make(map[string]int, len(p.out))
	for _, o := range p.out {
		if first, ok := at[o.id]; ok {
			p.note(o, stored{p.acks[first].Sequence, true})
			continue
		}
		at[o.id] = o.index
	}
}

// stored is where a message lies.
type stored struct {
	sequence  uint64
	duplicate bool
}

// send publishes one message until there is an answer or ctx ends. It carries its
// Nats-Msg-Id, so that sending it again cannot store it twice.
func (b *Bus) send(ctx context.Context, m *nats.Msg) (stored, error) {
	for try := 0; ; try++ {
		ack, err := b.sendOnce(ctx, m, try)
		if err == nil {
			return stored{ack.Sequence, ack.Duplicate}, nil
		}
		if !transient(err) || !pause(ctx, try) {
			return stored{}, unanswered(ctx, err)
		}
	}
}

func (b *Bus) sendOnce(ctx context.Context, m *nats.Msg, try int) (*jetstream.PubAck, error) {
	wait := answerTimeout
	if try == 0 {
		wait = answerFirst
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	return b.js.PublishMsg(ctx, m)
}

// unanswered codes err, and says why there was no further try.
func unanswered(ctx context.Context, err error) error {
	if cause := ctx.Err(); cause != nil && !errors.Is(err, cause) {
		err = fmt.Errorf("%w (%w)", err, cause)
	}
	return coded(err)
}

// pause waits before the next try. It reports false when ctx ends first.
func pause(ctx context.Context, try int) bool {
	d := min(pauseMin<<min(try, 8), pauseMax)
	t := time.NewTimer(d/2 + rand.N(d))
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
