package journal_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/journal"
	"github.com/signalmesh/signalmesh/pkg/pattern"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

func TestTraceShowsEachOnce(t *testing.T) {
	t.Parallel()
	j, _ := setup(t)
	record(t, j, "r", "", "p", "r", "m", "r", "q", "p", "q", "m", "s", "q")
	for _, tt := range []struct {
		id    string
		d     journal.Direction
		nodes []string
		edges []string
	}{
		{"r", journal.Forward, []string{"r", "p", "m", "q", "s"}, []string{"m>q", "p>q", "q>s", "r>m", "r>p"}},
		{"s", journal.Backward, []string{"s", "q", "p", "m", "r"}, []string{"m>q", "p>q", "q>s", "r>m", "r>p"}},
		{"p", journal.Backward, []string{"p", "r"}, []string{"r>p"}},
		{"s", journal.Forward, []string{"s"}, nil},
	} {
		trace, err := j.Trace(t.Context(), tt.id, tt.d)
		if err != nil {
			t.Fatal(err)
		}
		nodes, edges := traced(trace)
		if diff := cmp.Diff(tt.nodes, nodes); diff != "" {
			t.Errorf("Trace(%s, %s) nodes differ (-want +got):\n%s", tt.id, tt.d, diff)
		}
		if diff := cmp.Diff(tt.edges, edges); diff != "" {
			t.Errorf("Trace(%s, %s) edges differ (-want +got):\n%s", tt.id, tt.d, diff)
		}
	}
}

// The bus is recorded as it is, so cycles can get in.
func TestTraceEndsOnCycles(t *testing.T) {
	t.Parallel()
	j, nc := setup(t)
	follow(t, j)
	caused := func(id, by string) *signal.Signal {
		return newSignal(t, id, signal.Ext(signal.ExtCausation, by))
	}
	publish(t, nc, caused("a", "c"), caused("b", "a"), caused("c", "b"), caused("self", "self"))
	wait(t, j)
	for _, d := range []journal.Direction{journal.Forward, journal.Backward} {
		trace, err := j.Trace(t.Context(), "a", d)
		if err != nil {
			t.Fatal(err)
		}
		nodes, edges := traced(trace)
		if slices.Sort(nodes); !slices.Equal(nodes, []string{"a", "b", "c"}) || len(edges) != 3 {
			t.Errorf("Trace(a, %s) = %v, %v", d, nodes, edges)
		}
		var out bytes.Buffer
		if err := trace.WriteTree(&out); err != nil || strings.Count(out.String(), "\n") != 4 {
			t.Errorf("tree of a cycle (%v):\n%s", err, out.String())
		}
		trace, err = j.Trace(t.Context(), "self", d)
		if _, edges := traced(trace); err != nil || !slices.Equal(edges, []string{"self>self"}) {
			t.Errorf("Trace(self, %s) = %v, %v", d, edges, err)
		}
	}
	if err := j.Record(t.Context(), newSignal(t, "a"), "b"); !errors.Is(err, journal.ErrCycle) {
		t.Errorf("Record into a cycle = %v, want ErrCycle", err)
	}
}

func TestTraceNamesWhatItHasNotSeen(t *testing.T) {
	t.Parallel()
	j, nc := setup(t)
	follow(t, j)
	publish(t, nc, newSignal(t, "effect", signal.Ext(signal.ExtCausation, "elsewhere")))
	wait(t, j)
	trace, err := j.Trace(t.Context(), "effect", journal.Backward)
	if err != nil || len(trace.Nodes) != 2 || !trace.Nodes[1].Missing || trace.Nodes[1].ID != "elsewhere" {
		t.Errorf("Trace(effect, backward) = %+v, %v", trace, err)
	}
	trace, err = j.Trace(t.Context(), "elsewhere", journal.Forward)
	if err != nil || len(trace.Nodes) != 2 || !trace.Nodes[0].Missing || trace.Nodes[1].ID != "effect" {
		t.Errorf("Trace(elsewhere, forward) = %+v, %v", trace, err)
	}
	if c, ok, err := j.Cause(t.Context(), "effect"); err != nil || !ok || c.ID != "elsewhere" || c.Type != "" {
		t.Errorf("Cause(effect) = %+v, %v, %v", c, ok, err)
	}
}

