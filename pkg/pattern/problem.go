package pattern

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// wrong says what is wrong with a segment that follows last, or "".
func wrong(seg, last string) string {
	switch {
	case seg == "":
		return "is empty"
	case seg == many && last == many:
		return `repeats "**": one of them selects the same types`
	case seg == one, seg == many:
		return ""
	}
	at := offence(seg)
	switch {
	case at == len(seg):
		return ""
	case seg[at] == '*':
		return `has a "*" beside other characters: a wildcard is a whole segment, "*" or "**"`
	}
	r, size := utf8.DecodeRuneInString(seg[at:])
	if r == utf8.RuneError && size <= 1 {
		return "is not UTF-8"
	}
	return "has " + strconv.QuoteRuneToGraphic(r) + `: only letters, digits, "_" and "-" are allowed`
}

// offence is the offset of the first byte that no word may hold: 0 for a wildcard that is
// a segment, len(seg) for a word.
func offence(seg string) int {
	if seg == one || seg == many {
		return 0
	}
	for i := range len(seg) {
		if !wordByte(seg[i]) {
			return i
		}
	}
	return len(seg)
}

func wordByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_' || c == '-'
}

// brief is text cut to a length that suits an error message.
func brief(text string) string {
	const enough = 120
	if len(text) <= enough {
		return text
	}
	return strings.ToValidUTF8(text[:enough], "") + "…"
}
