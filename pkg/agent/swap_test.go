package agent_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/signalmesh/signalmesh/pkg/delivery"
	"github.com/signalmesh/signalmesh/pkg/dispatch"
	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

// Whatever is swapped while signals flow, each is delivered once by the route that all
// tables have.
func TestSwapLosesAndDoublesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	tables := []string{
		`[{name: r, on: a, to: [probe: {id: a}]}]`,
		`[{name: r, on: a, to: [probe: {id: a}]}, {name: b, on: "**", to: [probe: {id: b}]}]`,
		`[{name: r, on: "*", priority: 3, retry: {max_attempts: 2}, to: [probe: {id: a}, {name: more, probe: {id: c, note: x}}]}]`,
		`[{name: r, on: a, to: [probe: {id: a, note: another adapter}]}]`,
	}
	a := w.run(tables[0])
	var sent []string
	var publishing sync.WaitGroup
	publishing.Go(func() {
		for range 400 {
			sent = append(sent, w.publish("a", nil).ID)
		}
	})
	done := make(chan struct{})
	go func() { publishing.Wait(); close(done) }()
	for i := 1; ; i++ {
		w.swap(a, tables[i%len(tables)])
		select {
		case <-done:
		default:
			continue
		}
		break
	}
	w.probe("a").wait(len(sent))
	w.idle()
	slices.Sort(sent)
	if got := ids(w.probe("a").only(len(sent))); !cmp.Equal(got, sent) {
		t.Error("not every signal was delivered once")
	}
	if n := len(w.letters()); n != 0 {
		t.Errorf("%d dead letters", n)
	}
	w.swap(a, `[]`)
	for _, id := range []string{"a", "b", "c"} {
		if now, _ := w.probe(id).users(); now != 0 {
			t.Errorf("target %s is open %d times, and no route leads to it", id, now)
		}
	}
}

func TestSwapKeepsWhatDidNotChange(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.run(`[{name: r, on: a, to: [probe: {id: a}]}, {name: s, on: b, to: [probe: {id: b}]}]`)
	w.swap(a, `[{name: renamed, on: c, to: [probe: {id: a}, probe: {id: a}]}, {name: s, on: b, to: [probe: {id: b, note: changed}]}]`)
	if now, ever := w.probe("a").users(); now != 1 || ever != 1 {
		t.Errorf("target a is open %d times and was opened %d times, want 1, 1", now, ever)
	}
	if now, ever := w.probe("b").users(); now != 1 || ever != 2 {
		t.Errorf("target b is open %d times and was opened %d times, want 1, 2", now, ever)
	}
}

// An adapter stays open for the signals that are in flight on it.
func TestSwapWaitsForWhatIsInFlight(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	release := w.probe("a").hang()
	a := w.run(`[{name: r, on: a, to: [probe: {id: a}]}]`)
	s := w.publish("a", nil)
	w.probe("a").wait(1)
	w.swap(a, `[]`)
	if now, _ := w.probe("a").users(); now != 1 {
		t.Errorf("the target is open %d times with a delivery in flight, want 1", now)
	}
	release()
	w.verdict(s, "r", "probe", delivery.Delivered)
	w.eventually("the target is closed", func() bool { now, _ := w.probe("a").users(); return now == 0 })
}

func refuse(err error) func(context.Context, options, dispatch.Env) error {
	return func(context.Context, options, dispatch.Env) error { return err }
}

func TestRouteThatCannotBeOpenedKeepsRunning(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.probe("bad").opening(refuse(errBoom))
	a := w.run(`[{name: r, on: a, to: [probe: {id: old}, probe: {id: old2}]}]`)
	routes := w.routes(`
- {name: r, on: b, to: [probe: {id: new}, probe: {id: bad}]}
- {name: s, on: b, to: [probe: {id: s}]}
`)
	routes[0].Revision = 7
	err := a.Swap(t.Context(), routes)
	if err == nil || !strings.Contains(err.Error(), "route r, revision 7: target probe-2: ") || !strings.Contains(err.Error(), "boom") || strings.Contains(err.Error(), "route s") {
		t.Errorf("Swap = %v", err)
	}
	w.publish("a", nil)
	w.publish("b", nil)
	w.idle()
	w.probe("old").only(1)
	w.probe("old2").only(1)
	w.probe("s").only(1)
	if now, _ := w.probe("new").users(); now != 0 {
		t.Errorf("a target of the definition that is not in force is open %d times", now)
	}
	if r, _ := a.Routes().Get("r"); r.On.String() != "a" || r.Revision != 1 {
		t.Errorf("in force is %s, revision %d, want the running definition", r.On, r.Revision)
	}
	w.probe("bad").opening(nil)
	if err := a.Swap(t.Context(), routes); err != nil {
		t.Fatal(err)
	}
	w.publish("b", nil)
	w.idle()
	w.probe("bad").only(1)
}

