package router

import (
	"slices"
	"unique"
)

// node is where the patterns with wildcards stand that share their first segments.
type node[T any] struct {
	words  table[node[T]] // the next segment is a word
	one    *node[T]       // it is "*"
	many   *node[T]       // it is "**"
	leaf   leaf[T]        // the pattern ends here
	nested bool           // this is a "**" below another one
	edit   edit
}

// insert adds a route below the node, at the segments that are left of its pattern. The
// node must be in the hands of the edit. below tells that a "**" stands above.
func (n *node[T]) insert(segs []string, x *entry[T], below bool, e edit) {
	if len(segs) == 0 {
		n.leaf.insert(x, e)
		return
	}
	sub := n.sub(segs[0], e)
	if segs[0] == "**" {
		sub.nested = below
		below = true
	}
	sub.insert(segs[1:], x, below, e)
}

// sub is where the segment leads, made or copied so that the edit owns it.
func (n *node[T]) sub(seg string, e edit) *node[T] {
	switch seg {
	case "*":
		n.one = n.one.own(e)
		return n.one
	case "**":
		n.many = n.many.own(e)
		return n.many
	}
	h := hashOf(seg)
	old := n.words.get(seg, h)
	sub := old.own(e)
	if sub != old {
		// The same words stand at many nodes: one copy of each stays in the CPU's cache.
		n.words.put(unique.Make(seg).Value(), h, sub, e)
	}
	return sub
}

// find is the leaf of the pattern with these segments, or nil.
func (n *node[T]) find(segs []string) *leaf[T] {
	for _, seg := range segs {
		if n == nil {
			return nil
		}
		switch seg {
		case "*":
			n = n.one
		case "**":
			n = n.many
		default:
			n = n.words.get(seg, hashOf(seg))
		}
	}
	if n == nil {
		return nil
	}
	return &n.leaf
}

// remove takes out the leaf of a pattern that is there, and the nodes that lead nowhere
// then. The node must be in the hands of the edit.
func (n *node[T]) remove(segs []string, e edit) {
	if len(segs) == 0 {
		n.leaf = leaf[T]{}
		return
	}
	sub := n.sub(segs[0], e)
	sub.remove(segs[1:], e)
	if !sub.empty() {
		return
	}
	switch seg := segs[0]; seg {
	case "*":
		n.one = nil
	case "**":
		n.many = nil
	default:
		n.words.remove(seg, hashOf(seg), e)
	}
}

func (n *node[T]) empty() bool {
	return len(n.leaf.entries) == 0 && n.one == nil && n.many == nil && n.words.empty()
}

// each calls visit with every leaf.
func (n *node[T]) each(visit func(*leaf[T])) {
	if n == nil {
		return
	}
	visit(&n.leaf)
	n.one.each(visit)
	n.many.each(visit)
	n.words.each(func(sub *node[T]) { sub.each(visit) })
}

// own is the node if the edit made it, else a copy that the edit may change.
func (n *node[T]) own(e edit) *node[T] {
	switch {
	case n == nil:
		return &node[T]{edit: e}
	case n.edit == e:
		return n
	}
	own := *n
	own.edit = e
	return &own
}

// leaf is the routes of one pattern, in order. The zero leaf has none.
type leaf[T any] struct {
	entries []*entry[T]
	edit    edit
}

// insert puts a route in its place.
func (l *leaf[T]) insert(x *entry[T], e edit) {
	if l.edit != e {
		l.entries = append(make([]*entry[T], 0, len(l.entries)+1), l.entries...)
		l.edit = e
	}
	at, _ := slices.BinarySearchFunc(l.entries, x, byRank)
	l.entries = slices.Insert(l.entries, at, x)
}
