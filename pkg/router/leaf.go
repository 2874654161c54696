package router

import (
	"cmp"
	"slices"
)

// leaf is the routes of one pattern, in order.
type leaf[T any] struct {
	entries []*entry[T]
	single  [1]*entry[T] // the entries of a leaf with one route, which is the usual number
	first   entry[T]     // the route that the leaf was made for, beside what leads to it
	edit    edit
}

// entry is a registered route with the numbers that order it: routes come by rank, then by
// number, both ascending.
type entry[T any] struct {
	rank   uint64 // from the pattern and the priority; see rankOf
	number uint64 // of the registration
	route  Route[T]
}

// rankOf packs what orders routes before their registration into one number, low first:
// whether the pattern is exact, its specificity, and the priority.
func rankOf[T any](r Route[T]) uint64 {
	rank := uint64(r.Pattern.Specificity())<<8 | uint64(r.Priority-MinPriority)
	if r.Pattern.IsExact() {
		rank |= 1 << 63
	}
	return ^rank
}

func byRank[T any](a, b *entry[T]) int {
	if a.rank != b.rank {
		return cmp.Compare(a.rank, b.rank)
	}
	return cmp.Compare(a.number, b.number)
}

// insert is the leaf with a route more, in its place. It is the same leaf if the edit made it.
func (l *leaf[T]) insert(x entry[T], e edit) *leaf[T] {
	if l == nil {
		l = &leaf[T]{first: x, edit: e}
		l.single[0] = &l.first
		l.entries = l.single[:]
		return l
	}
	if l.edit != e {
		l = &leaf[T]{entries: slices.Clip(l.entries), edit: e} // clipped, so that Insert copies
	}
	at, _ := slices.BinarySearchFunc(l.entries, &x, byRank)
	l.entries = slices.Insert(l.entries, at, &x)
	return l
}
