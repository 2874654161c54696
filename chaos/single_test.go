//go:build chaos

package chaos_test

import (
	"fmt"
	"testing"
	"time"
)

// TestKill ends a node at random moments under load, with bad endpoints among its targets
// and things on the bus that are no signals.
func TestKill(t *testing.T) {
	w := newWorld(t)
	d := w.single(t)
	start(t, d)
	w.tail(t)
	for round := range times(1, 20) {
		stop := w.load(3)
		js, done := connect(t, d.NATS)
		w.broken(t, js, fmt.Sprintf("broken-%d", round))
		done()
		let(100*time.Millisecond, 1500*time.Millisecond)
		d.kill(t)
		start(t, d)
		let(100*time.Millisecond, 500*time.Millisecond)
		stop()
		w.judge(t, fmt.Sprintf("kill -9, round %d", round+1))
		if t.Failed() {
			return
		}
	}
}

// TestJudgeSeesADrop plants a receiver that answers well and takes nothing.
func TestJudgeSeesADrop(t *testing.T) {
	w := newWorld(t)
	w.drop = "slow"
	start(t, w.single(t))
	stop := w.load(2)
	let(500*time.Millisecond, 600*time.Millisecond)
	w.publish("certain", "chaos.slow")
	stop()
	js, done := connect(t, w.nodes[0].NATS)
	defer done()
	w.rest(t, js)
	r := w.check(t, js)
	lost := 0
	for _, op := range w.log.Ops() {
		if op.Type == "chaos.slow" && op.Phase == "ok" {
			lost++
		}
	}
	if lost == 0 || len(r.Problems) != lost || r.Accepted != r.Accounted()+lost {
		t.Errorf("%d deliveries were dropped, the judge says: %s: %q", lost, r, r.Problems)
	}
}
