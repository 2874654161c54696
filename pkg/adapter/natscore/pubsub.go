// Package natscore delivers over plain NATS, without a stream: the adapter "pubsub"
// publishes, the adapter "request" asks and waits for the answer.
//
// Promises:
//
//   - A pubsub delivery succeeds when the server has the message. Who is subscribed at
//     that moment gets it; nobody has to be. Target and topic make the subject:
//     {target: event_bus, topic: orders} is "event_bus.orders", and without a topic it is
//     the target alone.
//   - A request succeeds when a responder answered without an error. No responder is worth
//     another try.
//   - Subjects of the mesh itself and of the NATS system are refused: a signal gets onto a
//     bus through the bus, not past it.
//   - What leaves has one hop more in meshhops, and the idempotency key in Nats-Msg-Id, by
//     which a stream that captures the subject knows a repeat.
package natscore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/signalmesh/signalmesh/pkg/codec"
	"github.com/signalmesh/signalmesh/pkg/dispatch"
	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

func init() { dispatch.Register("pubsub", openPubsub) }

// PubsubConfig are the options of the adapter "pubsub".
type PubsubConfig struct {
	Target   string     `json:"target" required:"true" doc:"first part of the subject"`
	Topic    string     `json:"topic" doc:"rest of the subject, after a dot; the target alone when empty"`
	Encoding codec.Mode `json:"encoding" default:"structured" doc:"CloudEvents mode: structured, binary or msgpack"`
}

// Subject is where messages go.
func (c PubsubConfig) Subject() string {
	if c.Topic == "" {
		return c.Target
	}
	return c.Target + "." + c.Topic
}

// Validate checks the subject as far as it can be without knowing the mesh.
func (c PubsubConfig) Validate() error { return checkSubject(c.Subject()) }

// Endpoint is the subject.
func (c PubsubConfig) Endpoint() string { return c.Subject() }

// sink sends messages to one subject.
type sink struct {
	conn    *nats.Conn
	subject string
	mode    codec.Mode
}

func openPubsub(_ context.Context, c PubsubConfig, env dispatch.Env) (dispatch.Adapter, error) {
	return newSink(c.Subject(), c.Encoding, env)
}

func newSink(subject string, mode codec.Mode, env dispatch.Env) (*sink, error) {
	if err := checkOutside(env.Space, subject); err != nil {
		return nil, err
	}
	nc, err := env.Connection()
	if err != nil {
		return nil, err
	}
	return &sink{conn: nc, subject: subject, mode: mode}, nil
}

// flushTimeout bounds the wait for the server where the caller does not.
const flushTimeout = 10 * time.Second

// Deliver publishes and waits until the server has it.
func (k *sink) Deliver(ctx context.Context, s *signal.Signal) error {
	m, err := k.message(ctx, s)
	if err != nil {
		return err
	}
	ctx, cancel := bounded(ctx, flushTimeout)
	defer cancel()
	if err = k.conn.PublishMsg(m); err == nil {
		err = k.conn.FlushWithContext(ctx)
	}
	return k.explain("publish to", err)
}

func (k *sink) message(ctx context.Context, s *signal.Signal) (*nats.Msg, error) {
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	header, body, err := codec.ToNATS(dispatch.Forward(s), k.mode)
	if err != nil {
		return nil, fault.Permanent(fmt.Errorf("encode signal for %s: %w", k.subject, err))
	}
	m := &nats.Msg{Subject: k.subject, Header: header, Data: body}
	m.Header.Set(nats.MsgIdHdr, dispatch.KeyOf(ctx, s))
	return m, nil
}

// explain gives an error of the client its code and advice.
func (k *sink) explain(deed string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, context.Canceled):
	case errors.Is(err, nats.ErrMaxPayload):
		err = fault.Permanent(fault.Wrap(fault.TooLarge, err))
	case errors.Is(err, nats.ErrBadSubject):
		err = fault.Permanent(fault.Wrap(fault.Invalid, err))
	case errors.Is(err, nats.ErrNoResponders):
		err = fault.Newf(fault.Unavailable, "nobody answers on this subject")
	default:
		err = fault.Wrap(fault.Unavailable, err)
	}
	return fmt.Errorf("%s %s: %w", deed, k.subject, err)
}

// bounded gives ctx an end when it has none, which the client insists on.
func bounded(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, d)
}

// Endpoint is the subject.
func (k *sink) Endpoint() string { return k.subject }

var (
	_ dispatch.Adapter   = (*sink)(nil)
	_ dispatch.Describer = (*sink)(nil)
	_ dispatch.Describer = PubsubConfig{}
)
