package agent

import (
	"context"
	"errors"
	"time"

	"github.com/signalmesh/signalmesh/pkg/delivery"
	"github.com/signalmesh/signalmesh/pkg/journal"
	"github.com/signalmesh/signalmesh/pkg/route"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

// A Report is what the mesh knows about one signal: what every route made of it.
type Report struct {
	ID       string    `json:"id"`
	Source   string    `json:"source"`
	Type     string    `json:"type"`
	Subject  string    `json:"subject,omitempty"`
	Time     time.Time `json:"time,omitzero"`
	Bus      string    `json:"bus"`
	Sequence uint64    `json:"sequence,omitempty"` // position on the bus
	Causes   []string  `json:"causes,omitempty"`   // ids

	Routes []RouteReport `json:"routes"`

	// Note says what limits the report, such as data that the bus has dropped.
	Note string `json:"note,omitempty"`
}

// A RouteReport is what one route made of the signal.
type RouteReport struct {
	Route    string          `json:"route"`
	On       string          `json:"on,omitempty"`
	Revision uint64          `json:"revision,omitempty"`
	Status   delivery.Status `json:"status"`
	Reason   string          `json:"reason,omitempty"`

	// Now says that nothing is recorded and the answer comes from the routes of this moment.
	Now        bool               `json:"now,omitempty"`
	Deliveries []delivery.Verdict `json:"deliveries,omitempty"`
}

// Pending is the status of a route that takes the signal and has not recorded a verdict.
const Pending delivery.Status = "pending"

// Why answers for every route of the table that concerns the bus what became of the signal
// with this id: the verdicts in the journal first, in the order in which they were recorded,
// then routes for which there is none, as the table evaluates them now. The errors are those
// of [journal.Journal.Lookup].
func Why(ctx context.Context, j *journal.Journal, table *route.Table, id string, opts ...journal.LookupOption) (*Report, error) {
	record, err := j.Lookup(ctx, id, opts...)
	if err != nil {
		return nil, err
	}
	verdicts, err := j.Verdicts(ctx, id, journal.FromSource(record.Source))
	if err != nil {
		return nil, err
	}
	r := &Report{
		ID: record.ID, Source: record.Source, Type: record.Type, Subject: record.Subject,
		Time: record.Time, Bus: j.Bus(), Sequence: record.Sequence, Causes: record.Causes,
	}
	r.recorded(verdicts)
	s, err := j.Get(ctx, id, journal.FromSource(record.Source))
	switch {
	case errors.Is(err, journal.ErrDataGone):
		r.Note = "the bus has dropped the signal's data; predicates that read it can't be evaluated now"
		s = record.Signal
	case err != nil:
		return nil, err
	}
	if table != nil {
		r.evaluated(table.For(j.Bus()), s, record.Recorded)
	}
	return r, nil
}

// recorded adds the routes that have verdicts.
func (r *Report) recorded(verdicts []delivery.Verdict) {
	at := make(map[string]int)
	for _, v := range verdicts {
		i, ok := at[v.Route]
		if !ok {
			i = len(r.Routes)
			at[v.Route] = i
			r.Routes = append(r.Routes, RouteReport{Route: v.Route, Revision: v.Revision, Status: v.Status, Reason: v.Reason})
		}
		rr := &r.Routes[i]
		if v.Target == "" {
			continue
		}
		rr.Deliveries = append(rr.Deliveries, v)
		if worse(v.Status, rr.Status) {
			rr.Status, rr.Reason = v.Status, v.Reason
		}
	}
}

// evaluated adds the routes that have none, and to the others their patterns.
func (r *Report) evaluated(table *route.Table, s *signal.Signal, recorded time.Time) {
	at := make(map[string]int, len(r.Routes))
	for i, rr := range r.Routes {
		at[rr.Route] = i
	}
	for _, e := range table.Explain(s) {
		if i, ok := at[e.Route.Name]; ok {
			r.Routes[i].On = e.Route.On.String()
			continue
		}
		rr := RouteReport{Route: e.Route.Name, On: e.Route.On.String(), Revision: e.Route.Revision, Reason: e.Reason(), Now: true}
		switch {
		case e.Route.Disabled:
			rr.Status = delivery.Skipped
		case e.Err != nil:
			rr.Status = delivery.PredicateError
		case e.Rejected:
			rr.Status = delivery.Rejected
		case e.Matched:
			rr.Status = Pending
			if e.Route.AppliedAt.After(recorded) {
				rr.Reason = "no verdict is recorded; the route was changed after the signal came"
			}
		default:
			rr.Status = delivery.Unmatched
		}
		r.Routes = append(r.Routes, rr)
	}
}

// worse reports whether a is what people should see first of two statuses.
func worse(a, b delivery.Status) bool {
	order := []delivery.Status{delivery.Dead, delivery.Retrying, delivery.Stopped, delivery.Denied, delivery.Expired, delivery.Delivered}
	rank := func(s delivery.Status) int {
		for i, o := range order {
			if o == s {
				return i
			}
		}
		return len(order)
	}
	return rank(a) < rank(b)
}
