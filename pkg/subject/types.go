package subject

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

// Limits of a signal's type, those of the package signal. With every byte escaped a subject
// stays under 1 KiB, far from the 4 KiB at which a server closes the connection for good.
const (
	MaxType    = signal.MaxTypeLen    // bytes
	MaxDepth   = signal.MaxSegments   // segments
	MaxSegment = signal.MaxSegmentLen // bytes in one segment
)

// checkType refuses what could not travel: the server drops empty tokens, and stores a
// subject with DEL where no filter finds it. It agrees with what a signal may have as its type.
func checkType(typ string) error {
	switch {
	case typ == "":
		return fault.Newf(fault.Invalid, "type is empty")
	case len(typ) > MaxType:
		return fault.Newf(fault.TooLarge, "type of %d bytes is longer than %d", len(typ), MaxType)
	case !utf8.ValidString(typ):
		return fault.Newf(fault.Invalid, "type %s is not UTF-8", brief(typ))
	}
	if at := strings.IndexFunc(typ, forbidden); at >= 0 {
		r, _ := utf8.DecodeRuneInString(typ[at:])
		return fault.Newf(fault.Invalid, "type %s: byte %d starts %U, a control character or noncharacter", brief(typ), at, r)
	}
	n := 0
	for seg := range strings.SplitSeq(typ, ".") {
		n++
		if seg == "" {
			return fault.Newf(fault.Invalid, "type %s: segment %d is empty", brief(typ), n)
		}
		if len(seg) > MaxSegment {
			return fault.Newf(fault.TooLarge, "type %s: segment %d has %d bytes, more than %d", brief(typ), n, len(seg), MaxSegment)
		}
	}
	if n > MaxDepth {
		return fault.Newf(fault.TooLarge, "type %s has %d segments, more than %d", brief(typ), n, MaxDepth)
	}
	return nil
}

// forbidden are the characters that CloudEvents forbids in a string.
func forbidden(r rune) bool {
	return unicode.IsControl(r) || r >= 0xfdd0 && r <= 0xfdef || r&0xfffe == 0xfffe
}

const upperHex = "0123456789ABCDEF"

// escape writes a valid type as the tokens of a subject.
func escape(typ string) string {
	extra := 0
	for i := range len(typ) {
		if !plain(typ[i]) && typ[i] != '.' {
			extra += 2
		}
	}
	if extra == 0 {
		return typ
	}
	b := make([]byte, 0, len(typ)+extra)
	for i := range len(typ) {
		if c := typ[i]; plain(c) || c == '.' {
			b = append(b, c)
		} else {
			b = append(b, '=', upperHex[c>>4], upperHex[c&15])
		}
	}
	return string(b)
}

// unescape reads what escape writes and nothing else. The result is not yet known to be
// a valid type.
func unescape(tokens string) (string, error) {
	b := make([]byte, 0, len(tokens))
	for i := 0; i < len(tokens); i++ {
		c := tokens[i]
		switch {
		case plain(c) || c == '.':
			b = append(b, c)
		case c != '=':
			return "", fault.Newf(fault.Invalid, "byte %#02x must be written =%02X", c, c)
		case i+2 >= len(tokens) || !isUpperHex(tokens[i+1]) || !isUpperHex(tokens[i+2]):
			return "", fault.Newf(fault.Invalid, `"=" must be followed by two of 0-9 and A-F`)
		default:
			c = unhex(tokens[i+1])<<4 | unhex(tokens[i+2])
			if plain(c) || c == '.' {
				return "", fault.Newf(fault.Invalid, "=%02X must not be escaped", c)
			}
			b = append(b, c)
			i += 2
		}
	}
	return string(b), nil
}

func isUpperHex(c byte) bool { return '0' <= c && c <= '9' || 'A' <= c && c <= 'F' }

func unhex(c byte) byte {
	if c <= '9' {
		return c - '0'
	}
	return c - 'A' + 10
}

// plain is a byte that needs no escape: those of a pattern's words.
func plain(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_' || c == '-'
}

// brief quotes text, cut to a length that suits an error message.
func brief(text string) string {
	const enough = 120
	if len(text) > enough {
		return strconv.Quote(strings.ToValidUTF8(text[:enough], "")) + "…"
	}
	return strconv.Quote(text)
}
