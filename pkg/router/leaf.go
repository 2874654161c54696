package router

import (
	"cmp"
	"slices"
)

// leaf is the routes of one pattern, in order: first, then more. The zero leaf has none.
type leaf[T any] struct {
	first entry[T] // in place, as it usually is the only one
	more  []*entry[T]
	edit  edit
}

// entry is a registered route: the numbers that order it, rank and then number, both
// ascending, and what routing needs of it. The rest is out of the way behind route.
type entry[T any] struct {
	rank   uint64 // from the pattern and the priority; see rankOf
	number uint64 // of the registration
	when   predicate
	target T
	route  *Route[T]
}

func newEntry[T any](route Route[T], number uint64) entry[T] {
	return entry[T]{rankOf(&route), number, route.when, route.Target, &route}
}

// rankOf packs what orders routes before their registration into one number, low first:
// whether the pattern is exact, its specificity, and the priority.
func rankOf[T any](r *Route[T]) uint64 {
	rank := uint64(r.Pattern.Specificity())<<8 | uint64(r.Priority-MinPriority)
	if r.Pattern.IsExact() {
		rank |= 1 << 63
	}
	return ^rank
}

func (x *entry[T]) before(y *entry[T]) bool {
	return x.rank < y.rank || x.rank == y.rank && x.number < y.number
}

func (x *entry[T]) compare(y *entry[T]) int {
	return cmp.Or(cmp.Compare(x.rank, y.rank), cmp.Compare(x.number, y.number))
}

// order sorts what a search found: usually a few, and in good order already.
func order[T any](found []*entry[T]) {
	if len(found) > 16 {
		slices.SortFunc(found, (*entry[T]).compare)
		return
	}
	for i := 1; i < len(found); i++ {
		x, at := found[i], i
		for ; at > 0 && x.before(found[at-1]); at-- {
			found[at] = found[at-1]
		}
		found[at] = x
	}
}

func (l *leaf[T]) empty() bool { return l.first.route == nil }

func (l *leaf[T]) len() int {
	if l.empty() {
		return 0
	}
	return 1 + len(l.more)
}

func (l *leaf[T]) appendTo(found []*entry[T]) []*entry[T] {
	if l.empty() {
		return found
	}
	return append(append(found, &l.first), l.more...)
}

// insert puts a route in its place. The leaf must be in the hands of the edit.
func (l *leaf[T]) insert(x entry[T], e edit) {
	if l.empty() {
		l.first, l.edit = x, e
		return
	}
	if l.edit != e {
		l.more, l.edit = slices.Clip(l.more), e // clipped, so that Insert copies
	}
	if x.before(&l.first) {
		x, l.first = l.first, x
	}
	at, _ := slices.BinarySearchFunc(l.more, &x, (*entry[T]).compare)
	l.more = slices.Insert(l.more, at, &x)
}
