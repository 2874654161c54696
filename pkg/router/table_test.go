package router // the table is nobody's business outside, and hashes have to be chosen here

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"
)

// TestTableAgainstMap changes versions of a table whose hashes collide in all or some of
// their bits.
func TestTableAgainstMap(t *testing.T) {
	t.Parallel()
	for name, hash := range map[string]func(i int) uint64{
		"all equal":  func(int) uint64 { return 7 },
		"low equal":  func(i int) uint64 { return uint64(i) << 54 },
		"high equal": func(i int) uint64 { return uint64(i) },
		"few":        func(i int) uint64 { return uint64(i%3) * 0x9e3779b97f4a7c15 },
		"good":       func(i int) uint64 { return hashOf(fmt.Sprint(i)) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rapid.Check(t, func(t *rapid.T) { checkTable(t, hash) })
		})
	}
}

type tableVersion struct {
	table table[int]
	model map[int]int
}

func checkTable(t *rapid.T, hash func(int) uint64) {
	const keys = 300 // more than a bucket holds
	versions := []tableVersion{{}}
	for change := range rapid.IntRange(1, 8).Draw(t, "changes") {
		old := versions[rapid.IntRange(0, change).Draw(t, "version")]
		v := tableVersion{old.table, map[int]int{}}
		for k, x := range old.model {
			v.model[k] = x
		}
		e := newEdit()
		from, n := rapid.IntRange(0, keys-1).Draw(t, "from"), rapid.SampledFrom([]int{1, 5, keys}).Draw(t, "count")
		put := rapid.Bool().Draw(t, "put")
		for i := range n {
			k := (from + i) % keys
			_, there := v.model[k]
			if put {
				v.model[k] = change
				v.table.put(fmt.Sprint(k), hash(k), &change, e)
			} else if there {
				delete(v.model, k)
				v.table.remove(fmt.Sprint(k), hash(k), e)
			}
		}
		versions = append(versions, v)
	}
	for i, v := range versions {
		v.check(t, i, keys, hash)
	}
}

func (v *tableVersion) check(t *rapid.T, version, keys int, hash func(int) uint64) {
	for k := range keys {
		want, there := v.model[k]
		got := v.table.get(fmt.Sprint(k), hash(k))
		if (got != nil) != there || there && *got != want {
			t.Fatalf("version %d: get(%d) = %v, want %d, %t", version, k, got, want, there)
		}
	}
	count := 0
	v.table.each(func(*int) { count++ })
	if count != len(v.model) || v.table.empty() != (len(v.model) == 0) {
		t.Fatalf("version %d: %d keys, empty %t, want %d", version, count, v.table.empty(), len(v.model))
	}
}

func TestSplit(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		typ := rapid.StringMatching(`([a-c.]|[a-z]{7,9}|[a-z]{15,17}|é){0,9}`).Draw(t, "type")
		words, ok := split(typ, nil)
		from := 0
		for i, w := range words {
			if w.from != from || w.to <= w.from || w.to < len(typ) && typ[w.to] != '.' {
				t.Fatalf("split(%q)[%d] = %d to %d", typ, i, w.from, w.to)
			}
			if w.hash != hashOf(typ[w.from:w.to]) {
				t.Fatalf("split(%q)[%d] has another hash than %q alone", typ, i, typ[w.from:w.to])
			}
			from = w.to + 1
		}
		if ok != (from == len(typ)+1) {
			t.Fatalf("split(%q) = %v, %t", typ, words, ok)
		}
	})
}
