package router_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/internal/vectors"
	"github.com/signalmesh/signalmesh/pkg/pattern"
	"github.com/signalmesh/signalmesh/pkg/router"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

func of(typ string) *signal.Signal { return &signal.Signal{Type: typ} }

func targets[T any](r *router.Router[T], typ string) []T { return slices.Collect(r.Route(of(typ))) }

// build makes a router whose targets are its patterns. A field "order.*@5" has priority 5.
func build(t *testing.T, fields string) *router.Router[string] {
	t.Helper()
	var routes []router.Route[string]
	for _, field := range strings.Fields(fields) {
		text, priority, _ := strings.Cut(field, "@")
		n := 0
		if priority != "" {
			if _, err := fmt.Sscan(priority, &n); err != nil {
				t.Fatal(err)
			}
		}
		routes = append(routes, router.To(text, field, router.Priority(n)))
	}
	r, err := router.New(routes...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestRouteVectors(t *testing.T) {
	t.Parallel()
	for _, v := range vectors.Matches(t) {
		if got := len(targets(build(t, v.Pattern), v.Type)) == 1; got != v.Want {
			t.Errorf("a route of %s takes %q: %t, want %t", v.Pattern, v.Type, got, v.Want)
		}
	}
}

func TestOrder(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ routes, typ, want string }{
		// specificity
		{"** *.*.* a.** a.*.* a.b.* a.*.c *.b.c **.c a.b.c a.b.**", "a.b.c", "a.b.c a.b.* a.b.** a.*.c *.b.c a.*.* a.** **.c *.*.* **"},
		{"a.** a", "a", "a a.**"}, // though the score of a.** is higher
		{"a.b.** **.a.b a.b", "a.b", "a.b a.b.** **.a.b"},
		// then priority
		{"a.*@1 a.*@-100 a.*@100 a.* a.*@2", "a.b", "a.*@100 a.*@2 a.*@1 a.* a.*@-100"},
		{"a@-100 *@100", "a", "a@-100 *@100"},
		// of equally specific patterns too
		{"x.*.**@1 x.*.**@3 x.*.**@2", "x.y", "x.*.**@3 x.*.**@2 x.*.**@1"},
		// then registration
		{"a@0 a@00 a@000 a@0000 a@00000", "a", "a@0 a@00 a@000 a@0000 a@00000"},
		{"*@7 b *@07 *@007", "b", "b *@7 *@07 *@007"},
		// once, in however many ways the pattern fits
		{"a.**.e", "a.x.e.y.e", "a.**.e"},
		{"**.a.**.b.** **.*.**", "a.b.a.b.a.b", "**.a.**.b.** **.*.**"},
		{"**.a.**.a.**.a.**.a.**", strings.Repeat("a.", 15) + "a", "**.a.**.a.**.a.**.a.**"},
		// the whole type, from the first segment to the last
		{"user user.*", "user.a.b", ""},
		{"audit.**", "audit", "audit.**"},
		{"a.**.e", "a.e", "a.**.e"},
		// no type
		{"** * *.**", "", ""},
		{"** *.**", "a..b", ""},
		{"**", "a.", ""},
		{"", "a", ""},
		{"a", "a", "a"},
	} {
		if got := strings.Join(targets(build(t, c.routes), c.typ), " "); got != c.want {
			t.Errorf("routes %s: Route(%s) = %s, want %s", c.routes, c.typ, got, c.want)
		}
	}
}

func TestLongTypes(t *testing.T) {
	t.Parallel()
	r := build(t, "** a.** **.b")
	typ := strings.Repeat("a.", 5000) + "b"
	if got, want := targets(r, typ), []string{"a.**", "**.b", "**"}; !slices.Equal(got, want) {
		t.Errorf("Route(%d segments) = %s, want %s", 5001, got, want)
	}
}

// TestManyMatches has more routes match than a search starts with room for.
func TestManyMatches(t *testing.T) {
	t.Parallel()
	var routes []router.Route[int]
	for i := range 1000 {
		routes = append(routes, router.To([]string{"a.*", "**", "a.b", "*.b"}[i%4], i, router.Priority(i%7)))
	}
	r, err := router.New(routes...)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		got := targets(r, "a.b")
		sorted := slices.IsSortedFunc(got, func(a, b int) int {
			x, y := routes[a], routes[b]
			if c := pattern.Compare(x.Pattern, y.Pattern); c != 0 {
				return c
			}
			if x.Priority != y.Priority {
				return y.Priority - x.Priority
			}
			return a - b
		})
		slices.Sort(got)
		if !sorted || len(slices.Compact(got)) != 1000 {
			t.Fatalf("Route(a.b) gives %d targets, in order: %t, want 1000 in order", len(got), sorted)
		}
	}
}

