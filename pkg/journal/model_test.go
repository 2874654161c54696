package journal_test

import (
	"fmt"
	"slices"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"

	"github.com/signalmesh/signalmesh/pkg/journal"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

// A trace has exactly the signals and edges that a walk over what was recorded finds.
func TestTraceAgainstModel(t *testing.T) {
	t.Parallel()
	j, _ := setup(t)
	var round atomic.Int64
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.IntRange(1, 12).Draw(rt, "signals")
		prefix := fmt.Sprintf("r%d-", round.Add(1))
		id := func(i int) string { return fmt.Sprint(prefix, i) }
		causes := make([][]int, n)
		for i := range n {
			own := -1
			if i > 0 && rapid.Bool().Draw(rt, "names a cause") {
				own = rapid.IntRange(0, i-1).Draw(rt, "own cause")
			}
			var more []int
			if i > 0 {
				more = rapid.SliceOfNDistinct(rapid.IntRange(0, i-1), 0, min(i, 3), rapid.ID[int]).Draw(rt, "added causes")
			}
			var opts []signal.Option
			if own >= 0 {
				opts = append(opts, signal.Ext(signal.ExtCausation, id(own)))
				causes[i] = append(causes[i], own)
			}
			s := newSignal(t, id(i), opts...)
			if err := j.Record(t.Context(), s, ""); err != nil {
				rt.Fatal(err)
			}
			for _, c := range more {
				if err := j.Record(t.Context(), s, id(c)); err != nil {
					rt.Fatal(err)
				}
				if c != own {
					causes[i] = append(causes[i], c)
				}
			}
		}
		start := rapid.IntRange(0, n-1).Draw(rt, "start")
		for _, d := range []journal.Direction{journal.Forward, journal.Backward} {
			trace, err := j.Trace(t.Context(), id(start), d)
			if err != nil {
				rt.Fatal(err)
			}
			nodes, edges := traced(trace)
			wantNodes, wantEdges := walk(causes, start, d, id)
			slices.Sort(nodes)
			if !slices.Equal(nodes, wantNodes) || !slices.Equal(edges, wantEdges) {
				rt.Fatalf("Trace(%s, %s) = %v, %v\nwant %v, %v", id(start), d, nodes, edges, wantNodes, wantEdges)
			}
		}
	})
}

// walk is the model: everything that can be reached, and the edges on the way.
func walk(causes [][]int, start int, d journal.Direction, id func(int) string) (nodes, edges []string) {
	next := make([][]int, len(causes))
	for effect, cs := range causes {
		for _, c := range cs {
			if d == journal.Forward {
				next[c] = append(next[c], effect)
			} else {
				next[effect] = append(next[effect], c)
			}
		}
	}
	seen := map[int]bool{start: true}
	for queue := []int{start}; len(queue) > 0; queue = queue[1:] {
		for _, to := range next[queue[0]] {
			cause, effect := queue[0], to
			if d == journal.Backward {
				cause, effect = to, queue[0]
			}
			edges = append(edges, id(cause)+">"+id(effect))
			if !seen[to] {
				seen[to] = true
				queue = append(queue, to)
			}
		}
	}
	for i := range seen {
		nodes = append(nodes, id(i))
	}
	slices.Sort(nodes)
	slices.Sort(edges)
	return nodes, edges
}
