package subject_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/signalmesh/signalmesh/pkg/pattern"
	"github.com/signalmesh/signalmesh/pkg/subject"
)

func TestFilters(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		patterns string
		want     []string // the first of them
		n        int
		exact    bool
	}{
		{"order.created", []string{"order.created"}, 1, true},
		{"order.*", []string{"order.*"}, 1, true},
		{"*.created", []string{"*.created"}, 1, true},
		{"*", []string{"*"}, 1, true},
		{"*.*", []string{"*.*"}, 1, true},
		{"order.*.shipped", []string{"order.*.shipped"}, 1, true},
		{"audit.user.*.login", []string{"audit.user.*.login"}, 1, true},
		// Too many to spell out, even though another pattern covers most of them.
		{"a.** **.a.**.a", []string{">"}, 1, false},
		// "**" at the end: what stands before it, and one or more.
		{"**", []string{">"}, 1, true},
		{"*.**", []string{">"}, 1, true},
		{"**.*", []string{">"}, 1, true},
		{"*.*.**", []string{"*.>"}, 1, true},
		{"**.*.**", []string{">"}, 1, true},
		{"order.**", []string{"order", "order.>"}, 2, true},
		{"order.*.**", []string{"order.>"}, 1, true},
		{"order.**.*", []string{"order.>"}, 1, true},
		// "**" inside: one filter for each number of segments.
		{"**.created", []string{"created", "*.created", "*.*.created"}, 16, true},
		{"**.order.created", []string{"order.created", "*.order.created"}, 15, true},
		{"order.**.created", []string{"order.created", "order.*.created"}, 15, true},
		{"order.*.**.created", []string{"order.*.created", "order.*.*.created"}, 14, true},
		{"order.**.item.*", []string{"order.item.*", "order.*.item.*"}, 14, true},
		{"*.**.failed", []string{"*.failed", "*.*.failed"}, 15, true},
		{"**.*.failed", []string{"*.failed", "*.*.failed"}, 15, true},
		{"**.order.**", []string{"order", "order.>", "*.order", "*.order.>"}, 32, true},
		{"order.**.item.**", []string{"order.item", "order.item.>", "order.*.item"}, 30, true},
		{"a.b.c.d.e.f.g.h.i.j.k.l.**.m.**.n", []string{"a.b.c.d.e.f.g.h.i.j.k.l.m.n"}, 6, true},
		// Too many of them.
		{"a.**.b.**.c", []string{"a.>"}, 1, false},
		{"**.a.**.b.**.c", []string{">"}, 1, false},
		{"a.*.**.b.**.c", []string{"a.*.>"}, 1, false},
		{"**.a **.b **.c", []string{">"}, 1, false},
		// Several patterns are a union without subsets.
		{"a.b a.b", []string{"a.b"}, 1, true},
		{"a.b a.*", []string{"a.*"}, 1, true},
		{"a.** a.b.c", []string{"a", "a.>"}, 2, true},
		{"a.** a.*.**", []string{"a", "a.>"}, 2, true},
		{"a.*.x *.b.x", []string{"a.*.x", "*.b.x"}, 2, true}, // they overlap, neither is a subset
		{"a.b.c ** x", []string{">"}, 1, true},
		{"**.x x.y", []string{"x.y", "x", "*.x"}, 17, true},
		{"a.**.b.**.c a.**", []string{"a", "a.>"}, 2, true}, // the wide one is inside the other
		{"a.**.b.**.c b.x", []string{"b.x", "a.>"}, 2, false},
		{"a.**.b.**.c a.x", []string{"a.>"}, 1, false},
		// What no valid type can be.
		{"", []string{"="}, 1, true},
		{strings.Repeat("a.", 16) + "a", []string{"="}, 1, true},
		{strings.Repeat("a.", 16) + "a x.y", []string{"x.y"}, 1, true},
		{strings.Repeat("*.", 16) + "**.a", []string{"="}, 1, true},
		{strings.Repeat("a", 65), []string{"="}, 1, true},
		{strings.Repeat("a.", 15) + "a.**", []string{strings.Repeat("a.", 15) + "a", strings.Repeat("a.", 15) + "a.>"}, 2, true},
	} {
		filters, exact := subject.Space{}.Filters("b", parseAll(t, c.patterns)...)
		if len(filters) != c.n || exact != c.exact {
			t.Errorf("Filters(%s) = %d filters, exact %t, want %d, %t: %q", c.patterns, len(filters), exact, c.n, c.exact, filters)
			continue
		}
		for i, want := range c.want {
			if filters[i] != "sig.b."+want {
				t.Errorf("Filters(%s)[%d] = %s, want sig.b.%s", c.patterns, i, filters[i], want)
			}
		}
	}
}

func TestFiltersOfZeroPattern(t *testing.T) {
	t.Parallel()
	filters, exact := subject.Space{}.Filters("b", pattern.Pattern{}, pattern.MustParse("a"))
	if !exact || !slices.Equal(filters, []string{"sig.b.a"}) {
		t.Errorf("Filters(zero, a) = %q, %t, want [sig.b.a], true", filters, exact)
	}
}

func parseAll(t *testing.T, text string) []pattern.Pattern {
	t.Helper()
	var all []pattern.Pattern
	for _, field := range strings.Fields(text) {
		p, err := pattern.Parse(field)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	return all
}
