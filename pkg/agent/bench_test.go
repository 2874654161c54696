package agent_test

import (
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	_ "github.com/signalmesh/signalmesh/pkg/adapter/noop"
	"github.com/signalmesh/signalmesh/pkg/agent"
	"github.com/signalmesh/signalmesh/pkg/bus"
	"github.com/signalmesh/signalmesh/pkg/dispatch"
	"github.com/signalmesh/signalmesh/pkg/pattern"
	"github.com/signalmesh/signalmesh/pkg/route"
	"github.com/signalmesh/signalmesh/pkg/signal"
	"github.com/signalmesh/signalmesh/pkg/testkit"
)

// benchKinds is how many kinds of signals there are; three of the 10,000 routes take each.
const benchKinds = 3333

// BenchmarkRoute is one signal from the bus through a table of 10,000 routes to three
// targets that do nothing, with its acknowledgement; with a journal the three verdicts are
// stored before that. raw is the least that anyone can do: the Consume of nats.go and an
// acknowledgement, the message not even looked at. Signals are published meanwhile, a
// thousand at a time; with backlog they were there before, and the journal is asked for
// verdicts on each.
func BenchmarkRoute(b *testing.B) {
	for _, durability := range []string{"fast", "sync"} {
		serve := func(b *testing.B) {
			if durability == "sync" {
				testkit.Server(b, testkit.Durable())
			}
		}
		b.Run(durability+"/raw", func(b *testing.B) {
			serve(b)
			bench(b, false, rawConsume)
		})
		b.Run(durability+"/agent", func(b *testing.B) {
			serve(b)
			bench(b, false, func(b *testing.B, w *world) { w.benchAgent(b, false) })
		})
		b.Run(durability+"/agent+journal", func(b *testing.B) {
			serve(b)
			bench(b, false, func(b *testing.B, w *world) { w.benchAgent(b, true) })
		})
		b.Run(durability+"/agent+journal+backlog", func(b *testing.B) {
			serve(b)
			bench(b, true, func(b *testing.B, w *world) { w.benchAgent(b, true) })
		})
	}
}

// bench has signals worked off by what start begins.
func bench(b *testing.B, backlog bool, start func(*testing.B, *world)) {
	w := newWorld(b)
	if backlog {
		w.fill(b.N)
	}
	start(b, w)
	b.ReportAllocs()
	b.ResetTimer()
	if !backlog {
		w.fill(b.N)
	}
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for w.unsettled() != 0 {
		<-tick.C
	}
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "signals/s")
}

// fill puts n signals on the bus.
func (w *world) fill(n int) {
	w.Helper()
	data := map[string]any{"order": "o-1029384", "customer": "c-5647382910", "cents": 4200, "note": "leave it with the neighbours, they are at home all day"}
	for n > 0 {
		var batch []*signal.Signal
		for range min(n, bus.MaxBatch) {
			s, err := signal.New(fmt.Sprintf("order.k%d.created", n%benchKinds), data, signal.From("/shop"))
			if err != nil {
				w.Fatal(err)
			}
			batch = append(batch, s)
			n--
		}
		if err := w.bus.Publish(w.Context(), batch...); err != nil {
			w.Fatal(err)
		}
	}
}

func benchRoutes() []route.Route {
	to := []route.Target{{Target: dispatch.Target{Adapter: "noop"}}}
	var routes []route.Route
	for k := range benchKinds {
		for i, on := range []string{"order.k%d.created", "order.k%d.*", "order.k%d.**"} {
			p := pattern.MustParse(fmt.Sprintf(on, k))
			routes = append(routes, route.Route{Revision: 1, Spec: route.Spec{Name: fmt.Sprintf("r%d-%d", k, i), On: route.Patterns{p}, To: to}})
		}
	}
	return append(routes, route.Route{Spec: route.Spec{Name: "rest", Default: true, To: to}})
}

func (w *world) benchAgent(b *testing.B, journaled bool) {
	a := w.prepare("[]", func(c *agent.Config) {
		c.Registry, c.Log = dispatch.Default, slog.New(slog.DiscardHandler)
		if !journaled {
			c.Journal = nil
		}
	})
	if err := a.Swap(b.Context(), benchRoutes()); err != nil {
		b.Fatal(err)
	}
	a.start(w)
}

func rawConsume(b *testing.B, w *world) {
	js := testkit.JetStream(b)
	c, err := js.CreateConsumer(b.Context(), w.bus.Space().Stream("default"), jetstream.ConsumerConfig{
		Durable: agent.Consumer, AckPolicy: jetstream.AckExplicitPolicy, MaxAckPending: agent.DefaultMaxInFlight,
	})
	if err != nil {
		b.Fatal(err)
	}
	run, err := c.Consume(func(m jetstream.Msg) {
		if err := m.Ack(); err != nil {
			b.Error(err)
		}
	})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(run.Stop)
}
