package route_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/pattern"
	"github.com/signalmesh/signalmesh/pkg/route"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

const someRoutes = `
- {name: exact, on: order.created, to: [bare: {}]}
- {name: one, on: order.*, to: [bare: {}]}
- {name: one-first, on: order.*, priority: 5, to: [bare: {}]}
- {name: big, on: order.**, when: data.amount > 1000, to: [bare: {}]}
- {name: two, on: [order.**, "**", order.created], to: [bare: {}]}
- {name: off, on: order.**, disabled: true, to: [bare: {}]}
- {name: audit, on: audit.**, to: [bare: {}]}
- {name: rest, default: true, to: [bare: {}]}
- {name: rest-of-audit, default: true, on: audit.**, when: "false", to: [bare: {}]}
`

func TestTableOrder(t *testing.T) {
	t.Parallel()
	tab := table(t, strings.Replace(someRoutes, `"**", `, "", 1))
	for _, tt := range []struct {
		typ    string
		amount int
		want   []string
	}{
		{"order.created", 5000, []string{"exact", "two", "one-first", "one", "big"}},
		{"order.created", 5, []string{"exact", "two", "one-first", "one"}},
		{"order.shipped", 5000, []string{"one-first", "one", "big", "two"}},
		{"order", 5000, []string{"big", "two"}},
		{"audit.x", 0, []string{"audit"}},
		{"user.created", 0, []string{"rest"}},
	} {
		var got []string
		for _, r := range tab.Route(event(t, tt.typ, map[string]any{"amount": tt.amount})) {
			got = append(got, r.Name)
		}
		if !cmp.Equal(got, tt.want) {
			t.Errorf("Route(%s, %d) = %v, want %v", tt.typ, tt.amount, got, tt.want)
		}
	}
}

func TestExplain(t *testing.T) {
	t.Parallel()
	tab := table(t, someRoutes)
	var got []string
	for _, e := range tab.Explain(event(t, "order.created", map[string]any{"total": 1})) {
		got = append(got, fmt.Sprintf("%s %t: %s", e.Route.Name, e.Matched, e.Reason()))
	}
	want := []string{
		"exact true: selected by order.created",
		"two true: selected by order.**, **, order.created",
		"one-first true: selected by order.*",
		"one true: selected by order.*",
		"big false: the predicate failed: there is no data.amount; guard it with has(data.amount)",
		"audit false: the type is not selected by audit.**",
		"off false: the route is disabled",
		"rest false: another route takes the signal",
		"rest-of-audit false: the type is not selected by audit.**",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Explain (-want +got):\n%s", diff)
	}
}

func TestUnmatched(t *testing.T) {
	t.Parallel()
	tab := table(t, `
- {name: picky, on: "**", when: data.amount > 1000, to: [bare: {}]}
- {name: rest, default: true, to: [bare: {}]}
`)
	for _, data := range []any{map[string]any{"amount": 1}, nil, map[string]any{"x": 1}} {
		got := tab.Route(event(t, "a.b", data))
		if len(got) != 1 || got[0].Name != "rest" {
			t.Errorf("Route with data %v = %v, want rest", data, got)
		}
	}
	if got := tab.Evaluate(event(t, "a.b", nil)); len(got) != 2 || !fault.Is(got[0].Err, fault.Invalid) {
		t.Errorf("Evaluate = %+v, want an error and the default", got)
	}
}

func TestZeroTable(t *testing.T) {
	t.Parallel()
	var tab route.Table
	if got := tab.Route(event(t, "a", nil)); got != nil {
		t.Errorf("Route = %v, want none", got)
	}
	if got := tab.Explain(nil); got != nil || tab.Len() != 0 {
		t.Errorf("Explain = %v, want none", got)
	}
}

func TestCompileProblems(t *testing.T) {
	t.Parallel()
	p := route.Patterns{pattern.MustParse("a")}
	_, err := route.Compile(
		route.Route{Spec: route.Spec{Name: "twice", On: p}}, route.Route{Spec: route.Spec{Name: "twice", On: p}},
		route.Route{Spec: route.Spec{Name: "bad", On: p, When: "1 +"}}, route.Route{Spec: route.Spec{Name: "far", On: p, Priority: 101}},
	)
	if !fault.Is(err, fault.Invalid) {
		t.Fatalf("Compile = %v, want an invalid error", err)
	}
	for _, want := range []string{"route twice: two routes have this name", "route bad: when: 1:4: Syntax error", "priority 101"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("Compile = %v, want it to say %s", err, want)
		}
	}
}

func TestTableGet(t *testing.T) {
	t.Parallel()
	tab := table(t, someRoutes)
	if r, ok := tab.Get("off"); !ok || !r.Disabled || tab.Len() != 9 || len(tab.Routes()) != 9 {
		t.Errorf("Get(off) = %+v, %t", r, ok)
	}
	if _, ok := tab.Get("nope"); ok {
		t.Errorf("Get(nope) is there")
	}
}

// A table takes a signal where asking every pattern one by one does, each route once.
func TestTableAgainstPatterns(t *testing.T) {
	t.Parallel()
	segment := rapid.SampledFrom([]string{"a", "b", "*", "c"})
	rapid.Check(t, func(rt *rapid.T) {
		var routes []route.Route
		for i := range rapid.IntRange(0, 12).Draw(rt, "routes") {
			var on route.Patterns
			for range rapid.IntRange(1, 3).Draw(rt, "patterns") {
				text := strings.Join(rapid.SliceOfN(segment, 1, 4).Draw(rt, "segments"), ".")
				if rapid.Bool().Draw(rt, "tail") {
					text += ".**"
				}
				on = append(on, pattern.MustParse(text))
			}
			routes = append(routes, route.Route{Spec: route.Spec{Name: fmt.Sprint("r", i), On: on}})
		}
		tab, err := route.Compile(routes...)
		if err != nil {
			rt.Fatal(err)
		}
		typ := strings.Join(rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "c"}), 1, 5).Draw(rt, "type"), ".")
		got := map[string]int{}
		for _, r := range tab.Route(&signal.Signal{Type: typ}) {
			got[r.Name]++
		}
		for _, r := range routes {
			want := 0
			for _, p := range r.On {
				if p.Match(typ) {
					want = 1
				}
			}
			if got[r.Name] != want {
				rt.Fatalf("Route(%s) has %s on %s %d times, want %d", typ, r.Name, r.On, got[r.Name], want)
			}
		}
	})
}

func BenchmarkEvaluate(b *testing.B) {
	tab := table(b, someRoutes)
	s := event(b, "order.created", map[string]any{"amount": 5000})
	b.ReportAllocs()
	for b.Loop() {
		tab.Evaluate(s)
	}
}

// What another bus's routes take does not keep the default route of this one from it.
func TestTableOfOneBus(t *testing.T) {
	t.Parallel()
	whole := table(t, `
- {name: all, on: order.*, to: [bare: {}]}
- {name: other, bus: other, on: "**", to: [bare: {}]}
- {name: rest, default: true, to: [bare: {}]}
`)
	for _, tt := range []struct {
		bus, typ string
		want     []string
	}{
		{"shop", "order.created", []string{"all"}},
		{"shop", "user.left", []string{"rest"}},
		{"other", "order.created", []string{"all", "other"}},
		{"other", "user.left", []string{"other"}},
	} {
		var got []string
		for _, r := range whole.For(tt.bus).Route(event(t, tt.typ, nil)) {
			got = append(got, r.Name)
		}
		if !cmp.Equal(got, tt.want) {
			t.Errorf("For(%s).Route(%s) = %v, want %v", tt.bus, tt.typ, got, tt.want)
		}
	}
}
