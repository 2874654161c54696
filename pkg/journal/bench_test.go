package journal_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/signalmesh/signalmesh/pkg/delivery"
	"github.com/signalmesh/signalmesh/pkg/embed"
	"github.com/signalmesh/signalmesh/pkg/journal"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

const benchSignals = 20_000

// BenchmarkRecord compares the recorder with putting the same number of keys of the same
// size into the bucket with PublishAsync, which has neither a bus to read nor signals to
// decode. An operation is one signal.
func BenchmarkRecord(b *testing.B) {
	for _, d := range []embed.Durability{embed.Fast, embed.Sync} {
		for _, kind := range []string{"plain", "graph"} {
			keys := map[string]int{"plain": 1, "graph": 3}[kind]
			b.Run(fmt.Sprintf("%s/%s/recorder", d, kind), func(b *testing.B) {
				nc := connect(b, server(b, d))
				j := open(b, nc)
				b.ReportAllocs()
				b.StopTimer()
				for done := 0; done < b.N; done += benchSignals {
					fill(b, nc, done, min(benchSignals, b.N-done), keys > 1)
				}
				b.StartTimer()
				r := follow(b, j)
				wait(b, j)
				b.StopTimer()
				_ = r.Drain(b.Context())
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "signals/s")
			})
			b.Run(fmt.Sprintf("%s/%s/raw", d, kind), func(b *testing.B) {
				nc := connect(b, server(b, d))
				open(b, nc)
				js, err := jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(1000))
				if err != nil {
					b.Fatal(err)
				}
				value := make([]byte, 330)
				b.ResetTimer()
				for i := range b.N * keys {
					m := &nats.Msg{Subject: fmt.Sprintf("$KV.SIG_default_JOURNAL.s.%022d.%011d", i, i), Data: value}
					if _, err := js.PublishMsgAsync(m, jetstream.WithStallWait(time.Minute)); err != nil {
						b.Fatal(err)
					}
				}
				<-js.PublishAsyncComplete()
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "signals/s")
			})
		}
	}
}

// fill puts signals on the bus, in trees of 20: each the effect of the one before, or plain.
func fill(b *testing.B, nc *nats.Conn, from, n int, graph bool) {
	b.Helper()
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(1000))
	if err != nil {
		b.Fatal(err)
	}
	for i := from; i < from+n; i++ {
		s := newSignal(b, fmt.Sprint("s", i))
		s.DataContentType = "text/plain"
		s.Data = make([]byte, 256)
		for k := range s.Data {
			s.Data[k] = 'x'
		}
		if graph {
			s.Subject = fmt.Sprint("c", i/20)
			if i%20 > 0 {
				s.Extensions = map[string]any{signal.ExtCausation: fmt.Sprint("s", i-1)}
			}
		}
		m := &nats.Msg{Subject: "sig.default." + s.Type, Data: s.AppendJSON(nil)}
		m.Header = nats.Header{"Content-Type": {"application/cloudevents+json"}}
		if _, err := js.PublishMsgAsync(m, jetstream.WithStallWait(time.Minute)); err != nil {
			b.Fatal(err)
		}
	}
	<-js.PublishAsyncComplete()
}

// BenchmarkLookup measures questions to a journal of 100,000 signals with causes and
// conversations, in trees of 20.
func BenchmarkLookup(b *testing.B) {
	const n = 100_000
	nc := connect(b, server(b, embed.Fast))
	j := open(b, nc)
	fill(b, nc, 0, n, true)
	follow(b, j)
	wait(b, j)
	id := func(i int) string { return fmt.Sprint("s", i*7919%n) }
	root := func(i int) string { return fmt.Sprint("s", i*7919%n/20*20) }
	for _, q := range []struct {
		name string
		ask  func(ctx context.Context, i int) error
	}{
		{"Lookup", func(ctx context.Context, i int) error { _, err := j.Lookup(ctx, id(i)); return err }},
		{"Get", func(ctx context.Context, i int) error { _, err := j.Get(ctx, id(i)); return err }},
		{"Cause", func(ctx context.Context, i int) error { _, _, err := j.Cause(ctx, id(i)); return err }},
		{"Effects", func(ctx context.Context, i int) error { _, err := j.Effects(ctx, id(i)); return err }},
		{"Conversation", func(ctx context.Context, i int) error {
			_, err := j.Conversation(ctx, fmt.Sprint("c", i%(n/20)))
			return err
		}},
		{"Trace20", func(ctx context.Context, i int) error {
			t, err := j.Trace(ctx, root(i), journal.Forward)
			if err == nil && len(t.Nodes) != 20 {
				err = fmt.Errorf("trace of %d", len(t.Nodes))
			}
			return err
		}},
		{"Query100", func(ctx context.Context, i int) error {
			_, err := j.Query(ctx, journal.Query{Source: "/test", Cursor: journal.Cursor(fmt.Sprint(1 + i%9))})
			return err
		}},
	} {
		b.Run(q.name, func(b *testing.B) {
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				if err := q.ask(b.Context(), i); err != nil {
					b.Fatal(err)
				}
				i++
			}
		})
	}
}

// BenchmarkPutVerdicts puts verdicts from 64 goroutines, as an agent does.
func BenchmarkPutVerdicts(b *testing.B) {
	for _, d := range []embed.Durability{embed.Fast, embed.Sync} {
		b.Run(string(d), func(b *testing.B) {
			j := open(b, connect(b, server(b, d)))
			v := []delivery.Verdict{{Route: "r", Target: "t", Status: delivery.Delivered, At: noon, Attempts: []delivery.Attempt{attempt(1, "")}}}
			b.ReportAllocs()
			b.SetParallelism(32)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					s := &signal.Signal{ID: signal.NewID().String(), Source: "/test"}
					if err := j.PutVerdicts(b.Context(), s, 1, v); err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}
