package api

import (
	"errors"
	"net/http"
	"time"

	"github.com/signalmesh/signalmesh/pkg/delivery"
	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/ingress"
	"github.com/signalmesh/signalmesh/pkg/secret"
	"github.com/signalmesh/signalmesh/pkg/signal"
	"github.com/signalmesh/signalmesh/pkg/subject"
)

// postHook takes a delivery of a sender that a source knows.
func (a *API) postHook(w http.ResponseWriter, r *http.Request, body []byte) error {
	name := r.PathValue("name")
	hook, ok := Hook{}, false
	if a.cfg.Hooks != nil {
		hook, ok = a.cfg.Hooks(name)
	}
	if !ok {
		return fault.Newf(fault.NotFound, "no source %.64q here", name)
	}
	res, accepted, err := a.receive(r, name, hook, body)
	switch {
	case err != nil:
		return a.refused(name, err)
	case res.Reply != nil:
		write(w, statusOf(res.Reply), res.Reply.ContentType, res.Reply.Body)
	case len(accepted) == 1:
		a.answer(w, accepted[0])
	default:
		writeJSON(w, http.StatusAccepted, signal.ContentTypeJSON, accepted)
	}
	return nil
}

func statusOf(r *ingress.Reply) int {
	if r.Status == 0 {
		return http.StatusOK
	}
	return r.Status
}

// receive turns a delivery into signals and stores them.
func (a *API) receive(r *http.Request, name string, hook Hook, body []byte) (ingress.Result, []Accepted, error) {
	req := &ingress.Request{Header: r.Header, Query: r.URL.Query(), Body: body, At: time.Now(), Remote: r.RemoteAddr}
	res, err := hook.Receiver.Receive(r.Context(), req)
	if unmappable, ok := errors.AsType[*ingress.Unmappable](err); ok {
		err = a.quarantine(r, name, hook, req, unmappable)
	}
	if err != nil {
		return res, nil, err
	}
	accepted, err := a.publish(r, name, hook.Bus, time.Time{}, res.Signals)
	return res, accepted, err
}

// quarantine keeps a delivery of which no signal could be made, and says so: it may be the
// mapping that is wrong, and the sender may never send it again.
func (a *API) quarantine(r *http.Request, name string, hook Hook, req *ingress.Request, why *ingress.Unmappable) error {
	busName, b, err := a.bus(hook.Bus)
	if err != nil {
		return err
	}
	if b.Quarantine == nil {
		return why
	}
	l := delivery.Letter{
		// The sender's repeats are one letter, two deliveries are two.
		ID:  subject.Key(name + "\x00" + why.ID + "\x00" + string(req.Body)),
		Bus: busName, Kind: delivery.KindSource, Name: name, Adapter: hook.Adapter, Node: a.cfg.Node,
		Header: redacted(req.Header), Raw: req.Body,
		FirstAt: req.At.UTC(), LastAt: req.At.UTC(), Code: fault.CodeOf(why), Error: delivery.Excerpt(why.Error()),
		Reason: delivery.ReasonMapping,
	}
	l.Fingerprint = delivery.Fingerprint(hook.Adapter, 0, l.Code, l.Error)
	if err := b.Quarantine.Write(r.Context(), l); err != nil {
		return notKept(why, err)
	}
	a.metrics.DeadLetter(busName, string(l.Kind), string(l.Reason))
	return fault.Hint(why, "the delivery is kept as a dead letter: `sigctl dlq ls`; the mapping of source %s may need a change", name)
}

// redacted is a header as it may be kept.
func redacted(h http.Header) map[string][]string {
	kept := h.Clone()
	for name := range kept {
		if ingress.IsPrivate(name) {
			kept[name] = []string{secret.Redacted}
		}
	}
	return kept
}
