package bus

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/signalmesh/signalmesh/pkg/codec"
	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

const (
	headerHold = "Signalmesh-Hold" // tells one PublishAt of a signal from the next
	atPrefix   = "@at "

	// A cancellation is remembered for a signal that came due in the same moment, and that
	// no process has taken yet.
	cancelledFor = 24 * time.Hour
)

// PublishAt stores the signals now and has them appear on the bus at the given time: from
// then on it is as if they had just been published. It returns when they are stored, as
// durably as with [Bus.Publish], and it takes no program to stay up: any process in which
// [Bus.PublishDue] runs puts them on the bus, as every node does. A time that has passed
// means at once.
//
// Middleware, defaults and checks are those of Publish and apply now. A signal that is
// delayed once more while it waits, with the same source and id, is moved to the new time.
// Several signals are held back one by one: after an error the first may be, and a repeat
// does no harm. One that expires before its time is refused with the code Invalid.
//
// A signal appears up to a quarter of a second late by the server's clock, and once: it is
// looked for before it is published a second time. Order among signals of the same moment
// is not promised, and where the server syncs every write it takes a while when thousands
// come due together: some 400 a second on a small machine.
func (b *Bus) PublishAt(ctx context.Context, at time.Time, signals ...*signal.Signal) error {
	if !at.After(time.Now()) {
		return b.Publish(ctx, signals...)
	}
	_, err := b.publication(ctx, publication{at: at}, signals)
	return err
}

// hold stores what came through the middleware until its time.
func (b *Bus) hold(ctx context.Context, p *publication, out []outgoing) error {
	at := p.at.UTC()
	if at.Year() > 9999 {
		return fault.Newf(fault.Invalid, "the year %d is too far off", at.Year())
	}
	for _, o := range out {
		key := signal.NewID().String()
		m := o.msg
		m.Subject = b.space.Delayed(b.name, p.acks[o.index].ID, o.id)
		m.Header[jetstream.MsgIDHeader] = []string{key}
		m.Header[headerHold] = []string{key}
		m.Header[headerSchedule] = []string{atPrefix + at.Format(time.RFC3339Nano)}
		m.Header[headerScheduleTarget] = []string{b.space.Later(b.name, string(kindDue), dueSignal)}
		if limit := b.nc.MaxPayload(); limit > 0 && int64(m.Size()) > limit {
			return fault.Newf(fault.TooLarge, "signal takes %d bytes while it waits, the server allows %d", m.Size(), limit)
		}
		if _, err := b.send(ctx, m); err != nil {
			return err
		}
	}
	return nil
}

// Delays are the signals of a bus that wait for their time.
type Delays struct{ b *Bus }

// Delays are those of the bus.
func (b *Bus) Delays() Delays { return Delays{b} }

// A Delay is a signal that waits for its time.
type Delay struct {
	Signal *signal.Signal `json:"signal"`
	At     time.Time      `json:"at"`     // when it is to appear on the bus
	Stored time.Time      `json:"stored"` // since when it waits
}

// List yields the signals that wait, those first that have waited longest. An error is
// yielded once and ends it. It asks the server once for every signal.
func (d Delays) List(ctx context.Context) iter.Seq2[Delay, error] {
	return func(yield func(Delay, error) bool) {
		for m, err := range d.b.held(ctx, d.b.space.AllDelayed(d.b.name)) {
			if err != nil {
				yield(Delay{}, fmt.Errorf("list delayed signals: %w", err))
				return
			}
			delay, err := readDelay(m)
			if err != nil {
				continue // not ours
			}
			if !yield(delay, nil) {
				return
			}
		}
	}
}

func readDelay(m *jetstream.RawStreamMsg) (Delay, error) {
	text, ok := strings.CutPrefix(first(m.Header, headerSchedule), atPrefix)
	if !ok {
		return Delay{}, fault.Newf(fault.Invalid, "not a delayed signal")
	}
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return Delay{}, fault.Wrap(fault.Invalid, err)
	}
	s, err := codec.FromNATS(m.Header, m.Data)
	return Delay{Signal: s, At: at, Stored: m.Time.UTC()}, err
}