func TestInvalidRoutes(t *testing.T) {
	t.Parallel()
	base := build(t, "a b.**")
	for _, c := range []struct {
		route router.Route[string]
		want  string
	}{
		{router.To("a..b", ""), `pattern "a..b": segment 2 (column 3) is empty`},
		{router.To("", ""), `pattern "": segment 1 (column 1) is empty`},
		{router.To("a", "", router.Priority(101)), "pattern a: priority 101 is not within -100..100"},
		{router.To("a", "", router.Priority(-101)), "pattern a: priority -101 is not within -100..100"},
		{router.To("a", "", router.When(nil)), "predicate is nil"},
		{router.To("a", "", router.WhenErr(nil)), "predicate is nil"},
		{router.Route[string]{Target: "x"}, "no pattern"},
	} {
		r, err := router.New(router.To("ok", ""), c.route)
		if r != nil || !fault.Is(err, fault.Invalid) || err.Error() != "route 2: "+c.want {
			t.Errorf("New = %v, %v, want route 2: %s", r, err, c.want)
		}
		r, err = base.With(router.To("ok", ""), c.route)
		if r != base || !fault.Is(err, fault.Invalid) || err.Error() != "route 2: "+c.want {
			t.Errorf("With = %v, %v, want the same router and route 2: %s", r, err, c.want)
		}
		if base.Len() != 2 || targets(base, "ok") != nil {
			t.Error("With added routes beside an error")
		}
	}
	_, err := router.New(router.To("a..b", 0), router.To("b", 0), router.To("c", 0, router.Priority(101)))
	if err == nil || strings.Count(err.Error(), "\n") != 1 || !strings.Contains(err.Error(), "route 3: ") {
		t.Errorf("New of two invalid routes = %v, want both told", err)
	}
}

func TestWithout(t *testing.T) {
	t.Parallel()
	all := "order.* order.created order.** order.*.** order order.* *.created ** order.**.x order.**.x.*"
	r := build(t, all)
	for _, text := range strings.Fields(all) {
		var want []string
		for _, field := range strings.Fields(all) {
			if field != text {
				want = append(want, field)
			}
		}
		less := r.Without(text)
		if got := patternsOf(less); !slices.Equal(got, want) || less.Len() != len(want) {
			t.Errorf("Without(%s) leaves %d: %s, want %s", text, less.Len(), got, want)
		}
		if got := patternsOf(r); !slices.Equal(got, strings.Fields(all)) {
			t.Fatalf("Without(%s) changed the router that it was called on: %s", text, got)
		}
	}
	for _, text := range []string{"", "a..b", "order.created.v1", "*", "order.*.*", "*.**", "nothing.**", "order.**.y", "order.**.x.**"} {
		if r.Without(text) != r {
			t.Errorf("Without(%s) makes a new router, want the same: no route has that pattern", text)
		}
	}
	var empty router.Router[int]
	if empty.Without("a") != &empty || empty.Without("a.*") != &empty {
		t.Error("Without on the zero Router makes a new router")
	}
}

func patternsOf[T any](r *router.Router[T]) []string {
	var all []string
	for _, route := range r.Routes() {
		all = append(all, route.Pattern.String())
	}
	return all
}

func TestZeroRouter(t *testing.T) {
	t.Parallel()
	var r router.Router[int]
	if r.Len() != 0 || len(r.Routes()) != 0 || targets(&r, "a") != nil || r.Explain(of("a")) != nil {
		t.Error("the zero Router has routes")
	}
	for range r.Match("a") {
		t.Error("the zero Router matches")
	}
	more, err := r.With(router.To("a", 1))
	if err != nil || !slices.Equal(targets(more, "a"), []int{1}) {
		t.Errorf("With on the zero Router = %v, %v", more, err)
	}
	none, err := router.New[int]()
	if err != nil || none.Len() != 0 || targets(none, "a") != nil {
		t.Errorf("New() = %v, %v, want an empty router", none, err)
	}
	if got := targets(more.Without("a"), "a"); got != nil {
		t.Errorf("Route(a) without the only route = %v", got)
	}
}

