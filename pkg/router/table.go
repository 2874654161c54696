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
// It is a tree over the bits of the key's hash. Below a branch 32 ways lead on, five bits
// each. A bucket holds up to 8 items and, for each, a byte of its hash; looking for a key
// compares these bytes all at once, so that a miss seldom looks at an item.
type table[V any] struct{ root cell[V] }

const (
	fanBits   = 5
	maxBucket = 8
	lastLevel = 11 // fanBits of the hash for each level, 8 bits for the tag: below, buckets just grow
)

// cell is a branch if ways is set, else a bucket.
type cell[V any] struct {
	ways  *[1 << fanBits]*cell[V]
	items []item[V]
	tags  uint64 // tagOf the first 8 items, a byte each
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
func (t *table[V]) get(key string, hash uint64) *V {
	c := &t.root
	for h := hash; c.ways != nil; h >>= fanBits {
		if c = c.ways[h%(1<<fanBits)]; c == nil {
			return nil
		}
	}
	if i := c.index(key, hash); i >= 0 {
		return c.items[i].val
	}
	return nil
}

// index finds an item in a bucket. A tag that is equal shows as a high bit in m; one that
// is not may show too, behind one that is, so the key has the last word.
func (c *cell[V]) index(key string, hash uint64) int {
	x := c.tags ^ tagOf(hash)*lowBits
	for m := (x - lowBits) &^ x & highBits; m != 0; m &= m - 1 {
		i := bits.TrailingZeros64(m) / 8
		if i < len(c.items) && c.items[i].key == key {
			return i
		}
	}
	for i := maxBucket; i < len(c.items); i++ {
		if c.items[i].key == key {
			return i
		}
	}
	return -1
}

// put gives the key the value. The table must be in the hands of the edit.
func (t *table[V]) put(key string, hash uint64, val *V, e edit) {
	t.root.put(item[V]{key, hash, val}, 0, e)
}

func (c *cell[V]) put(it item[V], level int, e edit) {
	c.own(e)
	if c.ways == nil {
		if i := c.index(it.key, it.hash); i >= 0 {
			c.items[i].val = it.val
			return
		}
		if len(c.items) < maxBucket || level == lastLevel {
			c.append(it)
			return
		}
		c.split(level, e)
	}
	c.way(it.hash, level, e).put(it, level+1, e)
}

// way is the cell below a branch for the hash, made or copied so that the edit owns it.
func (c *cell[V]) way(hash uint64, level int, e edit) *cell[V] {
	at := &c.ways[hash>>(level*fanBits)%(1<<fanBits)]
	switch {
	case *at == nil:
		*at = &cell[V]{edit: e}
	case (*at).edit != e:
		own := **at
		*at = &own
	}
	return *at
}

// split makes a full bucket a branch.
func (c *cell[V]) split(level int, e edit) {
	items := c.items
	*c = cell[V]{ways: new([1 << fanBits]*cell[V]), edit: e}
	for _, it := range items {
		c.way(it.hash, level, e).put(it, level+1, e)
	}
}

// remove takes out the key, which must be there. The table must be in the hands of the edit.
func (t *table[V]) remove(key string, hash uint64, e edit) { t.root.remove(key, hash, 0, e) }

func (c *cell[V]) remove(key string, hash uint64, level int, e edit) {
	c.own(e)
	if c.ways == nil {
		i := c.index(key, hash)
		c.items = slices.Delete(c.items, i, i+1)
		c.retag()
		return
	}
	sub := c.way(hash, level, e)
	sub.remove(key, hash, level+1, e)
	if sub.empty() {
		c.ways[hash>>(level*fanBits)%(1<<fanBits)] = nil
	}
	if *c.ways == [1 << fanBits]*cell[V]{} {
		c.ways = nil
	}
}

func (t *table[V]) empty() bool { return t.root.empty() }

func (c *cell[V]) empty() bool { return c.ways == nil && len(c.items) == 0 }

// each calls visit with every value, in no useful order.
func (t *table[V]) each(visit func(*V)) { t.root.each(visit) }

func (c *cell[V]) each(visit func(*V)) {
	for _, it := range c.items {
		visit(it.val)
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
	if c.edit == e {
		return
	}
	c.edit = e
	if c.ways != nil {
		ways := *c.ways
		c.ways = &ways
		return
	}
	c.items = append(make([]item[V], 0, len(c.items)+1), c.items...)
}

func (c *cell[V]) append(it item[V]) {
	c.tag(len(c.items), it.hash)
	c.items = append(c.items, it)
}

func (c *cell[V]) retag() {
	c.tags = 0
	for i, it := range c.items {
		c.tag(i, it.hash)
	}
}

func (c *cell[V]) tag(i int, hash uint64) {
	if i < maxBucket {
		c.tags |= tagOf(hash) << (i * 8)
	}
}
