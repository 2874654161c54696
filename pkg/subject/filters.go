package subject

import (
	"slices"
	"strings"

	"github.com/signalmesh/signalmesh/pkg/pattern"
)

// maxFilters is how many filters a "**" inside a pattern may be spelled out into.
const maxFilters = 32

// Filters are the subject filters of a consumer that receives the signals on the bus that
// at least one of the patterns selects. When exact is false they let through others too,
// and the caller must match the patterns against what arrives, and acknowledge the rest.
//
// The result is never empty, because a consumer without filters receives everything:
// patterns that select no valid type, and no patterns at all, give one filter that nothing
// passes. No filter is a subset of another, which the server would refuse, but two may
// overlap; the server delivers a message once all the same.
//
// Exactness rests on [MaxDepth]: "**" at the end is "one or more" plus the type before it,
// and inside a pattern it becomes one filter for each number of segments it can stand for.
func (sp Space) Filters(bus string, patterns ...pattern.Pattern) (filters []string, exact bool) {
	var sets, wide [][]string // filters as tokens; those of patterns too wide to spell out
	var inner [][]string      // patterns with a "**" before the end
	for _, p := range patterns {
		switch segs := canonical(p.Segments()); {
		case !satisfiable(segs):
		case hasInner(segs):
			inner = append(inner, segs)
		default:
			sets = append(sets, spell(segs)...)
		}
	}
	tame, exact := sets, true
	for _, segs := range inner {
		super := superset(segs)
		if covered(super, tame) {
			continue
		}
		wide = append(wide, super)
		if exact {
			spelled := spell(segs)
			sets = append(sets, spelled...)
			exact = len(spelled) <= maxFilters && len(prune(sets)) <= maxFilters
		}
	}
	if !exact {
		sets = append(slices.Clip(tame), wide...)
	}
	return sp.join(bus, prune(sets)), exact
}

// join writes filters out under the bus.
func (sp Space) join(bus string, sets [][]string) []string {
	lead := sp.Prefix() + "." + bus + "."
	if len(sets) == 0 {
		return []string{lead + "="} // an escape without digits: no type is written so
	}
	filters := make([]string, len(sets))
	for i, tokens := range sets {
		filters[i] = lead + strings.Join(tokens, ".")
	}
	return filters
}

// canonical writes each run of wildcards as its "*" followed by at most one "**": "**.*"
// and "*.**" both mean one segment or more.
func canonical(segs []string) []string {
	out := make([]string, 0, len(segs))
	open := false // a "**" belongs behind the run of wildcards that out ends with
	for _, seg := range segs {
		switch {
		case seg == "**":
			open = true
			continue
		case seg != "*" && open:
			out = append(out, "**")
			open = false
		}
		out = append(out, seg)
	}
	if open {
		out = append(out, "**")
	}
	return out
}

// satisfiable reports whether some valid type fits: at most MaxDepth segments that are not
// "**", none too long. It also keeps filters short enough for the server.
func satisfiable(segs []string) bool {
	depth, size := 0, -1
	for _, seg := range segs {
		if seg != "**" {
			depth++
			size += len(seg) + 1
		}
		if len(seg) > MaxSegment {
			return false
		}
	}
	return len(segs) > 0 && depth <= MaxDepth && size <= MaxType
}

func hasInner(segs []string) bool {
	i := slices.Index(segs, "**")
	return i >= 0 && i < len(segs)-1
}

// superset is one filter for all that the pattern selects: what stands before its first
// "**", and then anything. Something always follows, as that "**" is not the last segment.
func superset(segs []string) []string {
	lead := segs[:slices.Index(segs, "**")]
	return append(slices.Clone(lead), ">")
}

// spell gives the filters of a canonical pattern, one for each number of segments that the
// "**" before the end can stand for. It stops when there are more than maxFilters, and what
// it returns then is not all of them.
func spell(segs []string) [][]string {
	fixed := 0
	for _, seg := range segs {
		if seg != "**" {
			fixed++
		}
	}
	var out [][]string
	var rest func(segs, done []string, spare int)
	rest = func(segs, done []string, spare int) {
		switch {
		case len(out) > maxFilters:
		case len(segs) == 0:
			out = append(out, slices.Clone(done))
		case segs[0] != "**":
			rest(segs[1:], append(done, segs[0]), spare)
		case len(segs) == 1:
			out = append(out, open(done)...)
		default:
			for n := 0; n <= spare; n++ {
				rest(segs[1:], done, spare-n)
				done = append(done, "*")
			}
		}
	}
	rest(segs, nil, MaxDepth-fixed)
	return out
}

// open gives the filters of lead followed by zero or more segments. ">" is one or more, so
// it takes the place of a "*" before it, and alone it is everything.
func open(lead []string) [][]string {
	more := append(slices.Clone(lead), ">")
	switch n := len(lead); {
	case n == 0:
		return [][]string{more}
	case lead[n-1] == "*":
		more[n-1] = ">"
		return [][]string{more[:n]}
	}
	return [][]string{slices.Clone(lead), more}
}

// prune drops each filter that is a subset of another.
func prune(sets [][]string) [][]string {
	var out [][]string
	for i, f := range sets {
		if !covered(f, out) && !covered(f, sets[i+1:]) {
			out = append(out, f)
		}
	}
	return out
}

// covered reports whether one of the filters lets through all that f does.
func covered(f []string, by [][]string) bool {
	return slices.ContainsFunc(by, func(g []string) bool { return subset(f, g) })
}

// subset reports whether g lets through all that f does.
func subset(f, g []string) bool {
	for i, token := range g {
		switch {
		case token == ">":
			return len(f) > i
		case i >= len(f) || f[i] == ">":
			return false
		case token != "*" && token != f[i]:
			return false
		}
	}
	return len(f) == len(g)
}
