package signal

import (
	"unicode/utf16"
	"unicode/utf8"
)

// appendQuoted appends text as a JSON string. What is not UTF-8 becomes U+FFFD, as in
// encoding/json; Validate refuses it.
func appendQuoted[T string | []byte](dst []byte, text T) []byte {
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(text); {
		b := text[i]
		if b < utf8.RuneSelf {
			if b >= ' ' && b != '"' && b != '\\' {
				i++
				continue
			}
			dst = appendEscape(append(dst, text[start:i]...), b)
			i++
			start = i
			continue
		}
		r, size := utf8.DecodeRuneInString(string(text[i:min(i+utf8.UTFMax, len(text))]))
		if r == utf8.RuneError && size == 1 {
			dst = append(append(dst, text[start:i]...), "\ufffd"...)
			start = i + 1
		}
		i += size
	}
	return append(append(dst, text[start:]...), '"')
}

func appendEscape(dst []byte, b byte) []byte {
	switch b {
	case '"', '\\':
		return append(dst, '\\', b)
	case '\n':
		return append(dst, `\n`...)
	case '\r':
		return append(dst, `\r`...)
	case '\t':
		return append(dst, `\t`...)
	}
	const digits = "0123456789abcdef"
	return append(dst, '\\', 'u', '0', '0', digits[b>>4], digits[b&0xf])
}

// unescaped gives the text between the quotes of a JSON string that was scanned before, in a
// slice of its own. Halves of surrogate pairs are an error: no UTF-8 text stands for them.
func unescaped(name string, inside []byte) ([]byte, error) {
	dst := make([]byte, 0, len(inside))
	for i := 0; i < len(inside); {
		b := inside[i]
		if b != '\\' {
			dst = append(dst, b)
			i++
			continue
		}
		if b = inside[i+1]; b != 'u' {
			dst = append(dst, escapes[b])
			i += 2
			continue
		}
		r := hex4(inside[i+2:])
		i += 6
		if utf16.IsSurrogate(r) {
			if i+6 > len(inside) || inside[i] != '\\' || inside[i+1] != 'u' {
				return nil, violation(name, "half a surrogate pair")
			}
			if r = utf16.DecodeRune(r, hex4(inside[i+2:])); r == utf8.RuneError {
				return nil, violation(name, "half a surrogate pair")
			}
			i += 6
		}
		dst = utf8.AppendRune(dst, r)
	}
	return dst, nil
}

var escapes = [256]byte{'"': '"', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t'}

func hex4(digits []byte) (r rune) {
	for _, b := range digits[:4] {
		d, _ := hexDigit(b)
		r = r<<4 | d
	}
	return r
}

func hexDigit(b byte) (rune, bool) {
	switch {
	case b >= '0' && b <= '9':
		return rune(b - '0'), true
	case b >= 'a' && b <= 'f':
		return rune(b-'a') + 10, true
	case b >= 'A' && b <= 'F':
		return rune(b-'A') + 10, true
	}
	return 0, false
}
