package plug

import "strings"

// Closest is the known word that text was probably meant to be, or "".
func Closest(text string, known []string) string { return closest(text, known) }

func closest(text string, known []string) string {
	best, distance := "", max(1, (len(text)+1)/4)+1
	for _, k := range known {
		if simplified(k) == simplified(text) {
			return k
		}
		if d := editDistance(text, k); d < distance && d < max(len(k), 2) {
			best, distance = k, d
		}
	}
	return best
}

// simplified drops what people mix up without noticing: case, - and _.
func simplified(s string) string {
	return strings.NewReplacer("_", "", "-", "").Replace(strings.ToLower(s))
}

// editDistance counts insertions, deletions, substitutions and swaps of neighbours.
func editDistance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return max(len(a), len(b))
	}
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
