package router

import (
	"slices"
	"sync/atomic"
)

// table is a persistent hash table from strings to *V: a copy of it can be changed without
// the original seeing that, and shares with it all but the few small arrays that changed.
// The zero table is empty.
//
// It is a tree over the low bits of the key's hash. Below a branch 64 ways lead on, six
// bits each. A bucket is an open-addressed hash table of up to 192 keys, indexed by the
// high bits. So a bucket among 10,000 keys is one branch away and one among 100,000 two,
// and a change copies a few kilobytes.
type table[V any] struct{ root cell[V] }

const (
	fanBits   = 6
	maxSlots  = 256 // of a bucket, if it can be split
	lastLevel = 9   // below that many branches the low bits are used up, and buckets just grow
)

// cell is a branch if ways is set, else a bucket.
type cell[V any] struct {
	ways  *[1 << fanBits]*cell[V]
	slots []slot[V] // a power of two, or none
	tags  uint64    // the tag of every key in the slots: most misses end here
	edit  edit
}

// slot is free if it has no value.
type slot[V any] struct {
	hash uint64
	key  string
	val  *V
}

// edit names one call that builds a router. What it made itself it may change in place,
// until it hands the router out; everything else it copies.
type edit uint64

var edits atomic.Uint64

func newEdit() edit { return edit(edits.Add(1)) }

// get returns the key's value, or nil.
func (t *table[V]) get(key string, hash uint64) *V {
	c := &t.root
	for h := hash; c.ways != nil; h >>= fanBits {
		if c = c.ways[h%(1<<fanBits)]; c == nil {
			return nil
		}
	}
	if c.tags&tag(hash) == 0 {
		return nil
	}
	if s := c.find(key, hash); s != nil {
		return s.val
	}
	return nil
}

// put gives the key the value. The table must be in the hands of the edit.
func (t *table[V]) put(key string, hash uint64, val *V, e edit) {
	t.root.put(slot[V]{hash, key, val}, 0, e)
}

func (c *cell[V]) put(s slot[V], level int, e edit) {
	c.own(e)
	if c.ways == nil {
		at := c.find(s.key, s.hash)
		switch {
		case at != nil && at.val != nil: // the key is there
			at.val = s.val
			return
		case at != nil && c.used() < room(len(c.slots)):
			*at = s
			c.tags |= tag(s.hash)
			return
		case len(c.slots) < maxSlots || level == lastLevel:
			c.resize(max(1, 2*len(c.slots)))
			c.put(s, level, e)
			return
		}
		c.split(level, e)
	}
	c.way(s.hash, level, e).put(s, level+1, e)
}

// used is how many slots are taken.
func (c *cell[V]) used() int {
	n := 0
	for i := range c.slots {
		if c.slots[i].val != nil {
			n++
		}
	}
	return n
}

// tag is one of 64 bits, which tells apart most keys of the small buckets of a trie.
func tag(hash uint64) uint64 { return 1 << (hash >> 50 % 64) }

// room is how many of so many slots may be taken.
func room(slots int) int { return slots - slots/4 }

// find is the slot of the key in a bucket, or the free one where it belongs, or nil if
// there is none of either.
func (c *cell[V]) find(key string, hash uint64) *slot[V] {
	mask := uint64(len(c.slots) - 1)
	for i := range uint64(len(c.slots)) {
		s := &c.slots[(hash>>56+i)&mask]
		if s.hash == hash && s.key == key || s.val == nil {
			return s
		}
	}
	return nil
}

// resize makes a bucket one of so many slots.
func (c *cell[V]) resize(slots int) {
	old := c.slots
	c.slots, c.tags = make([]slot[V], slots), 0
	for _, s := range old {
		if s.val != nil {
			*c.find(s.key, s.hash) = s
			c.tags |= tag(s.hash)
		}
	}
}

// split makes a bucket a branch.
func (c *cell[V]) split(level int, e edit) {
	old := c.slots
	*c = cell[V]{ways: new([1 << fanBits]*cell[V]), edit: e}
	for _, s := range old {
		if s.val != nil {
			c.way(s.hash, level, e).put(s, level+1, e)
		}
	}
}

// way is the cell below a branch for the hash, made or copied so that the edit owns it.
func (c *cell[V]) way(hash uint64, level int, e edit) *cell[V] {
	at := &c.ways[hash>>(level*fanBits)%(1<<fanBits)]
	switch {
	case *at == nil:
		*at = &cell[V]{edit: e}
	case (*at).edit != e:
		own := **at
		own.own(e)
		*at = &own
	}
	return *at
}

// remove takes out the key, which must be there. The table must be in the hands of the edit.
func (t *table[V]) remove(key string, hash uint64, e edit) { t.root.remove(key, hash, 0, e) }

func (c *cell[V]) remove(key string, hash uint64, level int, e edit) {
	c.own(e)
	if c.ways == nil {
		*c.find(key, hash) = slot[V]{}
		c.resize(len(c.slots)) // puts the others where they belong without it
		return
	}
	sub := c.way(hash, level, e)
	if sub.remove(key, hash, level+1, e); !sub.empty() {
		return
	}
	c.ways[hash>>(level*fanBits)%(1<<fanBits)] = nil
	if *c.ways == [1 << fanBits]*cell[V]{} {
		c.ways = nil
	}
}

func (t *table[V]) empty() bool { return t.root.empty() }

func (c *cell[V]) empty() bool { return c.ways == nil && c.tags == 0 }

// each calls visit with every value, in no useful order.
func (t *table[V]) each(visit func(*V)) { t.root.each(visit) }

func (c *cell[V]) each(visit func(*V)) {
	for _, s := range c.slots {
		if s.val != nil {
			visit(s.val)
		}
	}
	if c.ways == nil {
		return
	}
	for _, sub := range c.ways {
		if sub != nil {
			sub.each(visit)
		}
	}
}

// own replaces what the cell shares with the one that it is a copy of, so that the edit may
// change it.
func (c *cell[V]) own(e edit) {
	switch {
	case c.edit == e:
	case c.ways != nil:
		ways := *c.ways
		c.ways = &ways
	default:
		c.slots = slices.Clone(c.slots)
	}
	c.edit = e
}