func TestDeepAndWideTraces(t *testing.T) {
	t.Parallel()
	j, nc := setup(t)
	follow(t, j)
	cause := ""
	var all []*signal.Signal
	for _, id := range numbered("deep", 400) {
		all = append(all, newSignal(t, id, signal.Ext(signal.ExtCausation, cause)))
		cause = id
	}
	for _, id := range numbered("wide", 2500) {
		all = append(all, newSignal(t, id, signal.Ext(signal.ExtCausation, cause)))
	}
	for _, s := range all {
		if s.Causation() == "" {
			delete(s.Extensions, signal.ExtCausation)
		}
	}
	publish(t, nc, all...)
	wait(t, j)

	trace, err := j.Trace(t.Context(), "deep0", journal.Forward)
	if err != nil || len(trace.Nodes) != len(all) || len(trace.Edges) != len(all)-1 || trace.Truncated {
		t.Fatalf("Trace(deep0) has %d nodes, %v, want %d", len(trace.Nodes), err, len(all))
	}
	if last := trace.Nodes[len(all)-1]; last.Depth != 400 {
		t.Errorf("depth of %s = %d, want 400", last.ID, last.Depth)
	}
	trace, err = j.Trace(t.Context(), "deep0", journal.Forward, journal.Limit(7))
	if err != nil || len(trace.Nodes) != 7 || !trace.Truncated {
		t.Errorf("Trace(deep0, 7) has %d nodes, truncated %t, %v", len(trace.Nodes), trace.Truncated, err)
	}
	trace, err = j.Trace(t.Context(), "wide7", journal.Backward, journal.Limit(3))
	if err != nil || len(trace.Nodes) != 3 || !trace.Truncated {
		t.Errorf("Trace(wide7, 3) has %d nodes, truncated %t, %v", len(trace.Nodes), trace.Truncated, err)
	}

	// More effects than one answer of the server may hold.
	var got []string
	pages := 0
	for cursor := journal.Cursor(""); ; pages++ {
		page, err := j.Effects(t.Context(), cause, journal.Limit(400), journal.After(cursor))
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, ids(page.Entries)...)
		if cursor = page.Next; cursor == "" {
			break
		}
	}
	if diff := cmp.Diff(numbered("wide", 2500), got); diff != "" || pages != 6 {
		t.Errorf("Effects in %d pages differ (-want +got):\n%s", pages, diff)
	}
}

func TestConversation(t *testing.T) {
	t.Parallel()
	j, _ := setup(t)
	for i := range 25 {
		opt := signal.About("order-1")
		if i%5 == 0 {
			opt = signal.Correlate("order-1")
		}
		if err := j.Record(t.Context(), newSignal(t, fmt.Sprint("s", i), opt), ""); err != nil {
			t.Fatal(err)
		}
	}
	record(t, j, "other", "")
	page, err := j.Conversation(t.Context(), "order-1")
	if err != nil || !slices.Equal(ids(page.Entries), numbered("s", 25)) || page.Next != "" {
		t.Errorf("Conversation = %v, %v", ids(page.Entries), err)
	}
	page, err = j.Conversation(t.Context(), "order-1", journal.Limit(10), journal.After("1a"))
	if err != nil || len(page.Entries) > 10 {
		t.Errorf("Conversation(limit 10) = %v, %v", ids(page.Entries), err)
	}
	if _, err := j.Conversation(t.Context(), "order-1", journal.After("not one")); !fault.Is(err, fault.Invalid) {
		t.Errorf("Conversation with a bad cursor = %v, want Invalid", err)
	}
}

