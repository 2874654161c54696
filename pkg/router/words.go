package router

import (
	"math/bits"
	"math/rand/v2"
)

// word is a segment of a type: typ[from:to].
type word struct {
	hash     uint64
	from, to int
}

// Hashes are keyed anew in each process, so that nobody can prepare patterns that collide.
// Their only use is to find things; what is found is always compared.
var keys = [2]uint64{rand.Uint64() | 1, rand.Uint64()}

// split appends the segments of the type to words; it reports false if it is no type.
func split(typ string, words []word) ([]word, bool) {
	for from := 0; from <= len(typ); {
		hash, to := cut(typ, from)
		if from == to {
			return words, false
		}
		words = append(words, word{hash, from, to})
		from = to + 1
	}
	return words, true
}

// hashOf is the hash of one segment.
func hashOf(seg string) uint64 {
	hash, _ := cut(seg, 0)
	return hash
}

// hashType is the hash of a whole type.
func hashType(typ string) uint64 {
	words, _ := split(typ, nil)
	return fold(words)
}

// fold is the hash of a type from those of its segments.
func fold(words []word) uint64 {
	h := keys[1]
	for i := range words {
		h = mix(h, words[i].hash)
	}
	return h
}

const (
	lowBits  = 0x0101010101010101
	highBits = 0x8080808080808080
	dots     = '.' * lowBits
)

// cut finds the end of the segment that starts at from, and hashes it on the way. Eight
// bytes at a time this takes half as long as strings.IndexByte and hash/maphash together.
func cut(typ string, from int) (hash uint64, to int) {
	hash = keys[1]
	for i := from; ; i += 8 {
		x := load(typ, i)
		d := x ^ dots
		if end := (d - lowBits) &^ d & highBits; end != 0 { // its lowest bit is in the first dot
			n := bits.TrailingZeros64(end) / 8
			if n > 0 {
				hash = mix(hash, x<<(64-8*n))
			}
			return hash, i + n
		}
		hash = mix(hash, x)
	}
}

// load gives eight bytes of s from i on, as if dots followed s. The compiler makes one
// instruction of the long expression.
func load(s string, i int) uint64 {
	if len(s)-i >= 8 {
		s = s[i : i+8]
		return uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
			uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
	}
	x := uint64(dots)
	for j := len(s) - 1; j >= i; j-- {
		x = x<<8 | uint64(s[j])
	}
	return x
}

func mix(h, x uint64) uint64 {
	hi, lo := bits.Mul64(h^x, keys[0])
	return hi ^ lo
}
