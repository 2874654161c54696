package agent_test

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/signalmesh/signalmesh/pkg/adapter/busbridge"
	"github.com/signalmesh/signalmesh/pkg/agent"
	"github.com/signalmesh/signalmesh/pkg/bus"
	"github.com/signalmesh/signalmesh/pkg/delivery"
	"github.com/signalmesh/signalmesh/pkg/dispatch"
	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/signal"
	"github.com/signalmesh/signalmesh/pkg/testkit"
)

var _ = busbridge.Config{} // registers the adapter "bus"

func maxHops(n int) func(*agent.Config) { return func(c *agent.Config) { c.MaxHops = n } }

// reply is what a target answers with, caused by the call's signal as adapters do it.
func reply(tb testing.TB, c call, typ string, opts ...signal.Option) *signal.Signal {
	s, err := signal.New(typ, c.n, append([]signal.Option{signal.From("/target"), signal.CausedBy(c.s)}, opts...)...)
	if err != nil {
		tb.Error(err)
	}
	return s
}

// endsAsLoop wants the chain that one signal began to have ended after the hops.
func (w *world) endsAsLoop(p *probe, calls int) {
	w.Helper()
	w.eventually("the loop has a dead letter", func() bool { return len(w.letters()) > 0 })
	w.idle()
	p.only(calls)
	if l := w.letter(); l.Reason != delivery.ReasonLoop || l.Code != fault.Denied || len(l.Attempts) != 0 {
		w.Errorf("letter = %+v", l)
	}
}

// A route whose target's answer is routed to it again.
func TestLoopThroughReplies(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.probe("a").answer(func(_ context.Context, c call) (*signal.Signal, error) { return reply(t, c, "a"), nil })
	w.run(`[{name: r, on: a, to: [probe: {id: a}]}]`, maxHops(4))
	s := w.publish("a", nil)
	w.endsAsLoop(w.probe("a"), 4)
	for i, c := range w.probe("a").got() {
		if c.s.Hops() != i || i > 0 && c.s.Correlation() != s.ID {
			t.Errorf("call %d: %d hops, correlation %q", i+1, c.s.Hops(), c.s.Correlation())
		}
	}
}

// A target that sends back what it got, or forgets what it was caused by, ends as well.
func TestLoopThroughRepliesThatHideIt(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]func(*testing.T, call) *signal.Signal{
		"no cause": func(t *testing.T, c call) *signal.Signal {
			s, err := signal.New("a", nil, signal.From("/target"))
			if err != nil {
				t.Error(err)
			}
			return s
		},
		"another cause, no hops": func(t *testing.T, c call) *signal.Signal {
			return reply(t, c, "a", signal.Ext(signal.ExtCausation, "x"), signal.Ext(signal.ExtHops, 0))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.probe("a").answer(func(_ context.Context, c call) (*signal.Signal, error) { return answer(t, c), nil })
			w.run(`[{name: r, on: a, to: [probe: {id: a}]}]`, maxHops(3))
			w.publish("a", nil)
			w.endsAsLoop(w.probe("a"), 3)
			for i, c := range w.probe("a").got()[1:] {
				if before := w.probe("a").got()[i].s; c.s.Causation() != before.ID {
					t.Errorf("reply %d is caused by %q, want %q", i+1, c.s.Causation(), before.ID)
				}
			}
		})
	}
}

// An adapter that publishes on the bus of its signals.
func TestLoopThroughTheBus(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.probe("a").answer(func(ctx context.Context, c call) (*signal.Signal, error) {
		s, err := signal.New("a", nil)
		if err != nil {
			return nil, err
		}
		return nil, w.bus.Publish(ctx, s)
	})
	w.run(`[{name: r, on: a, to: [probe: {id: a}]}]`, maxHops(3))
	w.publish("a", nil)
	w.endsAsLoop(w.probe("a"), 3)
}

