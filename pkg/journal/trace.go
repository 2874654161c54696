package journal

import (
	"context"
	"errors"
	"fmt"

	"github.com/signalmesh/signalmesh/pkg/fault"
)

// A Direction is which way a trace goes.
type Direction string

// The directions of a trace.
const (
	Forward  Direction = "forward"  // to what the signal caused
	Backward Direction = "backward" // to what caused the signal
)

// A Trace is the part of the graph of causes and effects that can be reached from one signal
// in one direction. Each signal is in it once, however many ways lead to it.
type Trace struct {
	Direction Direction `json:"direction"`
	Nodes     []Node    `json:"nodes"` // nearest first; the first is where the trace began
	Edges     []Edge    `json:"edges"` // in the order in which they were followed
	Truncated bool      `json:"truncated,omitempty"`
}

// A Node is a signal in a trace.
type Node struct {
	Entry
	Depth   int  `json:"depth"`             // steps from where the trace began, by the shortest way
	Missing bool `json:"missing,omitempty"` // named by another signal, but not in the journal
}

// An Edge leads from a cause to its effect. Both are indexes into the nodes of the trace.
type Edge struct {
	Cause  int `json:"cause"`
	Effect int `json:"effect"`
}

// Trace returns what the signal with this id caused, or what caused it, directly and
// indirectly. There is no bound on the depth, cycles in what was recorded do no harm, and
// [Limit] bounds the number of signals. It costs one request for each step of depth and
// each hundred signals.
//
// A signal that the journal has only heard of, as the cause of others, can be traced forward.
// [ErrNotFound] if it has not, an [*AmbiguousError] if several signals have the id.
func (j *Journal) Trace(ctx context.Context, id string, d Direction, opts ...TraceOption) (*Trace, error) {
	var q query
	for _, o := range opts {
		o.trace(&q)
	}
	if d != Forward && d != Backward {
		return nil, fault.Newf(fault.Invalid, "trace %q: direction %q is neither %s nor %s", id, d, Forward, Backward)
	}
	t := tracer{
		j: j, limit: q.limit, out: &Trace{Direction: d, Nodes: []Node{}, Edges: []Edge{}},
		index: make(map[[2]string]int), byID: make(map[string][]int), edges: make(map[Edge]bool),
	}
	if err := t.run(ctx, id, q); err != nil {
		return nil, fmt.Errorf("trace %q: %w", id, err)
	}
	return t.out, nil
}

// tracer builds one trace, breadth first.
type tracer struct {
	j     *Journal
	limit int
	out   *Trace

	index map[[2]string]int // (id, source) of each node
	byID  map[string][]int  // nodes of each id
	edges map[Edge]bool
	depth int
}

func (t *tracer) run(ctx context.Context, id string, q query) error {
	root, err := t.j.find(ctx, id, q)
	hearsay := errors.Is(err, ErrNotFound) && t.out.Direction == Forward && !q.chosen
	switch {
	case hearsay:
		t.add(Node{Entry: Entry{ID: id}, Missing: true})
	case err != nil:
		return err
	default:
		t.add(Node{Entry: root.Entry})
	}
	if t.out.Direction == Backward {
		return t.backward(ctx, []*Record{root})
	}
	err = t.forward(ctx)
	if err == nil && hearsay && len(t.out.Nodes) == 1 {
		return ErrNotFound
	}
	return err
}

// forward goes from the nodes that are there to all their effects.
func (t *tracer) forward(ctx context.Context) error {
	for done := 0; done < len(t.out.Nodes) && !t.out.Truncated; {
		level := t.idsFrom(done)
		done = len(t.out.Nodes)
		if err := t.effects(ctx, level); err != nil {
			return err
		}
	}
	return nil
}

// idsFrom returns the ids of the nodes from an index on, each once.
func (t *tracer) idsFrom(n int) []string {
	var ids []string
	for i := n; i < len(t.out.Nodes); i++ {
		if id := t.out.Nodes[i].ID; t.byID[id][0] == i || t.byID[id][0] < n {
			ids = append(ids, id)
		}
	}
	return ids
}

// effects adds what the signals with the ids caused.
func (t *tracer) effects(ctx context.Context, ids []string) error {
	filters := make([]string, len(ids))
	for i, id := range ids {
		filters[i] = t.j.keys.edges(id)
	}
	msgs, err := t.j.read.all(ctx, t.j.bucket, filters)
	if err != nil {
		return err
	}
	t.depth++
	for _, m := range live(msgs) {
		d, err := readDocument(m)
		if err != nil {
			t.j.unreadable(err)
			continue
		}
		effect, ok := t.add(Node{Entry: d.entry(), Depth: t.depth})
		if !ok {
			return nil
		}
		t.link(t.byID[d.Cause], effect)
	}
	return nil
}

// backward goes from the records of a level to all their causes.
func (t *tracer) backward(ctx context.Context, level []*Record) error {
	for len(level) > 0 {
		t.depth++
		wanted := t.unknownCauses(level)
		found, err := t.j.recordsOf(ctx, wanted...)
		if err != nil {
			return err
		}
		for _, r := range found {
			t.add(Node{Entry: r.Entry, Depth: t.depth})
		}
		for _, id := range wanted {
			if len(t.byID[id]) == 0 {
				t.add(Node{Entry: Entry{ID: id}, Depth: t.depth, Missing: true})
			}
		}
		for _, r := range level {
			for _, c := range r.Causes {
				t.link(t.byID[c], t.index[[2]string{r.ID, r.Source}])
			}
		}
		if t.out.Truncated {
			return nil
		}
		level = found
	}
	return nil
}

// unknownCauses returns the causes of the records that are not in the trace, each once.
func (t *tracer) unknownCauses(level []*Record) []string {
	var ids []string
	asked := make(map[string]bool)
	for _, r := range level {
		for _, c := range r.Causes {
			if len(t.byID[c]) == 0 && !asked[c] {
				asked[c] = true
				ids = append(ids, c)
			}
		}
	}
	return ids
}

// add returns the index of the node, which it adds if it is new. ok is false if the trace is
// full.
func (t *tracer) add(n Node) (index int, ok bool) {
	key := [2]string{n.ID, n.Source}
	if i, known := t.index[key]; known {
		return i, true
	}
	if t.limit > 0 && len(t.out.Nodes) == t.limit {
		t.out.Truncated = true
		return 0, false
	}
	i := len(t.out.Nodes)
	t.out.Nodes = append(t.out.Nodes, n)
	t.index[key] = i
	t.byID[n.ID] = append(t.byID[n.ID], i)
	return i, true
}

// link adds the edges from the causes to the effect. A cause is named by its id alone, so
// more than one signal may be meant; the effect itself never is.
func (t *tracer) link(causes []int, effect int) {
	for _, c := range causes {
		e := Edge{Cause: c, Effect: effect}
		if (c != effect || len(causes) == 1) && !t.edges[e] {
			t.edges[e] = true
			t.out.Edges = append(t.out.Edges, e)
		}
	}
}
