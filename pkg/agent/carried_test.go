package agent_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/signalmesh/signalmesh/pkg/agent"
	"github.com/signalmesh/signalmesh/pkg/delivery"
	"github.com/signalmesh/signalmesh/pkg/dispatch"
	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

func allow(adapters ...string) func(*agent.Config) {
	return func(c *agent.Config) { c.Carried = dispatch.Policy{Allow: adapters} }
}

func carrying(text string) signal.Option { return signal.Ext(signal.ExtDispatch, text) }

func TestCarriedTargets(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.run(`[{name: r, on: a, to: [probe: {id: route}]}, {name: rest, default: true, to: [probe: {id: rest}]}]`, allow("probe"))
	s := w.publish("a", nil, carrying(`[{"probe": {"id": "one"}}, {"adapter": "probe", "opts": {"id": "two"}}]`))
	other := w.publish("b", nil, carrying(`{"probe": {"id": "one"}}`))
	w.idle()
	w.probe("route").only(1)
	w.probe("two").only(1)
	w.probe("rest").only(1) // targets of its own do not make a signal one that a route takes
	if got := ids(w.probe("one").only(2)); !slices.Equal(got, slices.Sorted(slices.Values([]string{s.ID, other.ID}))) {
		t.Errorf("target one got %v", got)
	}
	for _, name := range []string{"probe", "probe-2"} {
		if v := w.verdict(s, agent.Carried, name, delivery.Delivered); v.Adapter != "probe" {
			t.Errorf("verdict = %+v", v)
		}
	}
	if c := w.probe("two").got()[0]; c.info.Route != agent.Carried || c.info.Target != "probe-2" || c.info.Key == "" {
		t.Errorf("Info = %+v", c.info)
	}
	if now, ever := w.probe("one").users(); now != 1 || ever != 1 {
		t.Errorf("the target of two signals was opened %d times, want 1, and is open %d times, want 1", ever, now)
	}
}

func TestCarriedTargetsThatAreRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.run(`[]`, allow("probe"))
	for _, tt := range []struct{ name, text, target, reason string }{
		{"adapter", `{"http": {"url": "http://127.0.0.1"}}`, "http", "may not carry a target of adapter"},
		{"secret", `{"probe": {"id": "x", "secret": "env:HOME"}}`, "probe", "may not refer to secrets"},
		{"shape", `{"probe": {"id": "x"}, "more": 1}`, "", "dispatch"},
		{"text", `probe`, "", "dispatch"},
	} {
		s := w.publish("a", nil, signal.WithID(tt.name), carrying(tt.text))
		if v := w.verdict(s, agent.Carried, tt.target, delivery.Denied); !strings.Contains(v.Reason, tt.reason) || len(v.Attempts) != 0 {
			t.Errorf("%s: verdict = %+v, want the reason %q", tt.name, v, tt.reason)
		}
	}
	w.idle()
	w.probe("x").only(0)
	if n := len(w.letters()); n != 0 {
		t.Errorf("%d dead letters, want none", n)
	}
	// Options that are wrong are a mistake, not an offence: somebody may want to see it.
	w.publish("a", nil, carrying(`{"probe": {"no": "such option"}}`))
	w.idle()
	if l := w.letter(); l.Name != agent.Carried || l.Reason != delivery.ReasonPermanent || l.Code != fault.Invalid {
		t.Errorf("letter = %+v", l)
	}
}

// By default a signal may carry nothing.
func TestCarriedTargetsAreDeniedByDefault(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.run(`[]`)
	s := w.publish("a", nil, carrying(`{"probe": {"id": "x"}}`))
	w.verdict(s, agent.Carried, "probe", delivery.Denied)
	w.probe("x").only(0)
}

func TestCarriedTargetsComeBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.probe("parked").failFirst(1, fault.RetryAfter(50*time.Millisecond, errBoom))
	w.probe("dead").failFirst(1, fault.Permanent(errBoom))
	w.run(`[]`, allow("probe"), hold(time.Millisecond))
	s := w.publish("a", nil, carrying(`[{"probe": {"id": "parked"}}, {"probe": {"id": "dead"}}]`))
	w.verdict(s, agent.Carried, "probe", delivery.Delivered)
	w.probe("parked").only(2)
	if err := w.bus.DeadLetters().Redrive(t.Context(), w.letter().ID, "test"); err != nil {
		t.Fatal(err)
	}
	w.verdict(s, agent.Carried, "probe-2", delivery.Delivered)
	w.idle()
	w.probe("parked").only(2)
	w.probe("dead").only(2)
}

// What signals carry does not stay open without end.
func TestCarriedTargetsAreClosed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const n = 200
	open := func() (open int) {
		for i := range n {
			now, _ := w.probe(fmt.Sprint(i)).users()
			open += now
		}
		return open
	}
	a := w.run(`[]`, allow("probe"))
	for i := range n {
		w.publish("a", nil, carrying(fmt.Sprintf(`{"probe": {"id": "%d"}}`, i)))
	}
	w.idle()
	w.eventually("those that were not used for longest are closed", func() bool { return open() <= 64 })
	if err := a.stop(); err != nil {
		t.Fatal(err)
	}
	if got := open(); got != 0 {
		t.Errorf("%d targets are open behind the end", got)
	}
}

// An adapter that hangs while it opens holds up nobody else.
func TestOpeningHoldsUpNobody(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	begun, gate := make(chan struct{}, 10), make(chan struct{})
	w.probe("slow").opening(func(context.Context, options, dispatch.Env) error {
		begun <- struct{}{}
		<-gate
		return nil
	})
	a := w.run(`[{name: r, on: "**", to: [probe: {id: route}]}]`, allow("probe"))
	for i := range 3 {
		w.publish("a", nil, signal.WithID(fmt.Sprint("slow", i)), carrying(`{"probe": {"id": "slow"}}`))
	}
	<-begun
	w.publish("a", nil, carrying(`{"probe": {"id": "quick"}}`))
	w.probe("quick").wait(1)
	w.swap(a, `[{name: r, on: "**", to: [probe: {id: other}]}]`)
	w.publish("b", nil)
	w.probe("other").wait(1)
	close(gate)
	w.probe("slow").wait(3)
	if _, ever := w.probe("slow").users(); ever != 1 {
		t.Errorf("opened %d times for three signals at the same time, want 1", ever)
	}
}
