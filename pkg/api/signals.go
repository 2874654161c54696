package api

import (
	"context"
	"errors"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/signalmesh/signalmesh/pkg/codec"
	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/journal"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

// postSignals takes CloudEvents in every mode of the HTTP binding.
func (a *API) postSignals(w http.ResponseWriter, r *http.Request, body []byte) error {
	accepted, batch, err := a.takeSignals(r, body)
	switch {
	case err != nil:
		return a.refused("signals", err)
	case batch:
		writeJSON(w, http.StatusAccepted, signal.ContentTypeJSON, accepted)
	default:
		a.answer(w, accepted[0])
	}
	return nil
}

func (a *API) takeSignals(r *http.Request, body []byte) (accepted []Accepted, batch bool, err error) {
	query, err := onlyQuery(r, "bus", "at", "delay")
	if err != nil {
		return nil, false, err
	}
	at, err := appears(query, time.Now())
	if err != nil {
		return nil, false, err
	}
	signals, err := codec.FromHTTP(r.Header, body)
	if err != nil {
		return nil, false, fault.Hint(err, "to send JSON that is not a CloudEvent, POST it to /v1/in/<type>")
	}
	mediaType, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")) // the codec has read it
	batch = strings.HasPrefix(mediaType, "application/cloudevents-batch")
	accepted, err = a.publish(r, "signals", query.Get("bus"), at, signals)
	return accepted, batch, err
}

// postPlain makes a signal of whatever the body is.
func (a *API) postPlain(w http.ResponseWriter, r *http.Request, body []byte) error {
	accepted, err := a.takePlain(r, body)
	if err != nil {
		return a.refused("in", err)
	}
	a.answer(w, accepted[0])
	return nil
}

func (a *API) takePlain(r *http.Request, body []byte) ([]Accepted, error) {
	query, err := onlyQuery(r, "bus", "source", "subject", "id", "at", "delay")
	if err != nil {
		return nil, err
	}
	at, err := appears(query, time.Now())
	if err != nil {
		return nil, err
	}
	s, err := plainSignal(r, query, body)
	if err != nil {
		return nil, err
	}
	return a.publish(r, "in", query.Get("bus"), at, []*signal.Signal{s})
}

// plainSource is the source of signals whose sender names none.
const plainSource = "/http"

// plainSignal makes the signal of a plain request. Its type is in the path, its data is the
// body, and its attributes are in the query or in ce- headers, as in binary mode.
func plainSignal(r *http.Request, query url.Values, body []byte) (*signal.Signal, error) {
	contentType, err := plainContentType(r.Header.Get("Content-Type"), body)
	if err != nil {
		return nil, err
	}
	h := http.Header{
		"Ce-Id": {signal.NewID().String()}, "Ce-Source": {plainSource}, "Ce-Type": {"plain"},
		"Ce-Time": {signal.FormatTime(time.Now().UTC())}, "Content-Type": {contentType},
	}
	for name, values := range r.Header {
		if strings.HasPrefix(name, "Ce-") {
			h[name] = values
		}
	}
	h.Set("Ce-Specversion", signal.SpecVersion)
	signals, err := codec.FromHTTP(h, body)
	if err != nil {
		return nil, err
	}
	s := signals[0]
	s.Type = r.PathValue("type")
	set(&s.ID, query.Get("id"), r.Header.Get("Idempotency-Key"))
	set(&s.Source, query.Get("source"))
	set(&s.Subject, query.Get("subject"))
	return s, nil
}

// set gives an attribute the first text that is not empty.
func set(attribute *string, texts ...string) {
	for _, t := range texts {
		if t != "" {
			*attribute = t
			return
		}
	}
}

// plainContentType is what the data of a plain request is. A body without a content type,
// or with the one that curl -d sends by itself, must be JSON.
func plainContentType(contentType string, body []byte) (string, error) {
	mediaType, _, _ := mime.ParseMediaType(contentType)
	switch {
	case strings.HasPrefix(mediaType, "application/cloudevents"):
		return "", fault.Hint(fault.Newf(fault.Invalid, "a CloudEvent has a type of its own"), "POST it to /v1/signals")
	case contentType != "" && mediaType != "application/x-www-form-urlencoded":
		return contentType, nil
	case len(body) == 0:
		return "", nil
	}
	if err := signal.ValidJSON(body); err != nil {
		return "", fault.Hint(err, "to send something else than JSON, say what it is in the Content-Type")
	}
	return signal.ContentTypeJSON, nil
}

// lookup wraps an operation that asks for something, within a bounded time.
func (a *API) lookup(o func(w http.ResponseWriter, r *http.Request) error) operation {
	return func(w http.ResponseWriter, r *http.Request) error {
		ctx, cancel := context.WithTimeout(r.Context(), a.cfg.Timeout)
		defer cancel()
		return o(w, r.WithContext(ctx))
	}
}

// getSignal answers with the signal itself.
func (a *API) getSignal(w http.ResponseWriter, r *http.Request) error {
	query, b, err := a.question(r)
	if err != nil {
		return err
	}
	s, err := recorded(r.Context(), b.Journal, func() (*signal.Signal, error) {
		return b.Journal.Get(r.Context(), r.PathValue("id"), lookupOptions(query)...)
	})
	if err != nil {
		return err
	}
	header, body, err := codec.ToHTTP(s, codec.Structured)
	if err != nil {
		return err
	}
	write(w, http.StatusOK, header.Get("Content-Type"), body)
	return nil
}

// getTrace answers with the causes or the effects of a signal.
func (a *API) getTrace(w http.ResponseWriter, r *http.Request) error {
	query, b, err := a.question(r, "direction", "limit")
	if err != nil {
		return err
	}
	direction := journal.Direction(query.Get("direction"))
	if direction == "" {
		direction = journal.Forward
	}
	var opts []journal.TraceOption
	if query.Has("source") {
		opts = append(opts, journal.FromSource(query.Get("source")))
	}
	limit, err := strconv.Atoi(orDefault(query.Get("limit"), "1000"))
	if err != nil || limit < 1 || limit > 10_000 {
		return fault.Newf(fault.Invalid, "limit %.16q is not a number from 1 to 10000", query.Get("limit"))
	}
	trace, err := recorded(r.Context(), b.Journal, func() (*journal.Trace, error) {
		return b.Journal.Trace(r.Context(), r.PathValue("id"), direction, append(opts, journal.Limit(limit))...)
	})
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, signal.ContentTypeJSON, trace)
	return nil
}

