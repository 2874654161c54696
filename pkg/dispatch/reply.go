package dispatch

import (
	"context"
	"errors"
	"fmt"
	"mime"
	"strings"
	"unicode/utf8"

	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/internal/plug"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

// Reply is the option, of adapters whose target can answer, that says how the answer
// becomes a signal. Every reply is caused by the signal that was delivered, has its
// subject, and has an id made from the idempotency key of the delivery, so that a
// repeated attempt does not give a second one.
type Reply struct {
	Type    string `json:"type" doc:"type of the signal that the answer becomes the data of; when empty, an answer that is a CloudEvent is the reply, and any other answer is dropped"`
	Source  string `json:"source" doc:"source of that signal; the endpoint when empty"`
	Failure string `json:"failure_type" doc:"type of a signal made when the call fails, instead of trying again: for probes and for workflows that handle failure themselves; its data has status, error, response"`
}

// Validate checks the types and the source.
func (r Reply) Validate() error {
	var errs []error
	for key, typ := range map[string]string{"type": r.Type, "failure_type": r.Failure} {
		if typ == "" {
			continue
		}
		if _, err := signal.New(typ, nil); err != nil {
			errs = append(errs, plug.At(fault.Newf(fault.Invalid, "%w", err), key))
		}
	}
	if r.Source != "" {
		if _, err := signal.New("a", nil, signal.From(r.Source)); err != nil {
			errs = append(errs, plug.At(fault.Newf(fault.Invalid, "%w", err), "source"))
		}
	}
	return errors.Join(errs...)
}

// Signal makes the reply of an answer with the media type. An answer that is not what its
// media type says is carried as bytes, not refused: the call is made already.
func (r Reply) Signal(ctx context.Context, cause *signal.Signal, endpoint, contentType string, body []byte) (*signal.Signal, error) {
	var data any
	if len(body) > 0 {
		data = body
	}
	return r.make(ctx, cause, endpoint, r.Type, data, signal.ContentType(contentTypeOf(contentType, body)))
}

// Failed turns a failed attempt into the reply that was asked for, if one was and the
// target is what failed: not when the caller's context ended or the call was not allowed.
// Else it returns err.
func (r Reply) Failed(ctx context.Context, cause *signal.Signal, endpoint string, err error) (*signal.Signal, error) {
	var f *Failure
	if r.Failure == "" || ctx.Err() != nil || !errors.As(err, &f) && !fault.Is(err, fault.Unavailable) {
		return nil, err
	}
	data := struct {
		Status   int    `json:"status,omitempty"`
		Error    string `json:"error"`
		Response string `json:"response,omitempty"`
	}{Error: err.Error()}
	if f != nil {
		data.Status, data.Response = f.Response()
	}
	return r.make(ctx, cause, endpoint, r.Failure, data)
}

func (r Reply) make(ctx context.Context, cause *signal.Signal, endpoint, typ string, data any, opts ...signal.Option) (*signal.Signal, error) {
	source := r.Source
	if source == "" {
		source = endpoint
	}
	opts = append(opts, signal.From(source), signal.About(cause.Subject), signal.WithID("reply-"+KeyOf(ctx, cause)), signal.CausedBy(cause))
	s, err := signal.New(typ, data, opts...)
	if err != nil {
		return nil, fault.Permanent(fmt.Errorf("reply: %w", err))
	}
	return s, nil
}

// contentTypeOf is the declared media type where the body bears it out, else what the body
// looks like.
func contentTypeOf(declared string, body []byte) string {
	_, _, err := mime.ParseMediaType(declared)
	isJSON := signal.ValidJSON(body) == nil
	wantsJSON := (&signal.Signal{DataContentType: declared}).IsJSON()
	switch {
	case len(body) == 0:
		return ""
	case err == nil && isASCII(declared) && (isJSON || !wantsJSON):
		return declared
	case isJSON:
		return signal.ContentTypeJSON
	case utf8.Valid(body):
		return "text/plain; charset=utf-8"
	}
	return "application/octet-stream"
}

func isASCII(text string) bool {
	return strings.IndexFunc(text, func(r rune) bool { return r < ' ' || r > '~' }) < 0
}
