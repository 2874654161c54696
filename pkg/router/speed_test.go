//go:build !race

package router_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/signalmesh/signalmesh/pkg/router"
)

// TestChangesAreFast holds the promise that one route more or less among 100,000 takes less
// than a millisecond. It takes microseconds, so a slow machine does not matter; a copy of
// the index would take a hundred times the bound.
func TestChangesAreFast(t *testing.T) {
	const rounds = 50
	r := newWorld(100_000).router(t)
	for _, text := range []string{"quite.new", "new.*", "**.new.x", "domain1.entity1.action1", "domain1.entity1.*", "**"} {
		with, without := time.Hour, time.Hour
		for i := range rounds {
			start := time.Now()
			more, err := r.With(router.To(text, i))
			with = min(with, time.Since(start))
			if err != nil {
				t.Fatal(err)
			}
			start = time.Now()
			less := more.Without(text)
			without = min(without, time.Since(start))
			if more.Len() != r.Len()+1 || less.Len() > r.Len() {
				t.Fatalf("%d routes, %d with %s and %d without", r.Len(), more.Len(), text, less.Len())
			}
		}
		if got := fmt.Sprintf("With %v, Without %v", with, without); with > time.Millisecond || without > time.Millisecond {
			t.Errorf("%s among 100,000 routes: %s, want less than 1ms", text, got)
		}
	}
}
