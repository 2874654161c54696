package router

import "slices"

// node is where the patterns with wildcards stand that share their first segments.
type node[T any] struct {
	words  table[node[T]] // the next segment is a word
	one    *node[T]       // it is "*"
	many   *node[T]       // it is "**"
	leaf   *leaf[T]       // the pattern ends here
	nested bool           // this is a "**" below another one
	edit   edit
}

// leaf is the routes of one pattern, in order.
type leaf[T any] struct {
	entries []*entry[T]
	edit    edit
}

// insert is the node with the route added below it, at the segments that are left of its
// pattern. below tells that a "**" stands above.
func (n *node[T]) insert(segs []string, x *entry[T], below bool, e edit) *node[T] {
	n = n.own(e)
	if len(segs) == 0 {
		n.leaf = n.leaf.insert(x, e)
		return n
	}
	switch seg, rest := segs[0], segs[1:]; seg {
	case "*":
		n.one = n.one.insert(rest, x, below, e)
	case "**":
		n.many = n.many.insert(rest, x, true, e)
		n.many.nested = below
	default:
		h := hashOf(seg)
		n.words = n.words.put(seg, h, n.words.get(seg, h).insert(rest, x, below, e), e)
	}
	return n
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
	return n.leaf
}

// remove takes out the leaf of a pattern that is there, and gives nil for a node that
// leads nowhere then.
func (n *node[T]) remove(segs []string, e edit) *node[T] {
	n = n.own(e)
	if len(segs) == 0 {
		n.leaf = nil
	} else {
		n.removeBelow(segs[0], segs[1:], e)
	}
	if n.leaf == nil && n.one == nil && n.many == nil && n.words.empty() {
		return nil
	}
	return n
}

func (n *node[T]) removeBelow(seg string, rest []string, e edit) {
	switch seg {
	case "*":
		n.one = n.one.remove(rest, e)
	case "**":
		n.many = n.many.remove(rest, e)
	default:
		h := hashOf(seg)
		if sub := n.words.get(seg, h).remove(rest, e); sub != nil {
			n.words = n.words.put(seg, h, sub, e)
		} else {
			n.words = n.words.remove(seg, h, e)
		}
	}
}

// each calls visit with every leaf.
func (n *node[T]) each(visit func(*leaf[T])) {
	if n == nil {
		return
	}
	if n.leaf != nil {
		visit(n.leaf)
	}
	n.one.each(visit)
	n.many.each(visit)
	n.words.each(func(sub *node[T]) { sub.each(visit) })
}

// own is the node if this edit made it, else a copy that this edit may change.
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

// insert is the leaf with the route added in its place.
func (l *leaf[T]) insert(x *entry[T], e edit) *leaf[T] {
	switch {
	case l == nil:
		l = &leaf[T]{edit: e}
	case l.edit != e:
		l = &leaf[T]{append(make([]*entry[T], 0, len(l.entries)+1), l.entries...), e}
	}
	at, _ := slices.BinarySearchFunc(l.entries, x, byRank)
	l.entries = slices.Insert(l.entries, at, x)
	return l
}