func TestRoutesAreComplete(t *testing.T) {
	t.Parallel()
	yes := router.When(func(*signal.Signal) bool { return true })
	no := router.When(func(*signal.Signal) bool { return false })
	r, err := router.New(
		router.To("a.**", 0, router.Priority(-3)), router.To("a.b", 1, no), router.To("a.b", 2),
		router.To("a.b", 3, yes, router.Priority(9)), router.To("**", 4),
	)
	if err != nil {
		t.Fatal(err)
	}
	routes := r.Routes()
	if got := len(routes); got != 5 || r.Len() != 5 {
		t.Fatalf("Routes lists %d, want 5", got)
	}
	for i, want := range []struct {
		text      string
		priority  int
		predicate bool
	}{{"a.**", -3, false}, {"a.b", 0, true}, {"a.b", 0, false}, {"a.b", 9, true}, {"**", 0, false}} {
		got := routes[i]
		if got.Target != i || got.Pattern.String() != want.text || got.Priority != want.priority || got.HasPredicate() != want.predicate {
			t.Errorf("Routes()[%d] = %v, want %v", i, got, want)
		}
	}
	again, err := router.New(routes...)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := targets(again, "a.b"), []int{3, 2, 0, 4}; !slices.Equal(got, want) {
		t.Errorf("New(Routes()).Route(a.b) = %v, want %v", got, want)
	}
}

func TestPredicatesAreAskedLate(t *testing.T) {
	t.Parallel()
	var asked []string
	watch := func(name string, answer bool) router.Option {
		return router.When(func(s *signal.Signal) bool {
			if s == nil || s.Type != "a.b" {
				t.Errorf("predicate %s is asked about %v", name, s)
			}
			asked = append(asked, name)
			return answer
		})
	}
	r, err := router.New(
		router.To("a.b", 1, watch("no", false)), router.To("a.*", 2, watch("yes", true)),
		router.To("**", 3, watch("late", true)), router.To("x.**", 4, watch("never", true)),
		router.To("*.b", 5, watch("one", true), watch("two", false), watch("three", true)),
	)
	if err != nil {
		t.Fatal(err)
	}
	r, err = r.With(router.To("y", 6, watch("never", true)))
	if err != nil {
		t.Fatal(err)
	}
	r.Routes()
	for range r.Match("a.b") {
	}
	if r = r.Without("y"); asked != nil {
		t.Fatalf("before a signal came these were asked: %s", asked)
	}
	for target := range r.Route(of("a.b")) {
		if target != 2 {
			t.Errorf("the first target is %d, want 2", target)
		}
		break
	}
	if want := []string{"no", "yes"}; !slices.Equal(asked, want) {
		t.Errorf("up to the first target these were asked: %s, want %s", asked, want)
	}
	asked = nil
	if got, want := targets(r, "a.b"), []int{2, 3}; !slices.Equal(got, want) {
		t.Errorf("Route(a.b) = %v, want %v", got, want)
	}
	if want := []string{"no", "yes", "one", "two", "late"}; !slices.Equal(asked, want) {
		t.Errorf("these were asked: %s, want %s", asked, want)
	}
	if r.Explain(nil) != nil || slices.Collect(r.Route(nil)) != nil {
		t.Error("a nil signal is routed")
	}
}

