package router

import (
	"cmp"
	"slices"
	"strings"
	"sync"
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

// search is the working memory of one lookup, meant for the stack.
type search[T any] struct {
	words []word
	found []*entry[T]
	seen  []*node[T] // the nested "**" that were entered

	pool    *sync.Pool // of *[]*entry[T], for more matches than foundIn holds
	pooled  *[]*entry[T]
	wordsIn [16]word
	foundIn [32]*entry[T]
	seenIn  [4]*node[T]
}

// word is a segment of the type.
type word struct {
	text string
	hash uint64
}

// run gives the routes whose pattern selects the type, in order. They are valid until
// release.
func (m *search[T]) run(r *Router[T], typ string) []*entry[T] {
	m.pool = r.scratch
	m.found = m.foundIn[:0]
	if l := r.exact.get(typ, hashOf(typ)); l != nil {
		m.add(l)
	}
	if r.wild == nil || !m.split(typ) {
		return m.found
	}
	exact := len(m.found)
	m.seen = m.seenIn[:0]
	m.walk(r.wild, 0)
	if wild := m.found[exact:]; len(wild) > 1 {
		slices.SortFunc(wild, byRank)
	}
	return m.found
}

// split cuts the type into words; it reports false if it is no type.
func (m *search[T]) split(typ string) bool {
	m.words = m.wordsIn[:0]
	for rest, more := typ, true; more; {
		var seg string
		seg, rest, more = strings.Cut(rest, ".")
		if seg == "" {
			return false
		}
		m.words = append(m.words, word{seg, hashOf(seg)})
	}
	return true
}

// walk collects what matches below n from word i on. Without "**" above, a node is reached
// at one i only; below "**" it may be at several, but never twice at the same.
func (m *search[T]) walk(n *node[T], i int) {
	for ; i < len(m.words); i++ {
		if n.many != nil {
			m.walkMany(n.many, i)
		}
		if n.one != nil {
			m.walk(n.one, i+1)
		}
		if n = n.words.get(m.words[i].text, m.words[i].hash); n == nil {
			return
		}
	}
	if n.leaf != nil {
		m.add(n.leaf)
	}
	if n.many != nil {
		m.walkMany(n.many, i)
	}
}

// walkMany goes on below a "**" that stands for any number of words from i on. Below
// another "**" it may be reached again with a later i: that adds nothing, as the first
// time, which always has the smallest i, went through all the later ones.
func (m *search[T]) walkMany(n *node[T], i int) {
	if n.nested {
		if slices.Contains(m.seen, n) {
			return
		}
		m.seen = append(m.seen, n)
	}
	if n.leaf != nil {
		m.add(n.leaf)
	}
	if n.one == nil && n.words.empty() {
		return
	}
	for ; i < len(m.words); i++ {
		if n.one != nil {
			m.walk(n.one, i+1)
		}
		if sub := n.words.get(m.words[i].text, m.words[i].hash); sub != nil {
			m.walk(sub, i+1)
		}
	}
}

// add takes over a leaf's routes. When they outgrow the stack they move to a slice that
// searches take turns with.
func (m *search[T]) add(l *leaf[T]) {
	if m.pooled == nil && len(m.found)+len(l.entries) > len(m.foundIn) {
		m.pooled, _ = m.pool.Get().(*[]*entry[T])
		if m.pooled == nil {
			m.pooled = new([]*entry[T])
		}
		m.found = append((*m.pooled)[:0], m.found...)
	}
	m.found = append(m.found, l.entries...)
}

// release ends the search.
func (m *search[T]) release() {
	if m.pooled == nil {
		return
	}
	clear(m.found) // do not keep routes alive
	*m.pooled = m.found[:0]
	m.pool.Put(m.pooled)
}
