package agent_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/signalmesh/signalmesh/pkg/delivery"
	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

func (w *world) redrive(l delivery.Letter) {
	w.Helper()
	if err := w.bus.DeadLetters().Redrive(w.Context(), l.ID, "ops"); err != nil {
		w.Fatal(err)
	}
}

func TestRedriveRunsExactlyOneDelivery(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.probe("bad").fail(fault.Permanent(errBoom))
	w.run(`
- {name: r, on: a, to: [probe: {id: beside}, {name: bad, probe: {id: bad}}]}
- {name: other, on: a, to: [probe: {id: other}]}
- {name: rest, default: true, to: [probe: {id: rest}]}
`)
	s := w.publish("a", map[string]any{"x": 1})
	w.idle()
	l := w.letter()
	w.probe("bad").fail(nil)
	w.redrive(l)
	v := w.verdict(s, "r", "bad", delivery.Delivered)
	w.idle()
	calls := w.probe("bad").only(2)
	if calls[1].info != calls[0].info || calls[1].s.ID != s.ID || string(calls[1].s.Data) != `{"x":1}` {
		t.Errorf("redriven with %+v, first with %+v", calls[1].info, calls[0].info)
	}
	for _, id := range []string{"beside", "other"} {
		w.probe(id).only(1)
	}
	w.probe("rest").only(0)
	if n := len(w.letters()); n != 0 {
		t.Errorf("%d dead letters are left", n)
	}
	if len(v.Attempts) != 2 || v.Attempts[0].Error != "boom" || !v.Attempts[1].OK() {
		t.Errorf("attempts = %+v", v.Attempts)
	}
}

func TestRedriveThatFailsKeepsItsHistory(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.run(`[{name: r, on: a, retry: {max_attempts: 3, min: 40ms, max: 40ms}, to: [probe: {id: a}]}]`, hold(20*time.Millisecond))
	w.probe("a").fail(fmt.Errorf("life 0"))
	w.publish("a", nil)
	w.idle()
	w.eventually("there is a letter", func() bool { return len(w.letters()) == 1 })
	first := w.letter()
	for life := 1; life <= 3; life++ {
		w.probe("a").fail(fmt.Errorf("life %d", life))
		w.redrive(w.letter())
		w.eventually("the letter is back", func() bool { all := w.letters(); return len(all) == 1 && len(all[0].Redrives) == life })
		l := w.letter()
		if l.ID != first.ID || !l.FirstAt.Equal(first.FirstAt) || l.Error != fmt.Sprint("life ", life) || l.Reason != delivery.ReasonAttempts {
			t.Errorf("letter after redrive %d = %+v", life, l)
		}
		if got := numbers(l.Attempts); !slices.Equal(got, []int{1, 2, 3}) {
			t.Errorf("attempts of life %d: %v", life, got)
		}
		for i, r := range l.Redrives {
			if r.By != "ops" || r.Error != fmt.Sprint("life ", i) || r.Attempts != 3 || r.Reason != delivery.ReasonAttempts {
				t.Errorf("redrive %d = %+v", i+1, r)
			}
		}
		w.idle()
	}
	w.probe("a").only(12)
}

// An order to deliver again does not make a signal vanish that has expired since.
func TestRedriveOfAnExpiredSignal(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.probe("a").fail(fault.Permanent(errBoom))
	w.run(`[{name: r, on: a, to: [probe: {id: a}]}]`)
	expiry := time.Now().Add(300 * time.Millisecond)
	s := w.publish("a", nil, signal.Expires(expiry))
	w.idle()
	l := w.letter()
	w.eventually("it has expired", func() bool { return time.Now().After(expiry) })
	w.redrive(l)
	w.eventually("the letter is back", func() bool { all := w.letters(); return len(all) == 1 && len(all[0].Redrives) == 1 })
	if l := w.letter(); l.Reason != delivery.ReasonExpired || l.Redrives[0].Error != "boom" {
		t.Errorf("letter = %+v", l)
	}
	w.idle()
	w.probe("a").only(1)
	w.verdict(s, "r", "probe", delivery.Dead)
}

func TestRequestForARouteThatIsGone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.probe("a").fail(fault.RetryAfter(300*time.Millisecond, errBoom))
	a := w.run(`[{name: r, on: a, to: [probe: {id: a}]}, {name: off, on: a, to: [probe: {id: a}]}, {name: target, on: a, to: [probe: {id: a}]}]`, hold(time.Millisecond))
	s := w.publish("a", nil)
	w.probe("a").wait(3)
	w.verdictThat(s, "target", "probe", "parked", func(v delivery.Verdict) bool { return v.Parked })
	w.swap(a, `[{name: off, on: a, disabled: true, to: [probe: {id: a}]}, {name: target, on: a, to: [{name: another, probe: {id: a}}]}]`)
	for name, reason := range map[string]string{
		"r": `the mesh has no route "r" with a target "probe" any more`, "off": `the route "off" is disabled`,
		"target": `the mesh has no route "target" with a target "probe" any more`,
	} {
		v := w.verdict(s, name, "probe", delivery.Dead)
		if v.Reason != "permanent: "+reason || len(v.Attempts) != 1 || v.Letter == "" {
			t.Errorf("verdict of %s = %+v", name, v)
		}
	}
	w.idle()
	w.probe("a").only(3)
	if n := len(w.letters()); n != 3 {
		t.Errorf("%d dead letters, want 3", n)
	}
	// Put back, the route takes it.
	w.probe("a").fail(nil)
	w.swap(a, `[{name: r, on: a, to: [probe: {id: a}]}]`)
	for _, l := range w.letters() {
		if l.Name == "r" {
			w.redrive(l)
		}
	}
	w.verdict(s, "r", "probe", delivery.Delivered)
}
