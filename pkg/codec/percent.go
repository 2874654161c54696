package codec

import (
	"strings"
	"unicode/utf8"
)

// isPlain reports whether a header may carry the byte as it is: printable ASCII but for the
// space, the double quote and the percent sign.
func isPlain(b byte) bool { return b > ' ' && b < 0x7f && b != '"' && b != '%' }

// allPlain reports whether encoding would leave the value as it is. An empty value is not
// plain: what carries it may drop it.
func allPlain(value string) bool {
	for i := range len(value) {
		if !isPlain(value[i]) {
			return false
		}
	}
	return value != ""
}

// encodeValue writes an attribute value as the bindings demand: every byte of its UTF-8 text
// that is not plain is percent-encoded.
func encodeValue(value string) string {
	if allPlain(value) {
		return value
	}
	const digits = "0123456789ABCDEF"
	var b strings.Builder
	b.Grow(len(value) + 16)
	for i := range len(value) {
		if c := value[i]; isPlain(c) {
			b.WriteByte(c)
		} else {
			b.Write([]byte{'%', digits[c>>4], digits[c&0xf]})
		}
	}
	return b.String()
}

// decodeValue reads a header value as the bindings demand: a quoted string is unquoted, then
// one round of percent-decoding. What that gives must be UTF-8.
//
// The Go SDK writes values as they are, so what no conforming writer can have written is taken
// as it is: values with spaces, double quotes, other than ASCII, or a percent sign without
// two digits.
func decodeValue(name, value string) (string, error) {
	if !utf8.ValidString(value) {
		return "", invalid(name, "the header is not UTF-8")
	}
	inside, quoted := unquote(value)
	if !quoted && strings.ContainsFunc(value, func(r rune) bool { return r <= ' ' || r == '"' || r >= 0x7f }) {
		return value, nil
	}
	decoded, ok := percentDecode(inside)
	if !ok {
		return inside, nil
	}
	if !utf8.ValidString(decoded) {
		return "", invalid(name, "the percent-encoded text is not UTF-8")
	}
	return decoded, nil
}

// isURI tells the attributes that are URIs, in which percent signs are at home.
func isURI(name string) bool { return name == "source" || name == "dataschema" }

// decodeURI reads the header value of an attribute that is a URI. A URI holds nothing that has
// to be encoded but the percent signs of its own escapes, so %25 is the only escape that a
// conforming writer leaves, and what it stands for begins another one. In any other value, such
// as /a%20b, the escapes are the URI's own: the Go SDK writes them as they are.
func decodeURI(name, value string) (string, error) {
	inside, quoted := unquote(value)
	decoded, ok := percentDecode(inside)
	if !quoted && (!ok || strings.Count(inside, "%25") != strings.Count(inside, "%") || !wellEscaped(decoded)) {
		decoded = value
	}
	if !utf8.ValidString(decoded) {
		return "", invalid(name, "not UTF-8")
	}
	return decoded, nil
}

// inURI reports whether the value can be told apart by [decodeURI]: plain but for percent signs,
// which begin escapes.
func inURI(value string) bool {
	return value == "" || wellEscaped(value) && allPlain(strings.ReplaceAll(value, "%", ""))
}

// wellEscaped reports whether two digits follow every percent sign.
func wellEscaped(value string) bool {
	_, ok := percentDecode(value)
	return ok
}

// unquote takes a whole quoted string apart; anything else it returns as it is.
func unquote(value string) (string, bool) {
	if len(value) < 2 || value[0] != '"' || value[len(value)-1] != '"' {
		return value, false
	}
	inside := value[1 : len(value)-1]
	if !strings.ContainsAny(inside, `"\`) {
		return inside, true
	}
	var b strings.Builder
	for i := 0; i < len(inside); i++ {
		switch c := inside[i]; {
		case c == '"':
			return value, false // quotes that only happen to stand at both ends
		case c == '\\' && i+1 == len(inside):
			return value, false // the last quote is an escaped one
		case c == '\\':
			i++
			b.WriteByte(inside[i])
		default:
			b.WriteByte(c)
		}
	}
	return b.String(), true
}

// percentDecode decodes every %XX, and reports a percent sign without two digits.
func percentDecode(value string) (string, bool) {
	if !strings.Contains(value, "%") {
		return value, true
	}
	var b strings.Builder
	b.Grow(len(value))
	for i := 0; i < len(value); i++ {
		if value[i] != '%' {
			b.WriteByte(value[i])
			continue
		}
		if i+2 >= len(value) {
			return "", false
		}
		high, ok1 := hexDigit(value[i+1])
		low, ok2 := hexDigit(value[i+2])
		if !ok1 || !ok2 {
			return "", false
		}
		b.WriteByte(high<<4 | low)
		i += 2
	}
	return b.String(), true
}

func hexDigit(b byte) (byte, bool) {
	switch {
	case b >= '0' && b <= '9':
		return b - '0', true
	case b >= 'a' && b <= 'f':
		return b - 'a' + 10, true
	case b >= 'A' && b <= 'F':
		return b - 'A' + 10, true
	}
	return 0, false
}
