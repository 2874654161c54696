package pattern

import "cmp"

// Specificity is how much of a type the pattern pins down; higher is more specific. Of n
// segments, counted by i from 0, each adds 2000; a word adds another 3000·(n−i), "**"
// takes off 2000−200·i and "*" takes off 1000−100·i. A word early in the pattern counts
// more than a late one, so "a.b.*" is above "a.*.c". It is never negative, and 0 for "**"
// and for the zero Pattern.
//
// The score alone puts "a.**" above "a", though both select the type a: to order patterns
// use [Compare], which puts those without wildcards first.
func (p Pattern) Specificity() int { return p.score }

// Compare orders patterns from the most to the least specific: it is negative when a comes
// before b, and 0 when neither does, which also happens for different patterns. It fits
// [slices.SortStableFunc]. The zero Pattern comes last.
func Compare(a, b Pattern) int {
	if a.IsExact() != b.IsExact() {
		if a.IsExact() {
			return -1
		}
		return 1
	}
	if a.IsZero() != b.IsZero() {
		if b.IsZero() {
			return -1
		}
		return 1
	}
	return cmp.Compare(b.score, a.score)
}
