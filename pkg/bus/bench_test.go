package bus_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/signalmesh/signalmesh/pkg/bus"
	"github.com/signalmesh/signalmesh/pkg/embed"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

// The bodies are 200 bytes or so, as most are.
type sample struct {
	Order, Customer, Note string
	Cents, Items          int
}

var benchData = sample{"o-1029384", "c-5647382910", "leave it with the neighbours, they are at home all day", 4200, 3}

var durabilities = []embed.Durability{embed.Fast, embed.Sync}

func BenchmarkPublish(b *testing.B) {
	for _, d := range durabilities {
		b.Run(string(d), func(b *testing.B) {
			bs := join(b, serve(b, d))
			b.ReportAllocs()
			for b.Loop() {
				publish(b, bs, make1(b, "order.created", benchData))
			}
		})
	}
}

func BenchmarkPublishConcurrently(b *testing.B) {
	for _, d := range durabilities {
		for _, writers := range []int{8, 64, 512} {
			b.Run(fmt.Sprintf("%s/%d", d, writers), func(b *testing.B) {
				bs := join(b, serve(b, d))
				b.ReportAllocs()
				b.SetParallelism(writers / 2)
				b.ResetTimer()
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						if err := bs.Publish(context.Background(), make1(b, "order.created", benchData)); err != nil {
							b.Error(err)
							return
						}
					}
				})
			})
		}
	}
}

func BenchmarkPublishBatch(b *testing.B) {
	for _, d := range durabilities {
		for _, n := range []int{10, 100, 1000} {
			b.Run(fmt.Sprintf("%s/%d", d, n), func(b *testing.B) {
				bs := join(b, serve(b, d))
				b.ReportAllocs()
				for b.Loop() {
					signals := make([]*signal.Signal, n)
					for i := range signals {
						signals[i] = make1(b, "order.created", benchData)
					}
					publish(b, bs, signals...)
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/signal")
			})
		}
	}
}

// From the call of Publish to the call of the handler, one after the other.
func BenchmarkLatency(b *testing.B) {
	for kind, opts := range kinds {
		b.Run(kind, func(b *testing.B) {
			bs := open(b)
			got := make(chan *signal.Signal, 1)
			subscribe(b, bs, "order.*", to(got), opts...)
			b.ReportAllocs()
			for b.Loop() {
				publish(b, bs, make1(b, "order.created", benchData))
				<-got
			}
		})
	}
}

// Handling a backlog.
func BenchmarkSubscribe(b *testing.B) {
	for kind, opts := range kinds {
		for _, concurrency := range []int{1, 16} {
			b.Run(fmt.Sprintf("%s/%d", kind, concurrency), func(b *testing.B) {
				bs := open(b)
				fill(b, bs, b.N)
				all := make(chan bool, 1)
				var n atomic.Int64
				b.ReportAllocs()
				b.ResetTimer()
				subscribe(b, bs, "order.*", func(context.Context, *signal.Signal) error {
					if n.Add(1) == int64(b.N) {
						all <- true
					}
					return nil
				}, append([]bus.SubscribeOption{bus.Concurrency(concurrency), bus.FromOrigin()}, opts...)...)
				await(b, all, "all signals")
			})
		}
	}
}

func BenchmarkReplay(b *testing.B) {
	bs := open(b)
	fill(b, bs, b.N)
	n := 0
	b.ReportAllocs()
	b.ResetTimer()
	for _, err := range bs.Replay(b.Context(), "order.*") {
		if err != nil {
			b.Fatal(err)
		}
		n++
	}
	if n != b.N {
		b.Fatalf("replayed %d of %d", n, b.N)
	}
}

func fill(b *testing.B, bs *bus.Bus, n int) {
	for n > 0 {
		signals := make([]*signal.Signal, min(n, bus.MaxBatch))
		for i := range signals {
			signals[i] = make1(b, "order.created", benchData)
		}
		publish(b, bs, signals...)
		n -= len(signals)
	}
}