// getWhy answers with what became of a signal, route by route.
func (a *API) getWhy(w http.ResponseWriter, r *http.Request) error {
	query, b, err := a.question(r)
	if err == nil && b.Explain == nil {
		err = fault.Newf(fault.NotFound, "this bus is not explained here")
	}
	if err != nil {
		return err
	}
	report, err := recorded(r.Context(), b.Journal, func() (any, error) {
		return b.Explain(r.Context(), r.PathValue("id"), lookupOptions(query)...)
	})
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, signal.ContentTypeJSON, report)
	return nil
}

// question reads what every question about one signal may say.
func (a *API) question(r *http.Request, known ...string) (url.Values, Bus, error) {
	query, err := onlyQuery(r, append(known, "bus", "source")...)
	if err != nil {
		return nil, Bus{}, err
	}
	name, b, err := a.bus(query.Get("bus"))
	if err == nil && b.Journal == nil {
		err = fault.Newf(fault.NotFound, "bus %s has no journal here", name)
	}
	return query, b, err
}

func lookupOptions(query url.Values) []journal.LookupOption {
	if !query.Has("source") {
		return nil
	}
	return []journal.LookupOption{journal.FromSource(query.Get("source"))}
}

// catchUp bounds how long a question waits for the journal.
const catchUp = 2 * time.Second

// recorded asks again, once the journal has caught up, for what it does not know: whoever
// has just been told that a signal is stored can ask for it at once.
func recorded[T any](ctx context.Context, j Journal, ask func() (T, error)) (T, error) {
	answer, err := ask()
	if !errors.Is(err, journal.ErrNotFound) {
		return answer, err
	}
	wait, cancel := context.WithTimeout(ctx, catchUp)
	defer cancel()
	if j.Wait(wait) != nil {
		return answer, err // what was known is still the answer
	}
	return ask()
}

func orDefault(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}