func TestQuery(t *testing.T) {
	t.Parallel()
	j, _ := setup(t)
	start := time.Date(2024, 3, 1, 0, 0, 0, 0, time.UTC)
	for i := range 30 {
		s, err := signal.New([]string{"order.created", "order.paid", "user.made"}[i%3], nil,
			signal.WithID(fmt.Sprint(i)), signal.From([]string{"/a", "/b"}[i%2]),
			signal.About(fmt.Sprint("o-", i%5)), signal.At(start.Add(time.Duration(i)*time.Hour)))
		if err != nil {
			t.Fatal(err)
		}
		if err := j.Record(t.Context(), s, ""); err != nil {
			t.Fatal(err)
		}
	}
	hour := func(n int) time.Time { return start.Add(time.Duration(n) * time.Hour) }
	for _, tt := range []struct {
		name string
		q    journal.Query
		want []string
	}{
		{"pattern", journal.Query{Pattern: pattern.MustParse("order.*"), Before: hour(6)}, []string{"0", "1", "3", "4"}},
		{"source", journal.Query{Source: "/b", Before: hour(6)}, []string{"1", "3", "5"}},
		{"subject", journal.Query{Subject: "o-2"}, []string{"2", "7", "12", "17", "22", "27"}},
		{"subject and time", journal.Query{Subject: "o-2", After: hour(7), Before: hour(22)}, []string{"7", "12", "17"}},
		{"time", journal.Query{After: hour(27)}, []string{"27", "28", "29"}},
		{"all at once", journal.Query{
			Pattern: pattern.MustParse("**.paid"), Source: "/a", Subject: "o-0", After: hour(1), Before: hour(29),
		}, []string{"10"}},
		{"nothing", journal.Query{Pattern: pattern.MustParse("nothing.here")}, []string{}},
		{"future", journal.Query{After: time.Now().Add(time.Hour)}, []string{}},
	} {
		page, err := j.Query(t.Context(), tt.q)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tt.want, ids(page.Entries)); diff != "" || page.Next != "" {
			t.Errorf("%s: Query differs, next %q (-want +got):\n%s", tt.name, page.Next, diff)
		}
		var paged []string
		tt.q.Limit = 2
		for {
			page, err := j.Query(t.Context(), tt.q)
			if err != nil || len(page.Entries) > 2 {
				t.Fatalf("%s: page %+v, %v", tt.name, page, err)
			}
			paged = append(paged, ids(page.Entries)...)
			if tt.q.Cursor = page.Next; page.Next == "" {
				break
			}
		}
		if !slices.Equal(paged, tt.want) {
			t.Errorf("%s: in pages %v, want %v", tt.name, paged, tt.want)
		}
	}
}

func TestTraceRendering(t *testing.T) {
	t.Parallel()
	at := signal.At(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
	j, _ := setup(t)
	put := func(id, cause string, opts ...signal.Option) {
		if err := j.Record(t.Context(), newSignal(t, id, append(opts, at)...), cause); err != nil {
			t.Fatal(err)
		}
	}
	put("r", "", signal.About("x"))
	put("p", "r")
	put("m", "r")
	put("q", "p")
	put("q", "m")
	put("evil <#\"\u202e", "q")
	trace, err := j.Trace(t.Context(), "r", journal.Forward)
	if err != nil {
		t.Fatal(err)
	}
	var tree, mermaid bytes.Buffer
	if err := trace.WriteTree(&tree); err != nil {
		t.Fatal(err)
	}
	if err := trace.WriteMermaid(&mermaid); err != nil {
		t.Fatal(err)
	}
	wantTree := `test.made  r  /test  x  2026-01-02T03:04:05Z
├─ test.made  p  /test  2026-01-02T03:04:05Z
│  └─ test.made  q  /test  2026-01-02T03:04:05Z
│     └─ test.made  "evil <#\"\u202e"  /test  2026-01-02T03:04:05Z
└─ test.made  m  /test  2026-01-02T03:04:05Z
   └─ test.made  q  /test  2026-01-02T03:04:05Z  (see above)
`
	if diff := cmp.Diff(wantTree, tree.String()); diff != "" {
		t.Errorf("tree differs (-want +got):\n%s", diff)
	}
	wantMermaid := `flowchart TD
  n0["test.made<br/>r"]
  n1["test.made<br/>p"]
  n2["test.made<br/>m"]
  n3["test.made<br/>q"]
  n4["test.made<br/>evil #60;#35;#34;#8238;"]
  n0 --> n1
  n0 --> n2
  n1 --> n3
  n2 --> n3
  n3 --> n4
`
	if diff := cmp.Diff(wantMermaid, mermaid.String()); diff != "" {
		t.Errorf("mermaid differs (-want +got):\n%s", diff)
	}
}
