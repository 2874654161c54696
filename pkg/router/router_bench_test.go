package router_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats-server/v2/server/gsl"

	"github.com/signalmesh/signalmesh/pkg/router"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

// world is a set of patterns in the proportions that the project measures with (60 % exact,
// 25 % one "*", 15 % a "**" at the end) and the types of signals to route among them.
type world struct {
	patterns []string
	types    []string
}

func newWorld(n int) world {
	rng := rand.New(rand.NewPCG(1, uint64(n)))
	word := func(kind string, of int) string { return fmt.Sprintf("%s%d", kind, rng.IntN(of)) }
	randomType := func() []string {
		segs := []string{word("domain", 8+n/100), word("entity", 20), word("action", 12), word("tenant", 16), word("v", 3)}
		return segs[:3+rng.IntN(3)]
	}
	var w world
	for seen := map[string]bool{}; len(w.patterns) < n; {
		segs := randomType()
		switch i := len(w.patterns) % 20; {
		case i < 12:
		case i < 17:
			segs[rng.IntN(len(segs))] = "*"
		default:
			segs[len(segs)-1] = "**"
		}
		if p := strings.Join(segs, "."); !seen[p] {
			seen[p] = true
			w.patterns = append(w.patterns, p)
		}
	}
	for i := range 1 << 14 {
		segs := randomType()
		if i%2 == 0 { // one that some pattern selects
			segs = strings.Split(w.patterns[rng.IntN(n)], ".")
			for j := range segs {
				if segs[j] == "*" || segs[j] == "**" {
					segs[j] = word("any", 10)
				}
			}
		}
		w.types = append(w.types, strings.Join(segs, "."))
	}
	return w
}

func (w world) router(tb testing.TB) *router.Router[int] {
	routes := make([]router.Route[int], len(w.patterns))
	for i, p := range w.patterns {
		routes[i] = router.To(p, i)
	}
	r, err := router.New(routes...)
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

// gsl is the subject index of nats-server with the same patterns: "a.**" is "a" and "a.>".
func (w world) gsl(tb testing.TB) *gsl.GenericSublist[int] {
	sl := gsl.NewSublist[int]()
	insert := func(subject string, i int) {
		if err := sl.Insert(subject, i); err != nil {
			tb.Fatal(err)
		}
	}
	for i, p := range w.patterns {
		if lead, ok := strings.CutSuffix(p, ".**"); ok {
			insert(lead, i)
			insert(lead+".>", i)
		} else {
			insert(p, i)
		}
	}
	return sl
}

func (w world) signals() []*signal.Signal {
	signals := make([]*signal.Signal, len(w.types))
	for i, typ := range w.types {
		signals[i] = &signal.Signal{Type: typ}
	}
	return signals
}

var sizes = []int{100, 1_000, 10_000, 100_000}

// TestAgreesWithServerIndex holds the two sides of the benchmark together.
func TestAgreesWithServerIndex(t *testing.T) {
	t.Parallel()
	for _, n := range sizes {
		w := newWorld(n)
		r, sl := w.router(t), w.gsl(t)
		matches := 0
		for _, typ := range w.types {
			var got, want []int
			for i := range r.Route(&signal.Signal{Type: typ}) {
				got = append(got, i)
			}
			sl.Match(typ, func(i int) { want = append(want, i) })
			slices.Sort(got)
			slices.Sort(want)
			if !slices.Equal(got, want) {
				t.Fatalf("%d patterns: Route(%s) = %v, gsl finds %v", n, typ, got, want)
			}
			matches += len(got)
		}
		if matches == 0 {
			t.Errorf("%d patterns: no type matched, the comparison says nothing", n)
		}
		t.Logf("%d patterns: %.2f matches per type", n, float64(matches)/float64(len(w.types)))
	}
}

func BenchmarkRoute(b *testing.B) {
	for _, n := range sizes {
		w := newWorld(n)
		signals := w.signals()
		r := w.router(b)
		b.Run(fmt.Sprintf("routes=%d/impl=router", n), func(b *testing.B) {
			b.ReportAllocs()
			sum := 0
			for i := 0; b.Loop(); i++ {
				for target := range r.Route(signals[i%len(signals)]) {
					sum += target
				}
			}
		})
		sl := w.gsl(b)
		b.Run(fmt.Sprintf("routes=%d/impl=gsl", n), func(b *testing.B) {
			b.ReportAllocs()
			sum := 0
			for i := 0; b.Loop(); i++ {
				sl.Match(signals[i%len(signals)].Type, func(target int) { sum += target })
			}
		})
	}
}

// BenchmarkRouteParallel is BenchmarkRoute from as many goroutines as -cpu says.
func BenchmarkRouteParallel(b *testing.B) {
	for _, n := range sizes {
		w := newWorld(n)
		signals := w.signals()
		var starts atomic.Int64
		r := w.router(b)
		b.Run(fmt.Sprintf("routes=%d/impl=router", n), func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				sum := 0
				for i := int(starts.Add(1)) * 5_003; pb.Next(); i++ {
					for target := range r.Route(signals[i%len(signals)]) {
						sum += target
					}
				}
			})
		})
		sl := w.gsl(b)
		b.Run(fmt.Sprintf("routes=%d/impl=gsl", n), func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				sum := 0
				for i := int(starts.Add(1)) * 5_003; pb.Next(); i++ {
					sl.Match(signals[i%len(signals)].Type, func(target int) { sum += target })
				}
			})
		})
	}
}

func BenchmarkNew(b *testing.B) {
	for _, n := range sizes {
		w := newWorld(n)
		b.Run(fmt.Sprintf("routes=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				w.router(b)
			}
		})
	}
}

// BenchmarkWith adds one route to many, and BenchmarkWithout takes one away again.
func BenchmarkWith(b *testing.B) {
	for _, p := range []string{"new.exact.pattern", "domain1.entity1.*.new", "new.**"} {
		w := newWorld(100_000)
		r := w.router(b)
		b.Run("pattern="+p, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := r.With(router.To(p, 0)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkWithout(b *testing.B) {
	w := newWorld(100_000)
	r := w.router(b)
	for _, i := range []int{0, 12, 17} { // an exact pattern, one with "*", one with "**"
		p := w.patterns[i]
		b.Run("pattern="+p, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if r.Without(p) == r {
					b.Fatal("dropped nothing")
				}
			}
		})
	}
}
