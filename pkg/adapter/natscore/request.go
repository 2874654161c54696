package natscore

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"github.com/signalmesh/signalmesh/pkg/codec"
	"github.com/signalmesh/signalmesh/pkg/dispatch"
	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/internal/plug"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

func init() { dispatch.Register("request", openRequest) }

// RequestConfig are the options of the adapter "request".
type RequestConfig struct {
	Subject  string          `json:"subject" required:"true" doc:"subject that a service listens on"`
	Timeout  time.Duration   `json:"timeout" default:"5s" min:"1ms" max:"24h" doc:"longest wait for the answer"`
	Encoding codec.Mode      `json:"encoding" default:"structured" doc:"CloudEvents mode: structured, binary or msgpack"`
	Reply    *dispatch.Reply `json:"reply" doc:"what becomes of the answer; without it the answer is dropped"`
}

// Validate checks the subject as far as it can be without knowing the mesh.
func (c RequestConfig) Validate() error { return plug.At(checkSubject(c.Subject), "subject") }

// Endpoint is the subject.
func (c RequestConfig) Endpoint() string { return c.Subject }

// caller asks a service.
type caller struct {
	*sink
	timeout time.Duration
	reply   *dispatch.Reply
}

func openRequest(_ context.Context, c RequestConfig, env dispatch.Env) (dispatch.Adapter, error) {
	k, err := newSink(c.Subject, c.Encoding, env)
	if err != nil {
		return nil, err
	}
	return &caller{sink: k, timeout: c.Timeout, reply: c.Reply}, nil
}

// Deliver asks and drops the answer.
func (c *caller) Deliver(ctx context.Context, s *signal.Signal) error {
	_, err := c.Exchange(ctx, s)
	return err
}

// Exchange asks and returns the reply, if one is asked for and given.
func (c *caller) Exchange(ctx context.Context, s *signal.Signal) (*signal.Signal, error) {
	answer, err := c.ask(ctx, s)
	switch {
	case err != nil && c.reply == nil:
		return nil, err
	case err != nil:
		return c.reply.Failed(ctx, s, c.source(), err)
	case c.reply == nil:
		return nil, nil
	case c.reply.Type != "":
		return c.reply.Signal(ctx, s, c.source(), answer.Header.Get("Content-Type"), answer.Data)
	}
	event, err := codec.FromNATS(answer.Header, answer.Data)
	if err != nil {
		return nil, nil //nolint:nilerr // an answer that is no CloudEvent is no reply
	}
	return event, nil
}

// source is the endpoint as the source of a reply.
func (c *caller) source() string { return "nats:" + c.subject }

func (c *caller) ask(ctx context.Context, s *signal.Signal) (*nats.Msg, error) {
	m, err := c.message(ctx, s)
	if err != nil {
		return nil, err
	}
	timed, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	answer, err := c.conn.RequestMsgWithContext(timed, m)
	switch {
	case err != nil && ctx.Err() == nil && timed.Err() != nil:
		return nil, fmt.Errorf("ask %s: %w", c.subject, fault.Newf(fault.Unavailable, "no answer within %s", c.timeout))
	case err != nil:
		return nil, c.explain("ask", err)
	case answer.Header.Get(micro.ErrorCodeHeader) != "":
		return nil, c.refused(answer)
	}
	return answer, nil
}

// refused reads the error of a NATS micro service, whose codes are like those of HTTP.
func (c *caller) refused(answer *nats.Msg) error {
	text := answer.Header.Get(micro.ErrorCodeHeader)
	status, err := strconv.Atoi(text)
	if err != nil {
		status = 0
	}
	code := fault.Unavailable
	switch status {
	case 401:
		code = fault.Unauthenticated
	case 403:
		code = fault.Denied
	case 404, 410:
		code = fault.NotFound
	case 409:
		code = fault.Conflict
	case 413:
		code = fault.TooLarge
	case 429:
		code = fault.Exhausted
	default:
		if status >= 400 && status < 500 && status != 408 && status != 425 {
			code = fault.Invalid
		}
	}
	err = fault.Newf(code, "ask %s: error %.40s: %.200s", c.subject, text, answer.Header.Get(micro.ErrorHeader))
	if code != fault.Unavailable && code != fault.Exhausted {
		err = fault.Permanent(err)
	}
	return dispatch.Fail(err, status, answer.Data)
}

// Timeout is the longest one attempt may take.
func (c *caller) Timeout() time.Duration { return c.timeout }

var (
	_ dispatch.Replier   = (*caller)(nil)
	_ dispatch.Limiter   = (*caller)(nil)
	_ dispatch.Describer = RequestConfig{}
)
