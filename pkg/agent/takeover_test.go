package agent_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/signalmesh/signalmesh/pkg/agent"
	"github.com/signalmesh/signalmesh/pkg/bus"
	"github.com/signalmesh/signalmesh/pkg/delivery"
	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

// named makes an agent the node, which takes over from a silent one after half a second.
func named(node string) func(*agent.Config) {
	return func(c *agent.Config) {
		c.Node, c.Env.Node, c.AckWait = node, node, 500*time.Millisecond
	}
}

// kill ends an agent as a crash does: it tells nobody anything any more.
func (a *actor) kill() { a.conn.Close() }

func TestTakeoverRunsOnlyWhatHasNoVerdict(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	release := w.probe("hangs").hang()
	w.probe("dead").fail(fault.Permanent(errBoom))
	w.probe("parked").fail(fault.RetryAfter(time.Hour, errBoom))
	w.probe("retried").answer(func(ctx context.Context, c call) (*signal.Signal, error) {
		if c.info.Attempt == 1 {
			return nil, errBoom
		}
		<-ctx.Done() // until the crash
		return nil, ctx.Err()
	})
	const routes = `
- name: r
  on: a
  retry: {min: 10ms}
  to: [{name: ok, probe: {id: ok}}, {name: dead, probe: {id: dead}}, {name: parked, retry: {min: 10ms, max_retry_after: 2h}, probe: {id: parked}},
       {name: hangs, probe: {id: hangs}}, {name: retried, probe: {id: retried}}]
`
	first := w.run(routes, named("first"))
	s := w.publish("a", nil)
	w.verdict(s, "r", "ok", delivery.Delivered) // the journal is told about once a second
	w.verdict(s, "r", "dead", delivery.Dead)
	w.verdictThat(s, "r", "parked", "parked", func(v delivery.Verdict) bool { return v.Parked })
	w.verdict(s, "r", "retried", delivery.Retrying)
	first.kill()
	w.run(routes, named("second"))

	w.probe("hangs").wait(2)
	calls := w.probe("retried").wait(3)
	w.probe("retried").fail(nil)
	release()
	if got := calls[2].info; got.Attempt != 2 || got.Key != calls[0].info.Key || calls[2].node != "second" {
		t.Errorf("the takeover goes on with attempt %d on %s, key %s, want 2, second, %s", got.Attempt, calls[2].node, got.Key, calls[0].info.Key)
	}
	v := w.verdict(s, "r", "hangs", delivery.Delivered)
	if v.Node != "second" {
		t.Errorf("delivered by %s, want second", v.Node)
	}
	for _, id := range []string{"ok", "dead", "parked"} {
		w.probe(id).only(1)
	}
	if n := w.parked(); n != 1 {
		t.Errorf("%d requests wait, want 1", n)
	}
	<-first.done
	if err := first.stop(); !fault.Is(err, fault.Unavailable) {
		t.Errorf("Run without a connection = %v, want Unavailable", err)
	}
}

// The engine may forget how far a consumer was: in a crash of the server, or because somebody
// deletes it.
func TestConsumerThatStartsAnewRepeatsNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const routes, n = `[{name: r, on: a, to: [probe: {id: a}]}]`, 20
	a := w.run(routes)
	for range n {
		w.publish("a", nil)
	}
	w.probe("a").wait(n)
	w.idle()
	if err := w.bus.JetStream().DeleteConsumer(t.Context(), w.bus.Space().Stream("default"), agent.Consumer); err != nil {
		t.Fatal(err)
	}
	<-a.done
	if err := a.stop(); !fault.Is(err, fault.NotFound) {
		t.Errorf("Run without its consumer = %v, want NotFound", err)
	}
	w.run(routes)
	last := w.publish("a", nil)
	w.verdict(last, "r", "probe", delivery.Delivered)
	w.idle()
	w.probe("a").only(n + 1)
}

// A signal that is published again when the window of deduplication is over is delivered
// again, also by an agent that was down meanwhile.
func TestVerdictsOnAnEarlierPublishDoNotCount(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.publish("a", nil)
	old := delivery.Verdict{Route: "r", Target: "probe", Status: delivery.Delivered, At: time.Now().Add(-time.Hour)}
	if err := w.journal.PutVerdicts(t.Context(), s, 1, []delivery.Verdict{old}); err != nil {
		t.Fatal(err)
	}
	w.run(`[{name: r, on: a, to: [probe: {id: a}]}]`)
	w.probe("a").wait(1)
}

func TestDrainFinishesWhatIsInFlight(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	release := w.probe("a").hang()
	a := w.run(`[{name: r, on: a, to: [probe: {id: a}]}]`, func(c *agent.Config) { c.Drain = time.Minute })
	s := w.publish("a", nil)
	w.probe("a").wait(1)
	a.end()
	release()
	if err := a.stop(); err != nil {
		t.Errorf("Run = %v after a drain", err)
	}
	if v := w.verdict(s, "r", "probe", delivery.Delivered); len(v.Attempts) != 1 {
		t.Errorf("verdict = %+v", v)
	}
	if n := w.unsettled(); n != 0 {
		t.Errorf("%d signals are left", n)
	}
	w.publish("a", nil) // to nobody
	if c := w.consumer(); c.NumWaiting != 0 || c.NumAckPending != 0 {
		t.Errorf("%d requests wait and %d signals are taken behind the end", c.NumWaiting, c.NumAckPending)
	}
}

