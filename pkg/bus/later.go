package bus

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/signalmesh/signalmesh/pkg/delivery"
	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/subject"
)

// What makes the engine hold a message back and put it under another subject when its time
// has come. The time is written by hand: the client's own option cuts it to whole seconds,
// which is too early.
const (
	headerSchedule       = "Nats-Schedule"
	headerScheduleTarget = "Nats-Schedule-Target"
)

// Later has exactly one delivery run at the given time, or at once if that has passed, by
// whoever consumes requests of its kind and name. It returns when the request is stored.
// Requests with one id are one request, as long as the first of them waits.
//
// What makes the request larger than a message may be is left out: the signal first, if the
// request says where it lies, then the answers of receivers, then attempts.
func (b *Bus) Later(ctx context.Context, id string, req delivery.Request, at time.Time) error {
	if err := b.later(ctx, id, req, at); err != nil {
		return fmt.Errorf("put off delivery to %s %s: %w", req.Kind, req.Name, err)
	}
	return nil
}

func (b *Bus) later(ctx context.Context, id string, req delivery.Request, at time.Time) error {
	req.Bus = b.name
	if req.Kind == "" || req.Name == "" {
		return fault.Newf(fault.Invalid, "kind or name is missing")
	}
	body, err := b.encodeRequest(req)
	if err != nil {
		return err
	}
	run := b.space.Later(b.name, string(req.Kind), req.Name)
	m := &nats.Msg{Subject: run, Data: body, Header: nats.Header{}}
	key := subject.Key(id)
	if time.Until(at) > 0 {
		m.Subject = b.space.Scheduled(b.name, key)
		m.Header[headerSchedule] = []string{"@at " + at.UTC().Format(time.RFC3339Nano)}
		m.Header[headerScheduleTarget] = []string{run}
	}
	m.Header[jetstream.MsgIDHeader] = []string{key}
	ctx, cancel := bounded(ctx)
	defer cancel()
	_, err = b.send(ctx, m)
	return err
}

// encodeRequest leaves out what does not fit.
func (b *Bus) encodeRequest(req delivery.Request) ([]byte, error) {
	var l delivery.Letter
	if req.Letter != nil {
		l = *req.Letter
		req.Letter = &l
	}
	shrink := []func(){
		func() {},
		func() {
			if req.Sequence > 0 {
				req.Signal = nil
			}
		},
		func() { req.Attempts, l.Attempts = withoutResponses(req.Attempts), withoutResponses(l.Attempts) },
		func() { req.Attempts, l.Attempts = lastOf(req.Attempts), nil }, // what counts of the letter is among its redrives
		func() { l.Redrives = lastOf(l.Redrives) },
	}
	for _, less := range shrink {
		less()
		body, err := json.Marshal(req)
		if err != nil {
			return nil, fault.Wrap(fault.Invalid, err)
		}
		if b.fits(len(body)) {
			return body, nil
		}
	}
	return nil, fault.Newf(fault.TooLarge, "request does not fit into a message")
}

// roomForHeaders is how much of the largest message is kept free for its headers.
const roomForHeaders = 4 << 10

// fits reports whether a body of n bytes can travel in one message.
func (b *Bus) fits(n int) bool {
	limit := b.nc.MaxPayload()
	return limit <= 0 || int64(n) <= limit-roomForHeaders
}

// bounded gives ctx a deadline if it has none.
func bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, PublishTimeout)
}
