package agent_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/signalmesh/signalmesh/pkg/agent"
	"github.com/signalmesh/signalmesh/pkg/delivery"
	"github.com/signalmesh/signalmesh/pkg/dispatch"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

var errBoom = errors.New("boom")

func TestDeliversToEachTargetOfEachMatchingRoute(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.run(`
- {name: all, on: order.**, to: [probe: {id: a}, probe: {id: b}]}
- {name: big, on: order.created, when: data.amount > 10, to: [{name: crm, probe: {id: c}}]}
- {name: users, on: user.**, to: [probe: {id: d}]}
- {name: elsewhere, bus: other, on: "**", to: [probe: {id: d}]}
- {name: off, on: "**", disabled: true, to: [probe: {id: d}]}
`)
	s := w.publish("order.created", map[string]any{"amount": 11}, signal.About("o-1"))
	w.idle()
	keys := map[string]bool{}
	for id, want := range map[string]dispatch.Info{
		"a": {Route: "all", Target: "probe"}, "b": {Route: "all", Target: "probe-2"}, "c": {Route: "big", Target: "crm"},
	} {
		c := w.probe(id).only(1)[0]
		want.Bus, want.Attempt, want.Sequence, want.Key = "default", 1, 1, c.info.Key
		if c.info != want || c.info.Key == "" {
			t.Errorf("target %s: Info = %+v, want %+v", id, c.info, want)
		}
		if c.s.ID != s.ID || c.s.Subject != "o-1" || string(c.s.Data) != `{"amount":11}` {
			t.Errorf("target %s got %+v", id, c.s)
		}
		keys[c.info.Key] = true
	}
	if len(keys) != 3 {
		t.Errorf("%d keys for 3 deliveries", len(keys))
	}
	w.probe("d").only(0)
	v := w.verdict(s, "big", "crm", delivery.Delivered)
	if v.Node != "n1" || v.Adapter != "probe" || v.Endpoint != "probe:c" || v.Revision != 2 || len(v.Attempts) != 1 || v.At.IsZero() {
		t.Errorf("verdict = %+v", v)
	}
}

// What an adapter publishes with the context of an attempt is an effect of the signal.
func TestAttemptIsHandlingTheSignal(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.probe("a").answer(func(ctx context.Context, c call) (*signal.Signal, error) {
		effect, err := signal.New("effect", nil)
		if err != nil {
			return nil, err
		}
		return nil, w.bus.Publish(ctx, effect)
	})
	w.run(`[{name: r, on: cause, to: [probe: {id: a}]}, {name: e, on: effect, to: [probe: {id: b}]}]`)
	s := w.publish("cause", nil)
	if e := w.probe("b").wait(1)[0].s; e.Causation() != s.ID || e.Hops() != 1 {
		t.Errorf("the effect is caused by %q, %d hops, want %q, 1", e.Causation(), e.Hops(), s.ID)
	}
}

func TestAcknowledgesWhenTheVerdictsAreStored(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.run(`[{name: r, on: a, to: [probe: {id: a}]}]`)
	w.idle()
	if err := w.bus.JetStream().DeleteStream(t.Context(), w.bus.Space().JournalStream("default")); err != nil {
		t.Fatal(err)
	}
	s := w.publish("a", nil)
	w.probe("a").wait(1)
	w.eventually("the journal refuses", func() bool { return w.logged.has("journal verdicts") })
	if n := w.unsettled(); n != 1 {
		t.Fatalf("%d signals are unsettled without a journal, want 1", n)
	}
	w.openJournal(w.bus) // makes it anew
	w.idle()
	w.verdict(s, "r", "probe", delivery.Delivered)
	w.probe("a").only(1)
}

// Without a journal signals are routed all the same.
func TestWithoutJournal(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.probe("a").failFirst(1, errBoom)
	w.run(`[{name: r, on: a, retry: {min: 1ms}, to: [probe: {id: a}]}]`, func(c *agent.Config) { c.Journal = nil })
	s := w.publish("a", nil)
	w.probe("a").wait(2)
	w.idle()
	if v := w.verdicts(s); len(v) != 0 {
		t.Errorf("verdicts = %+v, want none", v)
	}
}