func TestDrainHandsBackWhatDoesNotFinish(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.probe("a").hang()
	w.probe("late").fail(fault.RetryAfter(time.Hour, errBoom))
	const routes = `
- {name: r, on: a, to: [{name: hangs, probe: {id: a}}, {name: ok, probe: {id: b}}]}
- {name: waits, on: a, retry: {max_retry_after: 2h}, to: [{name: late, probe: {id: late}}]}
`
	patient := func(c *agent.Config) { c.Hold = 2 * time.Hour } // the wait stays in memory
	first := w.run(routes, patient)
	s := w.publish("a", nil)
	w.probe("a").wait(1)
	w.probe("b").wait(1)
	w.verdict(s, "waits", "late", delivery.Retrying)
	if err := first.stop(); err != nil {
		t.Errorf("Run = %v after a drain", err)
	}
	for _, v := range []delivery.Verdict{w.verdict(s, "r", "hangs", delivery.Stopped), w.verdict(s, "waits", "late", delivery.Stopped)} {
		if v.Letter != "" || v.Parked || !v.NextAt.IsZero() {
			t.Errorf("verdict of what is handed back = %+v", v)
		}
	}
	w.probe("a").fail(nil)
	w.probe("late").fail(nil)
	began := time.Now()
	w.run(routes, patient)
	v := w.verdict(s, "r", "hangs", delivery.Delivered)
	if took := time.Since(began); took > 10*time.Second { // of an AckWait of a minute
		t.Errorf("taken over after %s", took)
	}
	if got := numbers(v.Attempts); !slices.Equal(got, []int{1}) {
		t.Errorf("attempts %v of what was interrupted, want 1", got)
	}
	if got := numbers(w.verdict(s, "waits", "late", delivery.Delivered).Attempts); !slices.Equal(got, []int{1, 2}) {
		t.Errorf("attempts %v of what waited, want 1 and 2", got)
	}
	w.idle()
	w.probe("b").only(1)
}

func TestAgentsShareTheWork(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	// Nobody is done before both have something.
	var both sync.WaitGroup
	both.Add(2)
	once := map[string]func(){"one": sync.OnceFunc(both.Done), "two": sync.OnceFunc(both.Done)}
	w.probe("a").answer(func(_ context.Context, c call) (*signal.Signal, error) {
		once[c.node]()
		both.Wait()
		return nil, nil
	})
	const routes, n = `[{name: r, on: a, to: [probe: {id: a}]}]`, 200
	w.run(routes, named("one"))
	w.run(routes, named("two"))
	var want []string
	for range n {
		want = append(want, w.publish("a", nil).ID)
	}
	slices.Sort(want)
	w.probe("a").wait(n)
	w.idle()
	if got := ids(w.probe("a").only(n)); !cmp.Equal(got, want) {
		t.Error("not every signal was delivered once")
	}
}

// crash takes what lies on the bus so often as if a process had died of it each time.
func (w *world) crash(times int) {
	w.Helper()
	died := make(chan struct{}, times)
	c, err := w.bus.Consume(w.Context(), bus.ConsumeConfig{
		Durable: agent.Consumer, Start: bus.FromOrigin(), MaxAckPending: agent.DefaultMaxInFlight, AckWait: time.Minute,
	}, func(m *bus.Message) {
		if m.Delivered <= times {
			_ = m.NakWithDelay(0)
			died <- struct{}{}
		}
	})
	if err != nil {
		w.Fatal(err)
	}
	for range times {
		<-died
	}
	c.Stop()
	<-c.Done()
}

func TestCrashLoopEnds(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.publish("a", nil)
	before := delivery.Verdict{Route: "r", Target: "before", Status: delivery.Delivered, At: time.Now()}
	if err := w.journal.PutVerdicts(t.Context(), s, 1, []delivery.Verdict{before}); err != nil {
		t.Fatal(err)
	}
	w.crash(16)
	w.run(`[{name: r, on: a, to: [{name: before, probe: {id: x}}, {name: fatal, probe: {id: x}}, {name: after, probe: {id: after}}]}]`)
	v := w.verdict(s, "r", "fatal", delivery.Dead)
	if l := w.letter(); l.Reason != delivery.ReasonCrashLoop || l.Target != "fatal" || l.ID != v.Letter || len(l.Attempts) != 0 {
		t.Errorf("letter = %+v", l)
	}
	w.verdict(s, "r", "after", delivery.Delivered)
	w.idle()
	w.probe("x").only(0)
	w.probe("after").only(1)
}

// Deliveries of a signal that may be what ends the process run one after the other, and the
// journal knows of each before the next begins.
func TestSuspectIsHandledWithCare(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.publish("a", nil)
	w.crash(3)
	for i := range 3 {
		w.probe(fmt.Sprint(i)).answer(func(context.Context, call) (*signal.Signal, error) {
			if got := w.verdicts(s); len(got) != i {
				t.Errorf("delivery %d begins when the journal has %d verdicts", i, len(got))
			}
			return nil, nil
		})
	}
	w.run(`[{name: r, on: a, to: [probe: {id: "0"}, probe: {id: "1"}, probe: {id: "2"}]}]`)
	w.idle()
	for i := range 3 {
		w.probe(fmt.Sprint(i)).only(1)
	}
}

// A journal that is away is waited for; it must not look like a crash loop.
func TestJournalThatIsAwayIsNoCrash(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.publish("a", nil)
	w.crash(2)
	a := w.prepare(`[{name: r, on: a, to: [probe: {id: a}]}]`)
	if err := w.bus.JetStream().DeleteStream(t.Context(), w.bus.Space().JournalStream("default")); err != nil {
		t.Fatal(err)
	}
	a.start(w)
	w.eventually("the journal is asked in vain", func() bool { return w.logged.has("read verdicts") })
	w.probe("a").only(0)
	w.openJournal(w.bus)
	w.verdict(s, "r", "probe", delivery.Delivered)
	w.idle()
	w.probe("a").only(1)
}
