package signal

import (
	"encoding/binary"
	"math/bits"
	"unicode/utf8"

	"github.com/signalmesh/signalmesh/pkg/fault"
)

// ValidJSON reports whether data is exactly one JSON value. It refuses what encoding/json
// refuses, and text that is not UTF-8. The error says where, coded Invalid, or TooLarge for
// more than [MaxDepth] nested arrays and objects.
//
// Repeated keys are not looked for: within the data they are the producer's business.
func ValidJSON(data []byte) error {
	c := scanner{src: data}
	c.space()
	if err := c.value(0); err != nil {
		return err
	}
	return c.end()
}

// scanner walks JSON text once, from left to right, without building anything.
type scanner struct {
	src []byte
	pos int
}

// span is a piece of the source. escaped says that it is the inside of a string that holds
// backslashes.
type span struct {
	start, end int
	escaped    bool
}

func (sp span) len() int { return sp.end - sp.start }

func (c *scanner) fail(what string) error {
	if c.pos >= len(c.src) {
		return fault.Newf(fault.Invalid, "malformed JSON: it ends too early, at byte %d", len(c.src))
	}
	return fault.Newf(fault.Invalid, "malformed JSON at byte %d: %s", c.pos, what)
}

func (c *scanner) space() {
	for c.pos < len(c.src) {
		switch c.src[c.pos] {
		case ' ', '\n', '\r', '\t':
			c.pos++
		default:
			return
		}
	}
}

// peek returns the next byte, or 0 at the end; 0 is never part of JSON.
func (c *scanner) peek() byte {
	if c.pos < len(c.src) {
		return c.src[c.pos]
	}
	return 0
}

// end checks that nothing but space follows.
func (c *scanner) end() error {
	if c.space(); c.pos < len(c.src) {
		return c.fail("more text after the value")
	}
	return nil
}

// value passes one value of any kind. No space may precede it.
func (c *scanner) value(depth int) error {
	switch b := c.peek(); b {
	case '"':
		_, err := c.str()
		return err
	case '{', '[':
		if depth >= MaxDepth {
			return fault.Newf(fault.TooLarge, "JSON nested deeper than %d at byte %d", MaxDepth, c.pos)
		}
		c.pos++
		c.space()
		if b == '{' {
			return c.object(depth + 1)
		}
		return c.array(depth + 1)
	case 't':
		return c.literal("true")
	case 'f':
		return c.literal("false")
	case 'n':
		return c.literal("null")
	}
	return c.number()
}

// object passes the rest of an object, after the brace and space.
func (c *scanner) object(depth int) error {
	if c.peek() == '}' {
		c.pos++
		return nil
	}
	for {
		if _, err := c.key(); err != nil {
			return err
		}
		if err := c.value(depth); err != nil {
			return err
		}
		if more, err := c.more('}'); !more {
			return err
		}
	}
}

// array passes the rest of an array, after the bracket and space.
func (c *scanner) array(depth int) error {
	if c.peek() == ']' {
		c.pos++
		return nil
	}
	for {
		if err := c.value(depth); err != nil {
			return err
		}
		if more, err := c.more(']'); !more {
			return err
		}
	}
}

// key passes a key, its colon, and the space before the value.
func (c *scanner) key() (span, error) {
	if c.peek() != '"' {
		return span{}, c.fail("want a key in quotes")
	}
	name, err := c.str()
	if err != nil {
		return span{}, err
	}
	c.space()
	if c.peek() != ':' {
		return span{}, c.fail("want a colon after the key")
	}
	c.pos++
	c.space()
	return name, nil
}

// more passes the comma and space before the next element, or the closing byte.
func (c *scanner) more(closing byte) (bool, error) {
	c.space()
	switch c.peek() {
	case ',':
		c.pos++
		c.space()
		return true, nil
	case closing:
		c.pos++
		return false, nil
	}
	return false, c.fail("want a comma or the end of the array or object")
}

func (c *scanner) literal(word string) error {
	for i := range len(word) {
		if c.peek() != word[i] {
			return c.fail("want " + word)
		}
		c.pos++
	}
	return nil
}

// number passes a number as RFC 8259 defines it: no leading zeros, no plus, no bare point.
func (c *scanner) number() error {
	if c.peek() == '-' {
		c.pos++
	}
	switch b := c.peek(); {
	case b == '0':
		c.pos++
	case b >= '1' && b <= '9':
		c.digits()
	default:
		return c.fail("want a value")
	}
	if c.peek() == '.' {
		c.pos++
		if !c.digits() {
			return c.fail("want a digit after the point")
		}
	}
	if b := c.peek(); b == 'e' || b == 'E' {
		c.pos++
		if b := c.peek(); b == '+' || b == '-' {
			c.pos++
		}
		if !c.digits() {
			return c.fail("want a digit in the exponent")
		}
	}
	return nil
}

// digits passes digits and reports whether there was one.
func (c *scanner) digits() bool {
	start := c.pos
	for b := c.peek(); b >= '0' && b <= '9'; b = c.peek() {
		c.pos++
	}
	return c.pos > start
}

// str passes a string, which must begin here, and returns what is between its quotes.
func (c *scanner) str() (span, error) {
	c.pos++
	sp := span{start: c.pos}
	for {
		c.plain()
		switch b := c.peek(); {
		case b == '"':
			sp.end = c.pos
			c.pos++
			return sp, nil
		case b == '\\':
			sp.escaped = true
			if err := c.escape(); err != nil {
				return span{}, err
			}
		case b >= utf8.RuneSelf:
			r, size := utf8.DecodeRune(c.src[c.pos:])
			if r == utf8.RuneError && size == 1 {
				return span{}, c.fail("not UTF-8")
			}
			c.pos += size
		case b < ' ':
			return span{}, c.fail("control character in a string")
		default:
			c.pos++
		}
	}
}

const (
	lowBits  = 0x0101010101010101
	highBits = 0x8080808080808080
)

// plain passes characters that mean nothing special in a string, eight at a time, and stops
// at or shortly before the first that does.
func (c *scanner) plain() {
	for c.pos+8 <= len(c.src) {
		w := binary.LittleEndian.Uint64(c.src[c.pos:])
		quote, slash := w^(lowBits*'"'), w^(lowBits*'\\')
		special := (w | (w - lowBits*' ') | (quote - lowBits) | (slash - lowBits)) & highBits
		if special != 0 {
			c.pos += bits.TrailingZeros64(special) / 8
			return
		}
		c.pos += 8
	}
}

// escape passes a backslash and what belongs to it.
func (c *scanner) escape() error {
	c.pos++
	switch c.peek() {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		c.pos++
		return nil
	case 'u':
		c.pos++
		for range 4 {
			if _, ok := hexDigit(c.peek()); !ok {
				return c.fail("want four hexadecimal digits after \\u")
			}
			c.pos++
		}
		return nil
	}
	return c.fail("unknown escape in a string")
}
