package router

import (
	"cmp"
	"slices"
	"strings"
)

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

// search is the working memory of one lookup. Lookups take turns with a few of them, so
// that none allocates.
type search[T any] struct {
	typ   string
	words []word
	found []*entry[T]
	seen  []*end[T] // of nested "**": those that were entered
}

// word is a segment of the type: typ[from:to].
type word struct {
	hash     uint64
	from, to int
}

// visit calls yield with the routes whose pattern selects the type, in order, until it
// returns false.
func (r *Router[T]) visit(typ string, yield func(*entry[T]) bool) {
	if r.count == 0 {
		return
	}
	m, _ := r.scratch.Get().(*search[T])
	if m == nil {
		m = new(search[T])
	}
	m.typ = typ
	m.run(r)
	for _, x := range m.found {
		if !yield(x) {
			break
		}
	}
	m.clear()
	r.scratch.Put(m)
}

// clear forgets all, so that a search at rest keeps no route alive.
func (m *search[T]) clear() {
	clear(m.found)
	clear(m.seen)
	m.typ, m.words, m.found, m.seen = "", m.words[:0], m.found[:0], m.seen[:0]
}

// run collects the routes in order.
func (m *search[T]) run(r *Router[T]) {
	if l := r.exact.get(m.typ, hashOf(m.typ)); l != nil {
		m.found = append(m.found, l.entries...)
	}
	if r.wild == nil || !m.split() {
		return
	}
	exact := len(m.found)
	m.walk(r.wild, 0)
	if wild := m.found[exact:]; len(wild) > 1 {
		slices.SortFunc(wild, byRank)
	}
}

// split cuts the type into words; it reports false if it is no type.
func (m *search[T]) split() bool {
	for from := 0; from <= len(m.typ); {
		to := len(m.typ)
		if n := strings.IndexByte(m.typ[from:], '.'); n >= 0 {
			to = from + n
		}
		if from == to {
			return false
		}
		m.words = append(m.words, word{hashOf(m.typ[from:to]), from, to})
		from = to + 1
	}
	return m.typ != ""
}

// next is where the word i leads from the node, or nil.
func (m *search[T]) next(n *node[T], i int) *node[T] {
	w := &m.words[i]
	return n.words.get(m.typ[w.from:w.to], w.hash)
}

// walk collects what matches below n from word i on. Without "**" above, a node is reached
// at one i only; below "**" it may be at several, but never twice at the same.
func (m *search[T]) walk(n *node[T], i int) {
	for ; i < len(m.words); i++ {
		if n.end != nil {
			m.walkMany(n.end, i)
		}
		if n.one != nil {
			m.walk(n.one, i+1)
		}
		if n = m.next(n, i); n == nil {
			return
		}
	}
	if n.end != nil {
		m.found = append(m.found, n.end.here.entries...)
		m.walkMany(n.end, i)
	}
}

// walkMany goes on below a "**" that stands for any number of words from i on. Below
// another "**" it may be reached again with a later i: that adds nothing, as the first
// time, which always has the smallest i, went through all the later ones.
func (m *search[T]) walkMany(at *end[T], i int) {
	if at.nested {
		if slices.Contains(m.seen, at) {
			return
		}
		m.seen = append(m.seen, at)
	}
	m.found = append(m.found, at.tail.entries...)
	n := at.many
	if n == nil {
		return
	}
	for ; i < len(m.words); i++ {
		if n.one != nil {
			m.walk(n.one, i+1)
		}
		if sub := m.next(n, i); sub != nil {
			m.walk(sub, i+1)
		}
	}
}
