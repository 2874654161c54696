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
// 25 % one "*" anywhere, 15 % a "**" at the end) and the types of signals to route among
// them, half of which some pattern selects for certain.
type world struct {
	patterns []string
	types    []string
}

// newWorld has n patterns of three to five segments over words that grow in number with n,
// so that a type matches about one of them, however many there are.
func newWorld(n int) world {
	rng := rand.New(rand.NewPCG(1, uint64(n)))
	return fill(n, rng, func() []string {
		segs := []string{
			word(rng, "domain", 8+n/100), word(rng, "entity", 20), word(rng, "action", 12),
			word(rng, "tenant", 16), word(rng, "v", 3),
		}
		return segs[:3+rng.IntN(3)]
	})
}

// newFlatWorld has n patterns of three segments over 70 words each, however many there are:
// of 100,000 a type matches eight.
func newFlatWorld(n int) world {
	rng := rand.New(rand.NewPCG(2, uint64(n)))
	return fill(n, rng, func() []string {
		return []string{word(rng, "domain", 70), word(rng, "entity", 70), word(rng, "action", 70)}
	})
}

func word(rng *rand.Rand, kind string, of int) string { return fmt.Sprintf("%s%d", kind, rng.IntN(of)) }

func fill(n int, rng *rand.Rand, randomType func() []string) world {
	var w world
	for len(w.patterns) < n {
		segs := randomType()
		switch i := len(w.patterns) % 20; {
		case i < 12:
		case i < 17:
			segs[rng.IntN(len(segs))] = "*"
		default:
			segs[len(segs)-1] = "**"
		}
		w.patterns = append(w.patterns, strings.Join(segs, "."))
	}
	for i := range 1 << 14 {
		segs := randomType()
		if i%2 == 0 {
			segs = strings.Split(w.patterns[rng.IntN(n)], ".")
			for j := range segs {
				if segs[j] == "*" || segs[j] == "**" {
					segs[j] = word(rng, "any", 10)
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
		agree(t, fmt.Sprintf("%d patterns", n), newWorld(n))
		agree(t, fmt.Sprintf("%d patterns, flat", n), newFlatWorld(n))
	}
}

func agree(t *testing.T, name string, w world) {
	r, sl := w.router(t), w.gsl(t)
	matches := 0
	for _, typ := range w.types {
		var got, want []int
		for i := range r.Route(of(typ)) {
			got = append(got, i)
		}
		sl.Match(typ, func(i int) { want = append(want, i) })
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Fatalf("%s: Route(%s) = %v, gsl finds %v", name, typ, got, want)
		}
		matches += len(got)
	}
	if matches == 0 {
		t.Errorf("%s: no type matched, the comparison says nothing", name)
	}
	t.Logf("%s: %.2f matches per type", name, float64(matches)/float64(len(w.types)))
}

// eachSide runs a benchmark on the router, and on nats-server's index for comparison.
func eachSide(b *testing.B, run func(b *testing.B, signals []*signal.Signal, match func(*signal.Signal, func(int)))) {
	for _, n := range sizes {
		for name, w := range map[string]world{"deep": newWorld(n), "flat": newFlatWorld(n)} {
			signals, r, sl := w.signals(), w.router(b), w.gsl(b)
			b.Run(fmt.Sprintf("world=%s/routes=%d/impl=router", name, n), func(b *testing.B) {
				run(b, signals, func(s *signal.Signal, yield func(int)) {
					for target := range r.Route(s) {
						yield(target)
					}
				})
			})
			b.Run(fmt.Sprintf("world=%s/routes=%d/impl=gsl", name, n), func(b *testing.B) {
				run(b, signals, func(s *signal.Signal, yield func(int)) { sl.Match(s.Type, yield) })
			})
		}
	}
}

func BenchmarkRoute(b *testing.B) {
	eachSide(b, func(b *testing.B, signals []*signal.Signal, match func(*signal.Signal, func(int))) {
		b.ReportAllocs()
		sum := 0
		add := func(target int) { sum += target }
		for i := 0; b.Loop(); i++ {
			match(signals[i%len(signals)], add)
		}
	})
}

// BenchmarkRouteParallel is BenchmarkRoute from as many goroutines as -cpu says.
func BenchmarkRouteParallel(b *testing.B) {
	var starts atomic.Int64
	eachSide(b, func(b *testing.B, signals []*signal.Signal, match func(*signal.Signal, func(int))) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			sum := 0
			add := func(target int) { sum += target }
			for i := int(starts.Add(1)) * 5_003; pb.Next(); i++ {
				match(signals[i%len(signals)], add)
			}
		})
	})
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
