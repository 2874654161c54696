package router

import "slices"

// search is the working memory of one lookup. Lookups take turns with a few of them, so
// that none allocates.
type search[T any] struct {
	typ   string
	words []word
	found []*entry[T]
	seen  []*end[T] // of nested "**": those that were entered
}

// find searches for the routes whose pattern selects the type. They are the search's found,
// in order; it must be given back with done.
func (r *Router[T]) find(typ string) *search[T] {
	m, _ := r.scratch.Get().(*search[T])
	if m == nil {
		m = new(search[T])
	}
	m.typ = typ
	m.run(r)
	return m
}

// done ends a search. One at rest keeps no route alive.
func (r *Router[T]) done(m *search[T]) {
	clear(m.found)
	clear(m.seen)
	m.typ, m.words, m.found, m.seen = "", m.words[:0], m.found[:0], m.seen[:0]
	r.scratch.Put(m)
}

// run collects the routes in order.
func (m *search[T]) run(r *Router[T]) {
	var ok bool
	if m.words, ok = split(m.typ, m.words); !ok {
		return
	}
	if l := r.exact.get(m.typ, fold(m.words)); l != nil {
		m.found = l.appendTo(m.found)
	}
	if r.wild == nil {
		return
	}
	exact := len(m.found)
	m.walk(r.wild, 0)
	order(m.found[exact:])
}

// word is the segment i of the type and its hash.
func (m *search[T]) word(i int) (string, uint64) {
	w := &m.words[i]
	return m.typ[w.from:w.to], w.hash
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
		if n = n.words.get(m.word(i)); n == nil {
			return
		}
	}
	if n.end != nil {
		m.found = n.end.here.appendTo(m.found)
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
	m.found = at.tail.appendTo(m.found)
	n := at.many
	if n == nil {
		return
	}
	for ; i < len(m.words); i++ {
		if n.one != nil {
			m.walk(n.one, i+1)
		}
		if sub := n.words.get(m.word(i)); sub != nil {
			m.walk(sub, i+1)
		}
	}
}
