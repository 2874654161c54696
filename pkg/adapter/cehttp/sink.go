// Package cehttp is the adapter "http": it calls an HTTP endpoint for each signal.
//
// Promises:
//
//   - The body is the signal as a CloudEvent (structured, binary or msgpack), its data
//     alone, or what a template makes of it; GET, HEAD and OPTIONS have no body.
//   - Success is a 2xx status, or what the option success says. 408, 425, 429, 5xx and
//     endpoints that can't be reached are tried again, not before Retry-After; every other
//     status is permanent, redirects included, which are never followed.
//   - Every attempt of a delivery has the same Idempotency-Key header.
//   - What leaves has one hop more in meshhops, so that a loop through HTTP is seen.
//   - The answer becomes a signal where the option reply asks for it.
//   - Only addresses that the network guard allows are connected to.
//   - Secrets are read when the target is opened, and never shown afterwards.
package cehttp

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"text/template"
	"time"

	"github.com/signalmesh/signalmesh/pkg/codec"
	"github.com/signalmesh/signalmesh/pkg/dispatch"
	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/internal/outhttp"
	"github.com/signalmesh/signalmesh/pkg/internal/plug"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

func init() { dispatch.Register("http", open) }

// Config are the options of the adapter.
type Config struct {
	outhttp.Options
	Method            string          `json:"method" default:"POST" doc:"request method"`
	Body              string          `json:"body" default:"structured" enum:"structured|binary|msgpack|data" doc:"a CloudEvent in one of its modes, or the data alone; GET, HEAD and OPTIONS send no body"`
	Template          string          `json:"template" doc:"Go template that makes the body, over .signal (id, type, source, subject, time and extensions) and .data; json and the standard functions are there; a missing key is an error"`
	ContentType       string          `json:"content_type" doc:"media type of what the template makes; application/json when empty"`
	IdempotencyHeader string          `json:"idempotency_header" default:"Idempotency-Key" doc:"header that carries the key by which the endpoint can recognise a repeat"`
	Reply             *dispatch.Reply `json:"reply" doc:"what becomes of the answer; without it the answer is dropped"`
}

// Validate checks what tags can't say.
func (c Config) Validate() error {
	_, methodErr := outhttp.Method(c.Method)
	_, templateErr := parseTemplate(c.Template)
	errs := []error{c.Options.Validate(), plug.At(methodErr, "method"), plug.At(templateErr, "template")}
	if c.Template == "" && c.ContentType != "" {
		errs = append(errs, plug.At(fault.Newf(fault.Invalid, "it says what a template makes, and there is none"), "content_type"))
	}
	if c.Template != "" && c.Body != "structured" {
		errs = append(errs, plug.At(fault.Newf(fault.Invalid, "body and template exclude each other"), "template"))
	}
	if !outhttp.ValidName(c.IdempotencyHeader) {
		errs = append(errs, plug.At(fault.Newf(fault.Invalid, "not a header name"), "idempotency_header"))
	}
	for name := range c.Headers {
		if strings.EqualFold(name, c.IdempotencyHeader) {
			errs = append(errs, plug.At(fault.Newf(fault.Invalid, "the header carries the idempotency key"), "headers", name))
		}
	}
	return errors.Join(errs...)
}

// answerLimit bounds the answers that become signals; of others only an excerpt is read.
const (
	answerLimit  = 1 << 20
	excerptLimit = 2 * dispatch.MaxExcerpt
)

// sink calls one endpoint.
type sink struct {
	client    *outhttp.Client
	method    string
	body      string
	template  *template.Template
	mediaType string
	keyHeader string
	reply     *dispatch.Reply
}

func open(_ context.Context, c Config, env dispatch.Env) (dispatch.Adapter, error) {
	if c.Template != "" && !env.AllowSecrets {
		return nil, fault.Permanent(fault.Newf(fault.Denied, "a target carried by a signal may not hold a template"))
	}
	method, err := outhttp.Method(c.Method)
	if err != nil {
		return nil, err
	}
	k := &sink{method: method, body: c.Body, mediaType: c.ContentType, reply: c.Reply, keyHeader: http.CanonicalHeaderKey(c.IdempotencyHeader)}
	if k.template, err = parseTemplate(c.Template); err != nil {
		return nil, err
	}
	if k.mediaType == "" {
		k.mediaType = signal.ContentTypeJSON
	}
	k.client, err = outhttp.Open(c.Options, env.Guard, env.UserAgent())
	if err != nil {
		return nil, err
	}
	return k, nil
}