// A target that hangs delays no other route, no other target of its own, and no other
// signal, however many signals it gets.
func TestDeliveriesAreIndependent(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	release := w.probe("hangs").hang()
	defer release()
	w.probe("fails").fail(errBoom)
	w.run(`
- {name: bad, on: all.**, to: [probe: {id: before}, probe: {id: hangs}, probe: {id: behind}]}
- {name: failing, on: all.**, retry: {min: 10s}, to: [probe: {id: fails}]}
- {name: good, on: all.**, to: [probe: {id: other}]}
- {name: apart, on: apart, to: [probe: {id: apart}]}
`, func(c *agent.Config) { c.MaxInFlight, c.PerTarget, c.Hold = 16, 4, 20*time.Millisecond })
	const n = 60
	var want []string
	var last *signal.Signal
	for range n {
		last = w.publish("all.x", nil)
		want = append(want, last.ID)
	}
	w.publish("apart", nil)
	w.probe("apart").wait(1)
	for _, id := range []string{"before", "behind", "other"} {
		if got := ids(w.probe(id).wait(n)); !cmp.Equal(got, want) {
			t.Errorf("target %s got %d signals, want each of %d once", id, len(got), n)
		}
	}
	w.eventually("only what hangs is in flight", func() bool { c := w.consumer(); return c.NumPending == 0 && c.NumAckPending <= 4 })
	if got := len(w.probe("hangs").got()); got != 4 {
		t.Errorf("%d deliveries are under way to the target that hangs, want 4", got)
	}
	v := w.verdictThat(last, "bad", "probe-2", "parked", func(v delivery.Verdict) bool { return v.Parked })
	if v.Reason != "the target has 4 deliveries under way and no place for another" || len(v.Attempts) != 0 || v.Status != delivery.Retrying {
		t.Errorf("verdict of a delivery without a place = %+v", v)
	}
	release()
	if got := ids(w.probe("hangs").wait(n)); !cmp.Equal(got, want) {
		t.Errorf("the target got %d signals after it recovered, want each of %d once", len(got), n)
	}
	for _, c := range w.probe("hangs").got() {
		if c.info.Attempt != 1 {
			t.Errorf("waiting for a place counted as an attempt: %d", c.info.Attempt)
		}
	}
}

// A healthy target that is slow gets everything in memory: waiting for a place is no reason
// to park.
func TestBusyTargetIsWaitedFor(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	turn := make(chan struct{})
	w.probe("slow").answer(func(context.Context, call) (*signal.Signal, error) { turn <- struct{}{}; return nil, nil })
	w.run(`[{name: r, on: a, to: [probe: {id: slow}]}]`, func(c *agent.Config) { c.PerTarget, c.Hold = 2, 5*time.Second })
	for range 50 {
		w.publish("a", nil)
	}
	for range 50 {
		<-turn
	}
	w.idle()
	w.probe("slow").only(50)
	if n := w.everParked(); n != 0 {
		t.Errorf("%d deliveries were parked", n)
	}
}

func TestPanicIsAFailedAttempt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.probe("once").answer(func(_ context.Context, c call) (*signal.Signal, error) {
		if c.n == 1 {
			panic("first")
		}
		return nil, nil
	})
	w.probe("always").answer(func(context.Context, call) (*signal.Signal, error) { panic("always") })
	w.run(`[{name: r, on: a, retry: {max_attempts: 2, min: 1ms}, to: [probe: {id: once}, probe: {id: always}]}]`)
	s := w.publish("a", nil)
	w.idle()
	v := w.verdict(s, "r", "probe", delivery.Delivered)
	if len(v.Attempts) != 2 || v.Attempts[0].Error != "panic: first" || !v.Attempts[1].OK() {
		t.Errorf("attempts = %+v", v.Attempts)
	}
	l := w.letter()
	if l.Error != "panic: always" || l.Reason != delivery.ReasonAttempts || len(l.Attempts) != 2 {
		t.Errorf("letter = %+v", l)
	}
	if !w.logged.has("probe_test.go") {
		t.Error("the log does not have the stack of the panic")
	}
}

