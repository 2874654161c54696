package pull

import (
	"encoding/json"
	"errors"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
)

// ErrSettled is returned for a second verdict on a message.
var ErrSettled = errors.New("message is settled already")

// A Msg is one message, held by this process until it is settled: acknowledged, given
// back or terminated. Its methods may be called from any goroutine.
type Msg struct {
	Subject   string
	Header    nats.Header
	Data      []byte
	Sequence  uint64    // in the stream
	Order     uint64    // among what the consumer has delivered, from 1 without gaps
	Stored    time.Time // when the stream got it
	Delivered int       // how often the consumer has delivered it, this time included
	Pending   uint64    // how many more the consumer had when it delivered this one

	loop    *Loop
	reply   string
	settled atomic.Bool
	done    chan struct{} // closed when settled; nil unless somebody waits
	touched time.Time     // last sign of life to the server; guarded by loop.mu
}

func (l *Loop) newMsg(m *nats.Msg) (*Msg, error) {
	meta, err := m.Metadata()
	if err != nil {
		return nil, err
	}
	msg := &Msg{
		Subject: m.Subject, Header: m.Header, Data: m.Data,
		Sequence: meta.Sequence.Stream, Order: meta.Sequence.Consumer, Stored: meta.Timestamp,
		Delivered: int(meta.NumDelivered), Pending: meta.NumPending,
		loop: l, reply: m.Reply,
	}
	if msg.suspect() {
		msg.done = make(chan struct{})
	}
	return msg, nil
}

// suspect reports whether the message has been delivered so often without an outcome that
// it may be what ends the process.
func (m *Msg) suspect() bool { return m.Delivered > suspectAfter }

// Ack says that the message is dealt with. It does not wait for the server: if the
// connection breaks now, the message comes again.
func (m *Msg) Ack() error { return m.settle([]byte("+ACK")) }

// Nak gives the message back, to be delivered again after d; at once if d is zero. A
// delayed message keeps its place among MaxAckPending meanwhile.
func (m *Msg) Nak(d time.Duration) error {
	if d <= 0 {
		return m.settle([]byte("-NAK"))
	}
	body, err := json.Marshal(struct {
		Delay time.Duration `json:"delay"`
	}{d})
	if err != nil {
		return err
	}
	return m.settle(append([]byte("-NAK "), body...))
}

// Term says that the message must not be delivered again; the server tells the reason in
// an advisory.
func (m *Msg) Term(reason string) error { return m.settle(append([]byte("+TERM "), reason...)) }

// InProgress makes AckWait start again.
func (m *Msg) InProgress() error {
	if m.settled.Load() {
		return ErrSettled
	}
	return m.loop.nc.Publish(m.reply, []byte("+WPI"))
}

func (m *Msg) settle(verdict []byte) error {
	if m.settled.Swap(true) {
		return ErrSettled
	}
	m.loop.settled.Add(1)
	m.loop.release(m)
	if m.done != nil {
		close(m.done)
	}
	if m.loop.cfg.NoAck {
		return nil
	}
	return m.loop.nc.Publish(m.reply, verdict)
}
