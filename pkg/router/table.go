package router

import (
	"hash/maphash"
	"math/bits"
	"slices"
	"sync/atomic"
)

// table is a persistent hash table from strings to *V: put and remove give a new table that
// shares all but a few small nodes with the old one. The zero table is empty.
//
// It is a tree over the bits of the key's hash. Below a branch 64 ways lead on, six bits
// each. A bucket holds up to 24 items and, for each, a byte of its hash; looking for a key
// compares eight of those bytes at a time. So among 100,000 keys a miss costs three cache
// lines, of which the first two are shared by all lookups.
type table[V any] struct{ root *cell[V] }

const (
	fanBits   = 6
	maxBucket = 24
	lastLevel = 54 / fanBits // below it a bucket takes whatever comes; the tag is the other 8 bits
)

// cell is a branch if ways is set, else a bucket. It fits a cache line.
type cell[V any] struct {
	ways  *[1 << fanBits]*cell[V]
	items []item[V]
	tags  [maxBucket / 8]uint64 // tagOf each item, a byte each
	edit  edit
}

type item[V any] struct {
	key  string
	hash uint64
	val  *V
}

// edit names one call that builds a router. What it made itself it may change in place,
// until it hands the router out; everything else it copies.
type edit uint64

var edits atomic.Uint64

func newEdit() edit { return edit(edits.Add(1)) }

var seed = maphash.MakeSeed()

func hashOf(key string) uint64 { return maphash.String(seed, key) }

const (
	lowBits  = 0x0101010101010101
	highBits = 0x8080808080808080
)

func tagOf(hash uint64) uint64 { return hash >> 56 }

// get returns the key's value, or nil.
func (t table[V]) get(key string, hash uint64) *V {
	c := t.root
	for h := hash; c != nil; h >>= fanBits {
		if c.ways == nil {
			return c.find(key, hash)
		}
		c = c.ways[h%(1<<fanBits)]
	}
	return nil
}

func (c *cell[V]) find(key string, hash uint64) *V {
	if i := c.index(key, hash); i >= 0 {
		return c.items[i].val
	}
	return nil
}

// index finds an item in a bucket. A tag that is equal shows as a high bit in m; one that
// is not may show too, behind one that is, so the key has the last word.
func (c *cell[V]) index(key string, hash uint64) int {
	want := tagOf(hash) * lowBits
	for w := 0; w*8 < len(c.items) && w < len(c.tags); w++ {
		x := c.tags[w] ^ want
		for m := (x - lowBits) &^ x & highBits; m != 0; m &= m - 1 {
			i := w*8 + bits.TrailingZeros64(m)/8
			if i < len(c.items) && c.items[i].key == key {
				return i
			}
		}
	}
	for i := maxBucket; i < len(c.items); i++ {
		if c.items[i].key == key {
			return i
		}
	}
	return -1
}

// put is the table in which the key has the value.
func (t table[V]) put(key string, hash uint64, val *V, e edit) table[V] {
	return table[V]{t.root.put(item[V]{key, hash, val}, 0, e)}
}

func (c *cell[V]) put(it item[V], level int, e edit) *cell[V] {
	if c == nil {
		c = &cell[V]{edit: e}
	} else {
		c = c.own(e)
	}
	if c.ways == nil {
		if i := c.index(it.key, it.hash); i >= 0 {
			c.items[i].val = it.val
			return c
		}
		if len(c.items) < maxBucket || level == lastLevel {
			c.append(it)
			return c
		}
		c.split(level, e)
	}
	way := &c.ways[way(it.hash, level)]
	*way = (*way).put(it, level+1, e)
	return c
}

// split makes a full bucket that this edit owns a branch.
func (c *cell[V]) split(level int, e edit) {
	items := c.items
	*c = cell[V]{ways: new([1 << fanBits]*cell[V]), edit: e}
	for _, it := range items {
		way := &c.ways[way(it.hash, level)]
		*way = (*way).put(it, level+1, e)
	}
}

// remove is the table without the key.
func (t table[V]) remove(key string, hash uint64, e edit) table[V] {
	if t.get(key, hash) == nil {
		return t
	}
	return table[V]{t.root.remove(key, hash, 0, e)}
}

// remove takes out a key that is there, and gives nil for a cell that is then empty.
func (c *cell[V]) remove(key string, hash uint64, level int, e edit) *cell[V] {
	c = c.own(e)
	if c.ways == nil {
		i := c.index(key, hash)
		c.items = slices.Delete(c.items, i, i+1)
		c.retag()
		if len(c.items) == 0 {
			return nil
		}
		return c
	}
	w := way(hash, level)
	c.ways[w] = c.ways[w].remove(key, hash, level+1, e)
	if *c.ways == [1 << fanBits]*cell[V]{} {
		return nil
	}
	return c
}

// each calls visit with every value, in no useful order.
func (t table[V]) each(visit func(*V)) { t.root.each(visit) }

func (c *cell[V]) each(visit func(*V)) {
	switch {
	case c == nil:
	case c.ways != nil:
		for _, sub := range c.ways {
			sub.each(visit)
		}
	default:
		for i := range c.items {
			visit(c.items[i].val)
		}
	}
}

func (t table[V]) empty() bool { return t.root == nil }

// own is the cell if this edit made it, else a copy that this edit may change.
func (c *cell[V]) own(e edit) *cell[V] {
	if c.edit == e {
		return c
	}
	own := &cell[V]{tags: c.tags, edit: e}
	if c.ways != nil {
		ways := *c.ways
		own.ways = &ways
		return own
	}
	own.items = append(make([]item[V], 0, len(c.items)+1), c.items...)
	return own
}

func (c *cell[V]) append(it item[V]) {
	c.tag(len(c.items), it.hash)
	c.items = append(c.items, it)
}

func (c *cell[V]) retag() {
	c.tags = [len(c.tags)]uint64{}
	for i, it := range c.items {
		c.tag(i, it.hash)
	}
}

func (c *cell[V]) tag(i int, hash uint64) {
	if i < maxBucket {
		c.tags[i/8] |= tagOf(hash) << (i % 8 * 8)
	}
}

// way is which of a branch's ways the hash takes at this level.
func way(hash uint64, level int) uint64 { return hash >> (level * fanBits) % (1 << fanBits) }
