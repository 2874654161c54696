package router_test

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/signalmesh/signalmesh/pkg/pattern"
	"github.com/signalmesh/signalmesh/pkg/router"
)

// model is a router as anyone would write it: all routes, asked one by one.
type model []router.Route[int]

func (m model) route(typ string) []int {
	var found model
	for _, route := range m {
		if route.Pattern.Match(typ) {
			found = append(found, route)
		}
	}
	slices.SortStableFunc(found, func(a, b router.Route[int]) int {
		return cmp.Or(pattern.Compare(a.Pattern, b.Pattern), cmp.Compare(b.Priority, a.Priority))
	})
	var targets []int
	for _, route := range found {
		targets = append(targets, route.Target)
	}
	return targets
}

func (m model) without(text string) model {
	return slices.DeleteFunc(slices.Clone(m), func(r router.Route[int]) bool { return r.Pattern.String() == text })
}

// version is a router and what it must be like, for as long as anyone holds it.
type version struct {
	router *router.Router[int]
	model  model
}

func (v version) check(t *rapid.T) {
	if v.router.Len() != len(v.model) {
		t.Fatalf("Len() = %d, want %d", v.router.Len(), len(v.model))
	}
	for i, route := range v.router.Routes() {
		if want := v.model[i]; route.Target != want.Target || route.Pattern != want.Pattern || route.Priority != want.Priority {
			t.Fatalf("Routes()[%d] = %v, want %v", i, route, want)
		}
	}
	for range 6 {
		typ := drawType(t)
		if got, want := targets(v.router, typ), v.model.route(typ); !slices.Equal(got, want) {
			t.Fatalf("Route(%s) = %v, want %v, of %s", typ, got, want, patternsOf(v.router))
		}
	}
}

// TestVersionsAgainstModel adds to and takes from any version of a router, and then checks
// that all versions still are what they were.
func TestVersionsAgainstModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		versions := []version{{router: new(router.Router[int])}}
		next := 0
		for range rapid.IntRange(1, 12).Draw(t, "changes") {
			v := versions[rapid.IntRange(0, len(versions)-1).Draw(t, "version")]
			if rapid.IntRange(0, 3).Draw(t, "change") == 0 {
				text := drawPattern(t)
				if len(v.model) > 0 && rapid.Bool().Draw(t, "there") {
					text = rapid.SampledFrom(v.model).Draw(t, "route").Pattern.String()
				}
				versions = append(versions, version{v.router.Without(text), v.model.without(text)})
				continue
			}
			var added []router.Route[int]
			for range rapid.SampledFrom([]int{0, 1, 1, 3, 20}).Draw(t, "routes") {
				added = append(added, router.To(drawPattern(t), next, router.Priority(rapid.IntRange(-2, 2).Draw(t, "priority"))))
				next++
			}
			r, err := v.router.With(added...)
			if err != nil {
				t.Fatal(err)
			}
			versions = append(versions, version{r, slices.Concat(v.model, added)})
		}
		for _, v := range versions {
			v.check(t)
		}
	})
}

// TestLargeVersions does the same with routers so large that their tables branch.
func TestLargeVersions(t *testing.T) {
	t.Parallel()
	name := func(i int) string {
		return []string{"exact.w%d", "w%d.*", "*.w%d", "w%d.**", "**.w%d"}[i%5]
	}
	pick := func(i int) string { return fmt.Sprintf(name(i), i/5) }
	const n = 10_000
	var routes []router.Route[int]
	for i := range n {
		routes = append(routes, router.To(pick(i), i))
	}
	full, err := router.New(routes...)
	if err != nil {
		t.Fatal(err)
	}
	step := full
	for i := range 2000 { // one by one, unlike full
		if step, err = step.With(router.To("one."+pick(i), i)); err != nil {
			t.Fatal(err)
		}
	}
	less := full
	for i := range n {
		if i%3 != 0 {
			less = less.Without(pick(i))
		}
	}
	empty := full
	for i := range n {
		empty = empty.Without(pick(i))
	}
	if full.Len() != n || step.Len() != n+2000 || less.Len() != (n+2)/3 || empty.Len() != 0 {
		t.Fatalf("lengths are %d, %d, %d, %d", full.Len(), step.Len(), less.Len(), empty.Len())
	}
	if got := empty.Routes(); len(got) != 0 {
		t.Fatalf("without all its patterns a router has %d routes", len(got))
	}
	for i := range n {
		typ := strings.NewReplacer("**", "x.y", "*", "x").Replace(pick(i))
		if got := targets(full, typ); !slices.Contains(got, i) {
			t.Fatalf("Route(%s) = %v, want %d among them", typ, got, i)
		}
		if got := targets(less, typ); slices.Contains(got, i) != (i%3 == 0) {
			t.Fatalf("Route(%s) = %v, want %d among them: %t", typ, got, i, i%3 == 0)
		}
		if got := targets(empty, typ); got != nil {
			t.Fatalf("Route(%s) = %v on an empty router", typ, got)
		}
		if i < 2000 && !slices.Contains(targets(step, "one."+typ), i) {
			t.Fatalf("Route(one.%s) = %v, want %d among them", typ, targets(step, "one."+typ), i)
		}
	}
	if got := step.Routes(); got[n+1999].Target != 1999 || got[0].Target != 0 {
		t.Errorf("Routes() is out of order: it ends with %v", got[n+1999])
	}
}

func drawPattern(t *rapid.T) string {
	seg := rapid.SampledFrom([]string{"a", "a", "b", "c", "*", "**"})
	segs := rapid.SliceOfN(seg, 1, 6).Draw(t, "pattern")
	return strings.Join(slices.CompactFunc(segs, func(x, y string) bool { return x == "**" && y == "**" }), ".")
}

func drawType(t *rapid.T) string {
	return strings.Join(rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "c"}), 1, 8).Draw(t, "type"), ".")
}
