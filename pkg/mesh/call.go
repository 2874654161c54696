package mesh

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/signalmesh/signalmesh/pkg/codec"
	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/signal"
	"github.com/signalmesh/signalmesh/pkg/subject"
)

// callTimeout bounds a call whose context has no deadline.
const callTimeout = 30 * time.Second

// CallNamed sends s to one of the processes that serve name and waits for its verdict: nil,
// possibly with a signal in reply, or the error that its handler returned, with code and
// advice. Thirty seconds are enough when ctx has no deadline.
//
// Errors of the way there: fault.Unavailable when nobody serves the name (at once) or
// nobody answers in time, fault.TooLarge for a signal above the server's limit,
// fault.Invalid for a name that can't be. After a timeout the handler may have run.
func CallNamed(ctx context.Context, nc *nats.Conn, space subject.Space, name string, s *signal.Signal) (*signal.Signal, error) {
	if err := subject.CheckName("target", name); err != nil {
		return nil, fault.Permanent(err)
	}
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, callTimeout)
		defer cancel()
	}
	m, err := request(ctx, space.Named(name), s)
	if err != nil {
		return nil, fmt.Errorf("call %s: %w", name, err)
	}
	answer, err := nc.RequestMsgWithContext(ctx, m)
	if err != nil {
		return nil, fmt.Errorf("call %s: %w", name, onTheWay(err))
	}
	got, err := outcome(answer)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return got, nil
}

func request(ctx context.Context, subj string, s *signal.Signal) (*nats.Msg, error) {
	header, body, err := codec.ToNATS(s, codec.Structured)
	if err != nil {
		return nil, fault.Permanent(err)
	}
	m := &nats.Msg{Subject: subj, Header: header, Data: body}
	if deadline, ok := ctx.Deadline(); ok {
		m.Header.Set(HeaderTimeout, max(time.Until(deadline), 0).Round(time.Millisecond).String())
	}
	return m, nil
}

func onTheWay(err error) error {
	switch {
	case errors.Is(err, nats.ErrNoResponders):
		return fault.Hint(fault.Newf(fault.Unavailable, "nobody serves this name"),
			"start a process that serves it with mesh.ServeNamed")
	case errors.Is(err, nats.ErrMaxPayload):
		return fault.Permanent(fault.Wrap(fault.TooLarge, err))
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, nats.ErrTimeout):
		return fault.Newf(fault.Unavailable, "no answer in time: %w", err)
	}
	return fault.Wrap(fault.Unavailable, err)
}