// Cancel keeps the signals with this id, of whatever source, from appearing. Once it has
// returned nil they never will, not even where their time came in the same moment. The
// error is coded NotFound when none waits, which is also so for one that has appeared, and
// Conflict when its time came just now: then it may appear or not.
func (d Delays) Cancel(ctx context.Context, id string) error {
	ctx, cancel := bounded(ctx)
	defer cancel()
	if err := d.cancel(ctx, id); err != nil {
		return fmt.Errorf("cancel signal %.64q: %w", id, err)
	}
	return nil
}

func (d Delays) cancel(ctx context.Context, id string) error {
	stream := d.b.space.LaterStream(d.b.name)
	for done, missed := 0, false; ; {
		m, err := d.b.lastMessage(ctx, stream, d.b.space.DelayedID(d.b.name, id))
		switch {
		case fault.Is(err, fault.NotFound) && missed:
			return fault.Newf(fault.Conflict, "its time has just come")
		case fault.Is(err, fault.NotFound) && done == 0:
			return fault.Newf(fault.NotFound, "no signal with this id waits for its time")
		case fault.Is(err, fault.NotFound):
			return nil
		case err != nil:
			return err
		}
		// First the word that it is cancelled, so that whoever takes it after its removal
		// finds it; it cannot be taken before and removed after.
		if err := d.b.note(ctx, d.b.space.Cancelled(d.b.name, first(m.Header, headerHold)), nil, cancelledFor); err != nil {
			return err
		}
		removed, err := d.b.unhold(ctx, m.Sequence)
		if err != nil {
			return err
		}
		if removed {
			done++
		}
		missed = !removed // it came due, or was moved to another time
	}
}

// unhold deletes one message of the LATER stream and says whether it was there.
func (b *Bus) unhold(ctx context.Context, sequence uint64) (bool, error) {
	s, err := b.js.Stream(ctx, b.space.LaterStream(b.name))
	if err != nil {
		return false, coded(err)
	}
	err = s.DeleteMsg(ctx, sequence)
	if errors.Is(err, jetstream.ErrMsgNotFound) || errors.Is(err, jetstream.ErrMsgDeleteUnsuccessful) {
		return false, nil
	}
	return err == nil, coded(err)
}

// note stores a message in the LATER stream in place of what is there under its subject, for
// so long; 0 is for ever.
func (b *Bus) note(ctx context.Context, subj string, body []byte, ttl time.Duration) error {
	m := &nats.Msg{Subject: subj, Data: body, Header: nats.Header{
		jetstream.MsgIDHeader: {signal.NewID().String()}, headerRollup: {rollupSubject},
	}}
	if ttl > 0 {
		m.Header[jetstream.MsgTTLHeader] = []string{ttl.String()}
	}
	_, err := b.send(ctx, m)
	return err
}

// held yields the messages of the LATER stream under a filter. A consumer cannot do that,
// because a work queue takes only those that acknowledge.
func (b *Bus) held(ctx context.Context, filter string) iter.Seq2[*jetstream.RawStreamMsg, error] {
	return func(yield func(*jetstream.RawStreamMsg, error) bool) {
		s, err := b.js.Stream(ctx, b.space.LaterStream(b.name))
		for next := uint64(1); err == nil; {
			var m *jetstream.RawStreamMsg
			m, err = s.GetMsg(ctx, next, jetstream.WithGetMsgSubject(filter))
			if errors.Is(err, jetstream.ErrMsgNotFound) {
				return
			}
			if err == nil {
				next = m.Sequence + 1
				if !yield(m, nil) {
					return
				}
			}
		}
		yield(nil, coded(err))
	}
}

// first is the first value of a header, whose names keep their case on NATS.
func first(h map[string][]string, name string) string {
	if v := h[name]; len(v) > 0 {
		return v[0]
	}
	return ""
}
