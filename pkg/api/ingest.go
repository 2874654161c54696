package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/signalmesh/signalmesh/pkg/bus"
	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

// Accepted is the answer for one signal that is stored. A batch is answered with a list.
type Accepted struct {
	ID        string `json:"id"`
	Bus       string `json:"bus"`
	Sequence  uint64 `json:"sequence"`  // position on the bus; 0 when a middleware kept it back, or it waits
	Duplicate bool   `json:"duplicate"` // it was there already

	At time.Time `json:"at,omitzero"` // when it will appear on the bus, if it waits until then
}

// ingest wraps an operation that brings signals: a bounded number at a time, with a bounded
// body, within a bounded time.
func (a *API) ingest(o func(w http.ResponseWriter, r *http.Request, body []byte) error) operation {
	return func(w http.ResponseWriter, r *http.Request) error {
		select {
		case a.busy <- struct{}{}:
			defer func() { <-a.busy }()
		default:
			return fault.Newf(fault.Exhausted, "%d requests are being stored already", cap(a.busy))
		}
		if encoding := r.Header.Get("Content-Encoding"); encoding != "" && encoding != "identity" {
			return withStatus(http.StatusUnsupportedMediaType, fault.Newf(fault.Invalid, "content encoding %.32q is not taken, send the body as it is", encoding))
		}
		body, err := a.readBody(w, r)
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(r.Context(), a.cfg.Timeout)
		defer cancel()
		return o(w, r.WithContext(ctx), body)
	}
}

// readBody reads the whole body. One that is announced as too large is not waited for.
func (a *API) readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	limit := a.cfg.MaxBody
	if r.ContentLength > limit {
		return nil, fault.Newf(fault.TooLarge, "the body has %d bytes, the limit is %d", r.ContentLength, limit)
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	switch _, tooLarge := errors.AsType[*http.MaxBytesError](err); {
	case tooLarge:
		return nil, fault.Newf(fault.TooLarge, "the body has more than %d bytes", limit)
	case err != nil:
		return nil, fault.Newf(fault.Invalid, "read the body: %w", err)
	}
	return body, nil
}

// publish stores signals that came with a request, all or none unless they wait for a time.
func (a *API) publish(r *http.Request, entry, busName string, at time.Time, signals []*signal.Signal) ([]Accepted, error) {
	name, b, err := a.bus(busName)
	if err == nil && b.Publisher == nil {
		err = fault.Newf(fault.NotFound, "bus %s takes no signals here", name)
	}
	if err != nil {
		return nil, err
	}
	for _, s := range signals {
		inheritTrace(s, r.Header)
	}
	if !at.IsZero() {
		return a.delay(r, entry, name, b.Publisher, at, signals)
	}
	var acks []bus.Ack
	if len(signals) > 0 {
		acks, err = b.Publisher.PublishAck(r.Context(), signals...)
	}
	if err != nil {
		return nil, err
	}
	accepted := make([]Accepted, len(acks))
	for i, ack := range acks {
		accepted[i] = Accepted{ID: ack.ID, Bus: ack.Bus, Sequence: ack.Sequence, Duplicate: ack.Duplicate}
		outcome := "stored"
		if ack.Duplicate {
			outcome = "duplicate"
		}
		a.metrics.Ingested(entry, outcome)
	}
	return accepted, nil
}

// delay stores signals that are to appear later.
func (a *API) delay(r *http.Request, entry, name string, p Publisher, at time.Time, signals []*signal.Signal) ([]Accepted, error) {
	if err := p.PublishAt(r.Context(), at, signals...); err != nil {
		return nil, err
	}
	accepted := make([]Accepted, len(signals))
	for i, s := range signals {
		accepted[i] = Accepted{ID: s.ID, Bus: name, At: at}
		a.metrics.Ingested(entry, "delayed")
	}
	return accepted, nil
}

