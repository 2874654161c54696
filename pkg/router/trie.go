package router

import "unique"

// node is where the patterns with wildcards stand that share their first segments. It fits
// a cache line; what few nodes have is behind end.
type node[T any] struct {
	words table[node[T]] // the next segment is a word; its edit is also the node's
	one   *node[T]       // it is "*"
	end   *end[T]        // there is none, or it is "**"
}

// end is what begins where no segment has to follow.
type end[T any] struct {
	here   leaf[T]  // the pattern ends
	tail   leaf[T]  // it ends with a "**" more
	many   *node[T] // something follows after that "**"
	nested bool     // the "**" is below another one
	edit   edit
}

// insert adds a route below the node, at the segments that are left of its pattern. The
// node must be in the hands of the edit. below tells that a "**" stands above.
func (n *node[T]) insert(segs []string, x entry[T], below bool, e edit) {
	switch {
	case len(segs) == 0:
		n.ending(e).here.insert(x, e)
	case segs[0] != "**":
		n.sub(segs[0], e).insert(segs[1:], x, below, e)
	default:
		end := n.ending(e)
		end.nested = below
		if len(segs) == 1 {
			end.tail.insert(x, e)
		} else {
			end.many = end.many.own(e)
			end.many.insert(segs[1:], x, true, e)
		}
	}
}

// sub is where the word or "*" leads, made or copied so that the edit owns it.
func (n *node[T]) sub(seg string, e edit) *node[T] {
	if seg == "*" {
		n.one = n.one.own(e)
		return n.one
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

// ending is the node's end, made or copied so that the edit owns it.
func (n *node[T]) ending(e edit) *end[T] {
	switch {
	case n.end == nil:
		n.end = &end[T]{edit: e}
	case n.end.edit != e:
		own := *n.end
		own.edit = e
		n.end = &own
	}
	return n.end
}

// find is the leaf of the pattern with these segments, or nil.
func (n *node[T]) find(segs []string) *leaf[T] {
	for i, seg := range segs {
		switch {
		case n == nil:
			return nil
		case seg == "*":
			n = n.one
		case seg != "**":
			n = n.words.get(seg, hashOf(seg))
		case n.end == nil:
			return nil
		case i == len(segs)-1:
			return &n.end.tail
		default:
			n = n.end.many
		}
	}
	if n == nil || n.end == nil {
		return nil
	}
	return &n.end.here
}

// remove takes out the leaf of a pattern that is there, and the nodes that lead nowhere
// then. The node must be in the hands of the edit.
func (n *node[T]) remove(segs []string, e edit) {
	if len(segs) == 0 || segs[0] == "**" {
		n.removeEnd(segs, e)
		return
	}
	seg := segs[0]
	sub := n.sub(seg, e)
	sub.remove(segs[1:], e)
	switch {
	case !sub.empty():
	case seg == "*":
		n.one = nil
	default:
		n.words.remove(seg, hashOf(seg), e)
	}
}

func (n *node[T]) removeEnd(segs []string, e edit) {
	end := n.ending(e)
	switch len(segs) {
	case 0:
		end.here = leaf[T]{}
	case 1:
		end.tail = leaf[T]{}
	default:
		end.many = end.many.own(e)
		if end.many.remove(segs[1:], e); end.many.empty() {
			end.many = nil
		}
	}
	if end.here.empty() && end.tail.empty() && end.many == nil {
		n.end = nil
	}
}

func (n *node[T]) empty() bool { return n.end == nil && n.one == nil && n.words.empty() }

// each calls visit with every leaf, also those without routes.
func (n *node[T]) each(visit func(*leaf[T])) {
	if n == nil {
		return
	}
	if n.end != nil {
		visit(&n.end.here)
		visit(&n.end.tail)
		n.end.many.each(visit)
	}
	n.one.each(visit)
	n.words.each(func(sub *node[T]) { sub.each(visit) })
}

// own is the node if the edit made it, else a copy that the edit may change.
func (n *node[T]) own(e edit) *node[T] {
	own := new(node[T])
	if n != nil {
		if n.words.root.edit == e {
			return n
		}
		*own = *n
	}
	own.words.root.own(e)
	return own
}