// Two buses that feed each other. The copies are the same signal, so the bus that has it
// takes it for a duplicate; under a middleware that gives each a new id they go on.
func TestLoopOfTwoBuses(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var copies atomic.Int64
	renamed := bus.WithMiddleware(func(next signal.Handler) signal.Handler {
		return func(ctx context.Context, s *signal.Signal) error {
			if s.Hops() > 0 {
				s = s.Clone()
				s.ID = signal.NewID().String()
				copies.Add(1)
			}
			return next(ctx, s)
		}
	})
	buses := map[string]*bus.Bus{}
	for _, name := range []string{"one", "two"} {
		buses[name] = testkit.Bus(t, bus.Named(name), renamed)
	}
	for _, b := range buses {
		w.run(`
- {name: to-one, bus: two, on: "**", to: [bus: {name: one}]}
- {name: to-two, bus: one, on: "**", to: [bus: {name: two}]}
`, maxHops(5), func(c *agent.Config) {
			c.Bus, c.Journal, c.Registry = b, nil, dispatch.Default
			c.Env.Publish = func(ctx context.Context, name string, s *signal.Signal) error { return buses[name].Publish(ctx, s) }
		})
	}
	s, err := signal.New("a", nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := buses["one"].Publish(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	w.bus = buses["two"] // where the fifth hop ends
	w.eventually("the loop has a dead letter", func() bool { return len(w.letters()) == 1 })
	if l := w.letter(); l.Reason != delivery.ReasonLoop || copies.Load() != 5 {
		t.Errorf("letter = %+v after %d copies, want 5", l, copies.Load())
	}
}

// A route that leads to its own bus can't be opened; another revision of it goes on.
func TestBusIsNoTargetOfItself(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.prepare("[]", func(c *agent.Config) {
		c.Registry = dispatch.Default
		c.Env.Publish = func(context.Context, string, *signal.Signal) error { return nil }
	})
	if err := a.Swap(t.Context(), w.routes(`[{name: r, on: a, to: [bus: {name: default}]}]`)); !fault.Is(err, fault.Invalid) {
		t.Errorf("Swap = %v, want Invalid", err)
	}
	a.start(w)
	w.publish("a", nil)
	w.idle()
	if l := w.letter(); l.Reason != delivery.ReasonPermanent {
		t.Errorf("letter = %+v", l)
	}
}

func TestReplyIsPublished(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.probe("a").answer(func(_ context.Context, c call) (*signal.Signal, error) { return reply(t, c, "answer"), nil })
	w.run(`[{name: r, on: a, to: [probe: {id: a}]}]`)
	answers := testkit.Record(t, w.bus, "answer")
	s := w.publish("a", nil, signal.About("o-1"))
	got := answers.Next()
	if got.Causation() != s.ID || got.Correlation() != s.ID || got.Hops() != 1 || got.Source != "/target" || string(got.Data) != "1" {
		t.Errorf("answer = %+v", got)
	}
	if v := w.verdict(s, "r", "probe", delivery.Delivered); v.Reply != got.ID {
		t.Errorf("verdict names the reply %q, want %q", v.Reply, got.ID)
	}
}

// An answer whose publication was not heard of is asked for again, and stored once.
func TestReplyIsPublishedOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.probe("a").answer(func(_ context.Context, c call) (*signal.Signal, error) {
		s := reply(t, c, "answer")
		s.ID = "" // left to the agent
		return s, nil
	})
	var failed atomic.Bool
	w.run(`[{name: r, on: a, retry: {min: 1ms}, to: [probe: {id: a}]}]`, func(c *agent.Config) {
		c.Bus = testkit.Bus(t, bus.WithMiddleware(func(next signal.Handler) signal.Handler {
			return func(ctx context.Context, s *signal.Signal) error {
				if err := next(ctx, s); err != nil || failed.Swap(true) {
					return err
				}
				return nats.ErrTimeout // it is stored
			}
		}))
	})
	s := w.publish("a", nil)
	v := w.verdict(s, "r", "probe", delivery.Delivered)
	w.idle()
	if c := w.probe("a").only(2)[1]; v.Reply != "reply-"+c.info.Key || len(v.Attempts) != 2 {
		t.Errorf("verdict = %+v", v)
	}
	n := 0
	for got, err := range w.bus.Replay(t.Context(), "answer") {
		if err != nil {
			t.Fatal(err)
		}
		if n++; got.ID != v.Reply {
			t.Errorf("answer %s, want %s", got.ID, v.Reply)
		}
	}
	if n != 1 {
		t.Errorf("%d answers are stored, want 1", n)
	}
}

// The target has the signal already: an answer that can't be published is not asked for
// again.
func TestReplyThatIsNoSignal(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.probe("a").answer(func(context.Context, call) (*signal.Signal, error) { return &signal.Signal{Type: "no source"}, nil })
	w.run(`[{name: r, on: a, retry: {min: 1ms}, to: [probe: {id: a}]}]`)
	w.publish("a", nil)
	w.idle()
	w.probe("a").only(1)
	if l := w.letter(); l.Reason != delivery.ReasonPermanent || l.Code != fault.Invalid {
		t.Errorf("letter = %+v", l)
	}
}