// appears reads ?at= and ?delay=, which have signals appear on the bus later; zero is at
// once, and so is a time that has passed.
func appears(query url.Values, now time.Time) (time.Time, error) {
	switch {
	case query.Has("at") && query.Has("delay"):
		return time.Time{}, fault.Newf(fault.Invalid, "at and delay say the same")
	case query.Has("delay"):
		d, err := time.ParseDuration(query.Get("delay"))
		if err != nil || d < 0 {
			return time.Time{}, fault.Newf(fault.Invalid, "delay %.64q is not a duration such as 10m", query.Get("delay"))
		}
		if d == 0 {
			return time.Time{}, nil
		}
		return now.Add(d).UTC(), nil
	case query.Has("at"):
		at, err := time.Parse(time.RFC3339, query.Get("at"))
		if err != nil {
			return time.Time{}, fault.Newf(fault.Invalid, "at %.64q is not an RFC 3339 time", query.Get("at"))
		}
		if at.After(now) {
			return at.UTC(), nil
		}
	}
	return time.Time{}, nil
}

// refused counts what was offered at an entry and not taken, and passes the error on.
func (a *API) refused(entry string, err error) error {
	if err != nil {
		a.metrics.Ingested(entry, string(fault.CodeOf(err)))
	}
	return err
}

// inheritTrace makes a signal part of the trace that its request belongs to, unless it is
// part of one already. A malformed header starts none, as W3C Trace Context demands.
func inheritTrace(s *signal.Signal, h http.Header) {
	parent := h.Values("Traceparent")
	if s.TraceParent() != "" || len(parent) != 1 || !isTraceParent(parent[0]) {
		return
	}
	if s.SetExt(signal.ExtTraceParent, parent[0]) != nil {
		return
	}
	if state := strings.Join(h.Values("Tracestate"), ","); state != "" && len(state) <= maxTraceState {
		_ = s.SetExt(signal.ExtTraceState, state) // a malformed one is dropped
	}
}

// maxTraceState is how many bytes of tracestate W3C Trace Context has everybody pass on.
const maxTraceState = 512

// isTraceParent reports whether a text is a W3C trace context: what cannot be read is
// replaced by EnsureTrace.
func isTraceParent(text string) bool {
	probe := signal.Signal{Extensions: map[string]any{signal.ExtTraceParent: text}}
	probe.EnsureTrace()
	return probe.TraceParent() == text
}

// answer says where one signal lies.
func (a *API) answer(w http.ResponseWriter, accepted Accepted) {
	if !accepted.At.IsZero() { // nobody can ask for it yet
		writeJSON(w, http.StatusAccepted, signal.ContentTypeJSON, accepted)
		return
	}
	location := url.URL{Path: "/v1/signals/" + accepted.ID, RawPath: "/v1/signals/" + url.PathEscape(accepted.ID)}
	if accepted.Bus != a.cfg.DefaultBus {
		location.RawQuery = url.Values{"bus": {accepted.Bus}}.Encode()
	}
	w.Header().Set("Location", location.String())
	writeJSON(w, http.StatusAccepted, signal.ContentTypeJSON, accepted)
}

// onlyQuery refuses query parameters that mean nothing, and repeated ones.
func onlyQuery(r *http.Request, known ...string) (url.Values, error) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, fault.Newf(fault.Invalid, "query: %w", err)
	}
	for name, values := range query {
		switch {
		case !slices.Contains(known, name):
			return nil, fault.Newf(fault.Invalid, "unknown query parameter %.64q, known are: %s", name, strings.Join(known, ", "))
		case len(values) > 1:
			return nil, fault.Newf(fault.Invalid, "query parameter %s is given %d times", name, len(values))
		}
	}
	return query, nil
}

// moment reads an RFC 3339 time, or a duration before now.
func moment(text string) (time.Time, error) {
	if d, err := time.ParseDuration(text); err == nil {
		return time.Now().Add(-d.Abs()), nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return t, fault.Newf(fault.Invalid, "%.64q is neither an RFC 3339 time nor a duration such as 10m", text)
	}
	return t, nil
}

var errNotKept = errors.New("the delivery could not be kept either")

// notKept joins why a delivery was refused with why it was not kept.
func notKept(reason, err error) error {
	return fault.Wrap(fault.CodeOf(err), fmt.Errorf("%w; %w: %w", reason, errNotKept, err))
}