// A new route whose target can't be opened fails visibly, and goes on when it can.
func TestRouteThatCannotBeOpenedTriesAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.prepare(`[]`)
	n := 0
	w.probe("a").opening(func(context.Context, options, dispatch.Env) error {
		if n++; n < 3 {
			return errBoom
		}
		return nil
	})
	if err := a.Swap(t.Context(), w.routes(`[{name: r, on: a, retry: {min: 5ms}, to: [probe: {id: a}]}]`)); err == nil {
		t.Error("Swap = nil, want an error")
	}
	a.start(w)
	s := w.publish("a", nil)
	v := w.verdict(s, "r", "probe", delivery.Delivered)
	if len(v.Attempts) != 2 || !strings.Contains(v.Attempts[0].Error, "boom") {
		t.Errorf("attempts = %+v", v.Attempts)
	}
}

// What policy refuses is dead without an attempt.
func TestRouteToADeniedTarget(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.prepare(`[]`)
	w.probe("a").opening(refuse(fault.Newf(fault.Denied, "not there")))
	if err := a.Swap(t.Context(), w.routes(`[{name: r, on: a, to: [probe: {id: a}]}]`)); !fault.Is(err, fault.Denied) {
		t.Errorf("Swap = %v, want Denied", err)
	}
	a.start(w)
	w.publish("a", nil)
	w.idle()
	if l := w.letter(); l.Reason != delivery.ReasonDenied || len(l.Attempts) != 0 {
		t.Errorf("letter = %+v", l)
	}
}

func TestAdapterThatPanicsWhenOpened(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.prepare(`[]`)
	w.probe("a").opening(func(context.Context, options, dispatch.Env) error { panic("at the opening") })
	if err := a.Swap(t.Context(), w.routes(`[{name: r, on: a, to: [probe: {id: a}]}]`)); err == nil || !strings.Contains(err.Error(), "panic: at the opening") {
		t.Errorf("Swap = %v, want the panic", err)
	}
	a.start(w)
}

func TestRoutesThatDoNotCompileChangeNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.run(`[{name: r, on: a, to: [probe: {id: a}]}]`)
	twice := w.routes(`[{name: x, on: a, to: [probe: {id: x}]}, {name: x, on: a, to: [probe: {id: y}]}]`)
	if err := a.Swap(t.Context(), twice); !fault.Is(err, fault.Invalid) {
		t.Errorf("Swap = %v, want Invalid", err)
	}
	w.publish("a", nil)
	w.probe("a").wait(1)
	for id, want := range map[string]int{"a": 1, "x": 0, "y": 0} {
		if now, _ := w.probe(id).users(); now != want {
			t.Errorf("target %s is open %d times, want %d", id, now, want)
		}
	}
}

func TestSwapsAtTheSameTime(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.run(`[]`)
	var swaps sync.WaitGroup
	for i := range 20 {
		routes := w.routes(fmt.Sprintf(`[{name: r, on: a, to: [probe: {id: "%d"}]}, {name: s, on: a, to: [probe: {id: both}]}]`, i))
		swaps.Go(func() {
			if err := a.Swap(t.Context(), routes); err != nil {
				t.Error(err)
			}
		})
	}
	swaps.Wait()
	open := 0
	for i := range 20 {
		now, _ := w.probe(fmt.Sprint(i)).users()
		open += now
	}
	if both, _ := w.probe("both").users(); open != 1 || both != 1 {
		t.Errorf("%d and %d targets are open, want 1 and 1", open, both)
	}
}

func TestSwapAfterTheEnd(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.run(`[{name: r, on: a, to: [probe: {id: a}]}]`)
	w.publish("a", nil)
	w.probe("a").wait(1)
	if err := a.stop(); err != nil {
		t.Fatal(err)
	}
	if err := a.Swap(t.Context(), w.routes(`[{name: r, on: a, to: [probe: {id: a}, probe: {id: b}]}]`)); !fault.Is(err, fault.Unavailable) {
		t.Errorf("Swap = %v, want Unavailable", err)
	}
	for _, id := range []string{"a", "b"} {
		if now, _ := w.probe(id).users(); now != 0 {
			t.Errorf("target %s is open %d times behind the end", id, now)
		}
	}
}

// Both agents of a bus and those of others take their own routes only.
func TestRoutesOfAnotherBus(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.run(`
- {name: mine, bus: default, on: a, to: [probe: {id: mine}]}
- {name: any, on: a, to: [probe: {id: any}]}
- {name: other, bus: other, on: a, to: [probe: {id: other}]}
- {name: rest, default: true, to: [probe: {id: rest}]}
- {name: other-b, bus: other, on: b, to: [probe: {id: other}]}
`)
	a, b := w.publish("a", nil), w.publish("b", nil)
	w.idle()
	for id, want := range map[string]*signal.Signal{"mine": a, "any": a, "rest": b} {
		if got := w.probe(id).only(1)[0].s.ID; got != want.ID {
			t.Errorf("target %s got %s, want %s", id, got, want.ID)
		}
	}
	if now, _ := w.probe("other").users(); now != 0 {
		t.Error("the target of another bus is open")
	}
}