func TestPredicatesAreVerdicts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.run(`
- {name: "no", on: a, when: data.n > 5, to: [probe: {id: x}]}
- {name: fails, on: a, when: data.missing > 5, to: [probe: {id: x}]}
- {name: dear, on: a, when: "data.l.all(a, data.l.all(b, data.l.all(c, data.l.all(d, a + b + c + d >= 0))))", to: [probe: {id: x}]}
- {name: "yes", on: a, when: data.n == 1, to: [probe: {id: y}]}
`)
	s := w.publish("a", map[string]any{"n": 1, "l": make([]int, 100)})
	w.idle()
	w.probe("x").only(0)
	w.probe("y").only(1)
	for _, tt := range []struct {
		route, text string
		status      delivery.Status
	}{
		{"no", "data.n > 5", delivery.Rejected},
		{"fails", "missing", delivery.PredicateError},
		{"dear", "costs too much", delivery.PredicateError},
	} {
		if v := w.verdict(s, tt.route, "", tt.status); !strings.Contains(v.Reason, tt.text) || v.Revision == 0 || v.Node != "n1" {
			t.Errorf("verdict of %s = %+v, want the reason %q", tt.route, v, tt.text)
		}
	}
}

func TestDefaultRouteTakesTheRest(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.run(`
- {name: some, on: a.*, when: "false", to: [probe: {id: some}]}
- {name: b, on: b.*, to: [probe: {id: b}]}
- {name: rest, default: true, to: [probe: {id: rest}]}
`)
	w.publish("a.x", nil, signal.WithID("rejected"))
	w.publish("b.x", nil, signal.WithID("taken"))
	w.publish("c.x", nil, signal.WithID("unmatched"))
	w.idle()
	if got := ids(w.probe("rest").got()); !slices.Equal(got, []string{"rejected", "unmatched"}) {
		t.Errorf("the default route took %v", got)
	}
	w.probe("b").only(1)

	w.swap(a, `[{name: b, on: b.*, to: [probe: {id: b}]}]`)
	s := w.publish("c.y", nil) // nobody takes it, and it is settled at once
	w.idle()
	if v := w.verdicts(s); len(v) != 0 {
		t.Errorf("verdicts on an unmatched signal = %+v", v)
	}
}

func TestExpiredIsAVerdict(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.run(`[{name: r, on: a, to: [probe: {id: a}]}]`)
	s := w.publish("a", nil, signal.Expires(time.Now().Add(-time.Second)))
	fresh := w.publish("a", nil, signal.Expires(time.Now().Add(time.Hour)))
	w.idle()
	if v := w.verdict(s, "r", "probe", delivery.Expired); !strings.HasPrefix(v.Reason, "expired at ") || len(v.Attempts) != 0 {
		t.Errorf("verdict = %+v", v)
	}
	if got := w.probe("a").only(1)[0].s.ID; got != fresh.ID {
		t.Errorf("delivered %s, want %s", got, fresh.ID)
	}
}

// The middleware of the bus is around every attempt.
func TestAttemptsPassTheMiddleware(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.run(`[{name: r, on: a, retry: {max_attempts: 2, min: 1ms}, to: [probe: {id: a}]}]`, func(c *agent.Config) {
		c.Bus = w.guarded(func(ctx context.Context, s *signal.Signal, next signal.Handler) error {
			if s.Subject == "secret" {
				return fmt.Errorf("not for you")
			}
			return next(ctx, s)
		})
	})
	s := w.publish("a", nil, signal.About("secret"))
	w.publish("a", nil)
	w.idle()
	w.probe("a").only(1)
	if v := w.verdict(s, "r", "probe", delivery.Dead); v.Attempts[1].Error != "not for you" {
		t.Errorf("verdict = %+v", v)
	}
}