// Deliver makes one call; an answer that would be a reply is dropped.
func (k *sink) Deliver(ctx context.Context, s *signal.Signal) error {
	_, err := k.Exchange(ctx, s)
	return err
}

// Exchange makes one call and returns the reply, if one is asked for and given.
func (k *sink) Exchange(ctx context.Context, s *signal.Signal) (*signal.Signal, error) {
	header, body, err := k.encode(s)
	if err != nil {
		return nil, fault.Permanent(fmt.Errorf("encode signal for %s: %w", k.client.Endpoint(), err))
	}
	header[k.keyHeader] = []string{dispatch.KeyOf(ctx, s)}
	if k.reply == nil {
		_, err := k.call(ctx, header, body, excerptLimit)
		return nil, err
	}
	answer, err := k.call(ctx, header, body, answerLimit)
	if err != nil {
		return k.reply.Failed(ctx, s, k.client.Endpoint(), err)
	}
	return k.replyTo(ctx, s, answer)
}

// call makes the request. The error of a status that is not a success carries the answer.
func (k *sink) call(ctx context.Context, header http.Header, body []byte, limit int64) (*outhttp.Response, error) {
	answer, err := k.client.Do(ctx, k.method, header, body, limit)
	if err != nil {
		return nil, err
	}
	return answer, dispatch.Fail(answer.Err, answer.Status, answer.Body, k.client.Secrets()...)
}

func (k *sink) replyTo(ctx context.Context, s *signal.Signal, answer *outhttp.Response) (*signal.Signal, error) {
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case fault.Is(answer.Partial, fault.TooLarge):
		return nil, fault.Permanent(fmt.Errorf("reply of %s: %w", k.client.Endpoint(), answer.Partial))
	case answer.Partial != nil:
		return nil, fault.Newf(fault.Unavailable, "reply of %s broke off", k.client.Endpoint())
	case k.reply.Type != "":
		return k.reply.Signal(ctx, s, k.client.Endpoint(), answer.Header.Get("Content-Type"), answer.Body)
	}
	if events, err := codec.FromHTTP(answer.Header, answer.Body); err == nil && len(events) == 1 {
		return events[0], nil
	}
	return nil, nil // an answer that is no CloudEvent is no reply
}

// encode makes the headers and the body of the request.
func (k *sink) encode(s *signal.Signal) (http.Header, []byte, error) {
	out := dispatch.Forward(s)
	header, body, err := k.payload(out)
	if err != nil {
		return nil, nil, err
	}
	if header.Get("Ce-Specversion") == "" { // for readers that look at headers only
		header.Set("Ce-Meshhops", strconv.Itoa(out.Hops()))
	}
	for _, name := range []string{signal.ExtTraceParent, signal.ExtTraceState} {
		if value := out.ExtString(name); value != "" && outhttp.IsPlain(value) {
			header.Set(name, value)
		}
	}
	return header, body, nil
}

func (k *sink) payload(s *signal.Signal) (http.Header, []byte, error) {
	switch {
	case k.method == http.MethodGet, k.method == http.MethodHead, k.method == http.MethodOptions:
		return http.Header{}, nil, nil
	case k.template != nil:
		body, err := render(k.template, s)
		return http.Header{"Content-Type": {k.mediaType}}, body, err
	case k.body == "data":
		return dataOnly(s), s.Data, nil
	case k.body == "binary":
		return codec.ToHTTP(s, codec.Binary)
	case k.body == "msgpack":
		return codec.ToHTTP(s, codec.Msgpack)
	}
	return codec.ToHTTP(s, codec.Structured)
}

func dataOnly(s *signal.Signal) http.Header {
	switch {
	case s.Data == nil:
		return http.Header{}
	case s.DataContentType == "":
		return http.Header{"Content-Type": {signal.ContentTypeJSON}}
	}
	return http.Header{"Content-Type": {s.DataContentType}}
}

// Endpoint is the URL with what may be secret masked.
func (k *sink) Endpoint() string { return k.client.Endpoint() }

// Timeout is the longest one attempt may take.
func (k *sink) Timeout() time.Duration { return k.client.Timeout() }

// Close lets go of idle connections.
func (k *sink) Close() error { return k.client.Close() }

var (
	_ dispatch.Replier   = (*sink)(nil)
	_ dispatch.Describer = (*sink)(nil)
	_ dispatch.Limiter   = (*sink)(nil)
	_ dispatch.Caller    = Config{}
)