func TestPredicatesFailAlone(t *testing.T) {
	t.Parallel()
	errTooDear := errors.New("too dear")
	panics := func(v any) router.Option { return router.When(func(*signal.Signal) bool { panic(v) }) }
	var m map[string]int
	r, err := router.New(
		router.To("a", "panics", panics("boom")),
		router.To("a", "panics with an error", panics(errTooDear)),
		router.To("a", "crashes", router.When(func(*signal.Signal) bool { m["x"] = 1; return true })),
		router.To("a", "fails", router.WhenErr(func(*signal.Signal) (bool, error) { return true, errTooDear })),
		router.To("a", "fails second", router.When(func(*signal.Signal) bool { return true }), panics("again")),
		router.To("a", "says no", router.When(func(*signal.Signal) bool { return false })),
		router.To("a", "is fine", router.When(func(*signal.Signal) bool { return true })),
		router.To("**", "has none"),
		router.To("b", "is elsewhere", panics("never")),
	)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := targets(r, "a"), []string{"is fine", "has none"}; !slices.Equal(got, want) {
		t.Errorf("Route(a) = %q, want %q", got, want)
	}
	want := []struct {
		target, err string
		panics      bool
	}{
		{"panics", "predicate of a: panic: boom", true},
		{"panics with an error", "predicate of a: panic: too dear", true},
		{"crashes", "predicate of a: panic: assignment to entry in nil map", true},
		{"fails", "predicate of a: too dear", false},
		{"fails second", "predicate of a: panic: again", true},
		{"says no", "", false},
		{"is fine", "", false},
		{"has none", "", false},
	}
	verdicts := r.Explain(of("a"))
	if len(verdicts) != len(want) {
		t.Fatalf("Explain(a) has %d verdicts, want %d", len(verdicts), len(want))
	}
	for i, w := range want {
		v := verdicts[i]
		text := ""
		if v.Err != nil {
			text = v.Err.Error()
		}
		matched := w.target == "is fine" || w.target == "has none"
		if v.Route.Target != w.target || v.Matched != matched || text != w.err {
			t.Errorf("Explain(a)[%d] = %s, %t, %v, want %s, %t, %s", i, v.Route.Target, v.Matched, v.Err, w.target, matched, w.err)
		}
		var p *router.PanicError
		if errors.As(v.Err, &p) != w.panics || w.panics && len(p.Stack) == 0 {
			t.Errorf("Explain(a)[%d].Err is a PanicError with a stack: %t, want %t", i, !w.panics, w.panics)
		}
	}
	if !errors.Is(verdicts[1].Err, errTooDear) || !errors.Is(verdicts[3].Err, errTooDear) {
		t.Error("the cause is lost")
	}
	if !fault.Is(verdicts[0].Err, fault.Internal) {
		t.Errorf("a panic has the code %s, want internal", fault.CodeOf(verdicts[0].Err))
	}
}

func TestMatchIgnoresPredicates(t *testing.T) {
	t.Parallel()
	r, err := router.New(
		router.To("**", 1),
		router.To("a", 2, router.Priority(7), router.When(func(*signal.Signal) bool { return false })),
	)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for route := range r.Match("a") {
		got = append(got, fmt.Sprint(route.Pattern, route.Target, route.Priority, route.HasPredicate()))
	}
	if want := []string{"a 2 7 true", "** 1 0 false"}; !slices.Equal(got, want) {
		t.Errorf("Match(a) = %q, want %q", got, want)
	}
	for range r.Match("a") {
		break
	}
}

// TestRouteWithinRoute uses the working memory twice at once.
func TestRouteWithinRoute(t *testing.T) {
	t.Parallel()
	r := build(t, "a.* ** a.b b.*")
	var got []string
	for outer := range r.Route(of("a.b")) {
		for inner := range r.Route(of("b.c")) {
			got = append(got, outer+">"+inner)
		}
	}
	want := []string{"a.b>b.*", "a.b>**", "a.*>b.*", "a.*>**", "**>b.*", "**>**"}
	if !slices.Equal(got, want) {
		t.Errorf("nested Route = %q, want %q", got, want)
	}
}

// TestReadersAndWriters has some read a router while others make new ones of it.
func TestReadersAndWriters(t *testing.T) {
	t.Parallel()
	r := build(t, "a.b a.* ** *.b a.**.b **.a.**")
	want := targets(r, "a.b")
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() { // ends by itself
			mine := r
			for j := range 300 {
				text := fmt.Sprintf("w%d.%d.*", i, j%17)
				var err error
				if mine, err = mine.With(router.To(text, text), router.To("a.b", text)); err != nil {
					t.Error(err)
				}
				if mine = mine.Without(text); j%5 == 0 {
					mine = mine.Without("a.b")
				}
			}
		})
		wg.Go(func() { // ends by itself
			for range 3000 {
				if got := targets(r, "a.b"); !slices.Equal(got, want) {
					t.Errorf("Route(a.b) = %q, want %q", got, want)
					return
				}
			}
		})
	}
	wg.Wait()
}
