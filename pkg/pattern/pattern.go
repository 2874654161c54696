package pattern

import (
	"encoding"
	"strings"

	"github.com/signalmesh/signalmesh/pkg/fault"
)

// MaxLength is the longest pattern that [Parse] takes, in bytes. It is far above what any
// valid type could need, and only keeps a hostile pattern from costing memory.
const MaxLength = 8192

const (
	one  = "*"  // exactly one segment
	many = "**" // zero or more segments
)

// A Pattern selects types. Make one with [Parse]; the zero Pattern selects nothing.
type Pattern struct {
	text  string
	score int  // see Specificity
	need  int  // no shorter type can match, in bytes
	wild  bool // holds a wildcard
}

// Parse reads a pattern. An error has the code [fault.Invalid] and says which segment is
// wrong, in which column (bytes, from 1) and why.
func Parse(text string) (Pattern, error) {
	if len(text) > MaxLength {
		return Pattern{}, fault.Newf(fault.Invalid, "pattern of %d bytes is longer than %d", len(text), MaxLength)
	}
	p := Pattern{text: text}
	total := strings.Count(text, ".") + 1
	last, column := "", 0
	for i := range total {
		seg, next := cut(text, column)
		if why := wrong(seg, last); why != "" {
			return Pattern{}, fault.Newf(fault.Invalid, "pattern %q: segment %d (column %d) %s",
				brief(text), i+1, column+1+offence(seg), why)
		}
		p.add(seg, i, total)
		last, column = seg, next
	}
	p.need = max(p.need-1, 1)
	return p, nil
}

// MustParse is [Parse] for patterns written in the program; it panics on an invalid one.
func MustParse(text string) Pattern {
	p, err := Parse(text)
	if err != nil {
		panic(err)
	}
	return p
}

// add counts the segment at index i of total into what Parse precomputes.
func (p *Pattern) add(seg string, i, total int) {
	p.score += 2000
	switch seg {
	case many:
		p.score -= 2000 - 200*i
		p.wild = true
		return // may be no segment at all, so it needs no byte
	case one:
		p.score -= 1000 - 100*i
		p.wild = true
	default:
		p.score += 3000 * (total - i)
	}
	p.need += len(seg) + 1
}

// Match reports whether the pattern selects the type, all of it. See the package comment
// for its cost.
func (p Pattern) Match(typ string) bool {
	if !p.wild {
		return typ == p.text && typ != ""
	}
	return len(typ) >= p.need && wellFormed(typ) && glob(p.text, typ)
}

// String is the pattern as it was written.
func (p Pattern) String() string { return p.text }

// IsZero reports whether this is the zero Pattern, which selects nothing.
func (p Pattern) IsZero() bool { return p.text == "" }

// IsExact reports whether the pattern has no wildcard, so that it selects exactly the type
// that it spells.
func (p Pattern) IsExact() bool { return !p.wild && p.text != "" }

// Segments are the parts between the dots, in order; nil for the zero Pattern.
func (p Pattern) Segments() []string {
	if p.text == "" {
		return nil
	}
	return strings.Split(p.text, ".")
}

// MarshalText gives the pattern as written, and the zero Pattern as no text.
func (p Pattern) MarshalText() ([]byte, error) { return []byte(p.text), nil }

// UnmarshalText is [Parse], except that no text is the zero Pattern.
func (p *Pattern) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*p = Pattern{}
		return nil
	}
	parsed, err := Parse(string(text))
	if err != nil {
		return err
	}
	*p = parsed
	return nil
}

// glob matches a parsed pattern with wildcards against a well-formed type. p and t are the
// offsets of the current segments; one past the end means there is none left. Placing the
// segments after a "**" as early as possible never rules out a later match, so only the
// last "**" has to be returned to.
func glob(pattern, typ string) bool {
	p, t := 0, 0
	resume, start := -1, 0 // after the last "**", and where in the type its rest was tried
	for t <= len(typ) {
		if p <= len(pattern) {
			seg, next := cut(pattern, p)
			if seg == many {
				if next > len(pattern) {
					return true
				}
				p, resume, start = next, next, t
				continue
			}
			if word, after := cut(typ, t); seg == one || seg == word {
				p, t = next, after
				continue
			}
		}
		if resume < 0 {
			return false
		}
		_, start = cut(typ, start)
		p, t = resume, start
	}
	return p > len(pattern) || pattern[p:] == many
}

// cut returns the segment of s that starts at from, and where the next one starts: past
// the end of s when this was the last.
func cut(s string, from int) (seg string, next int) {
	if n := strings.IndexByte(s[from:], '.'); n >= 0 {
		return s[from : from+n], from + n + 1
	}
	return s[from:], len(s) + 1
}

func wellFormed(typ string) bool {
	return typ != "" && typ[0] != '.' && typ[len(typ)-1] != '.' && !strings.Contains(typ, "..")
}

var (
	_ encoding.TextMarshaler   = Pattern{}
	_ encoding.TextUnmarshaler = (*Pattern)(nil)
)
