//go:build !race

package router_test

import (
	"fmt"
	"testing"
)

// TestRouteDoesNotAllocate does not run under the race detector, with which sync.Pool drops
// at random what it is given.
func TestRouteDoesNotAllocate(t *testing.T) {
	for _, n := range sizes {
		w := newWorld(n)
		r, signals := w.router(t), w.signals()
		i, sum := 0, 0
		allocs := testing.AllocsPerRun(2000, func() {
			for target := range r.Route(signals[i%len(signals)]) {
				sum += target
			}
			i++
		})
		if allocs != 0 {
			t.Errorf("Route among %d patterns allocates %g times, want 0", n, allocs)
		}
	}
	many := build(t, fmt.Sprint("a.b **", " *.b@1 a.*@2 **.b@3 a.** *.**"))
	s := of("a.b")
	if allocs := testing.AllocsPerRun(1000, func() {
		for range many.Route(s) {
		}
	}); allocs != 0 {
		t.Errorf("Route with 7 matches allocates %g times, want 0", allocs)
	}
}
