package agent_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/signalmesh/signalmesh/pkg/agent"
	"github.com/signalmesh/signalmesh/pkg/delivery"
	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/journal"
	"github.com/signalmesh/signalmesh/pkg/route"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

// follow has the journal record the bus, and waits until it has the signal.
func (w *world) follow() {
	w.Helper()
	rec, err := w.journal.Follow(w.Context())
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(rec.Stop)
}

func (w *world) why(table *route.Table, s *signal.Signal) *agent.Report {
	w.Helper()
	w.eventually("the journal has the signal", func() bool {
		_, err := w.journal.Lookup(w.Context(), s.ID, journal.FromSource(s.Source))
		return err == nil
	})
	r, err := agent.Why(w.Context(), w.journal, table, s.ID, journal.FromSource(s.Source))
	if err != nil {
		w.Fatal(err)
	}
	return r
}

func TestWhy(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.follow()
	w.probe("dead").fail(fault.Permanent(errBoom))
	w.probe("waits").fail(fault.RetryAfter(time.Hour, errBoom))
	a := w.run(`
- {name: ok, on: order.created, to: [probe: {id: ok}]}
- {name: mixed, on: order.*, retry: {max_retry_after: 2h}, to: [probe: {id: ok}, {name: dead, probe: {id: dead}}, {name: waits, probe: {id: waits}}]}
- {name: "no", on: order.*, when: data.amount > 1000, to: [probe: {id: ok}]}
- {name: fails, on: order.*, when: data.missing > 1000, to: [probe: {id: ok}]}
- {name: elsewhere, on: user.**, to: [probe: {id: ok}]}
- {name: off, on: order.*, disabled: true, to: [probe: {id: ok}]}
- {name: foreign, bus: other, on: "**", to: [probe: {id: ok}]}
- {name: rest, default: true, to: [probe: {id: ok}]}
`)
	cause := w.publish("order.opened", nil)
	s := w.publish("order.created", map[string]any{"amount": 5}, signal.CausedBy(cause), signal.About("o-1"),
		carrying(`{"probe": {"id": "x"}}`))
	w.idle()
	later := w.routes(`[{name: new, on: order.*, to: [probe: {id: ok}]}, {name: newer, on: order.*, to: [probe: {id: ok}]}]`)
	later[1].AppliedAt = time.Now().Add(time.Minute)
	table, err := route.Compile(append(a.Routes().Routes(), later...)...)
	if err != nil {
		t.Fatal(err)
	}
	r := w.why(table, s)
	if r.ID != s.ID || r.Source != "/test" || r.Type != "order.created" || r.Subject != "o-1" || r.Bus != "default" || r.Sequence != 2 ||
		!cmp.Equal(r.Causes, []string{cause.ID}) || r.Note != "" || !r.Time.Equal(s.Time) {
		t.Errorf("report = %+v", r)
	}
	type row struct {
		Route      string
		Status     delivery.Status
		Now        bool
		On, Reason string
		Deliveries []delivery.Status
	}
	var got []row
	for _, rr := range r.Routes {
		g := row{rr.Route, rr.Status, rr.Now, rr.On, rr.Reason, nil}
		for _, v := range rr.Deliveries {
			g.Deliveries = append(g.Deliveries, v.Status)
		}
		got = append(got, g)
	}
	want := []row{
		{"ok", delivery.Delivered, false, "order.created", "", []delivery.Status{delivery.Delivered}},
		{"fails", delivery.PredicateError, false, "order.*", "the predicate failed: ", nil},
		{"mixed", delivery.Dead, false, "order.*", "permanent: boom", []delivery.Status{delivery.Delivered, delivery.Dead, delivery.Retrying}},
		{"no", delivery.Rejected, false, "order.*", "the predicate is false: data.amount > 1000", nil},
		{agent.Carried, delivery.Denied, false, "", "a signal may not carry", []delivery.Status{delivery.Denied}},
		{"new", agent.Pending, true, "order.*", "selected by order.*", nil},
		{"newer", agent.Pending, true, "order.*", "no verdict is recorded; the route was changed after the signal came", nil},
		{"elsewhere", delivery.Unmatched, true, "user.**", "the type is not selected by user.**", nil},
		{"off", delivery.Skipped, true, "order.*", "the route is disabled", nil},
		{"rest", delivery.Unmatched, true, "", "another route takes the signal", nil},
	}
	for i := range min(len(got), len(want)) {
		if strings.HasPrefix(got[i].Reason, want[i].Reason) && want[i].Reason != "" {
			got[i].Reason = want[i].Reason
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("routes differ (-want +got):\n%s", diff)
	}
}

func TestWhyOfWhatNobodyTook(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.follow()
	a := w.run(`[{name: r, on: a, to: [probe: {id: a}]}]`)
	s := w.publish("b", nil)
	w.idle()
	if r := w.why(a.Routes(), s); len(r.Routes) != 1 || r.Routes[0].Status != delivery.Unmatched || !r.Routes[0].Now {
		t.Errorf("report = %+v", r)
	}
	if r := w.why(nil, s); len(r.Routes) != 0 {
		t.Errorf("report without a table = %+v", r)
	}
	if _, err := agent.Why(t.Context(), w.journal, nil, "nobody"); !fault.Is(err, fault.NotFound) {
		t.Errorf("Why(nobody) = %v, want NotFound", err)
	}
}

func TestWhyWithoutTheData(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.follow()
	a := w.run(`[{name: r, on: a, to: [probe: {id: a}]}]`)
	s := w.publish("a", map[string]any{"x": 1})
	w.verdict(s, "r", "probe", delivery.Delivered)
	w.why(a.Routes(), s)
	st, err := w.bus.JetStream().Stream(t.Context(), w.bus.Space().Stream("default"))
	if err != nil {
		t.Fatal(err)
	}
	if err := st.Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	r := w.why(a.Routes(), s)
	if !strings.Contains(r.Note, "dropped") || len(r.Routes) != 1 || r.Routes[0].Status != delivery.Delivered {
		t.Errorf("report = %+v", r)
	}
}
