package delivery

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"
	"unicode"

	"github.com/signalmesh/signalmesh/pkg/fault"
)

// Fingerprint returns twelve hex digits that are equal for failures that look alike: the
// same adapter, status and code, and the same error text once every word with a digit in
// it (ids, ports, times, addresses) and everything in double quotes is taken out.
func Fingerprint(adapter string, status int, code fault.Code, err string) string {
	sum := sha256.Sum256([]byte(adapter + "\x00" + strconv.Itoa(status) + "\x00" + string(code) + "\x00" + shape(err)))
	return hex.EncodeToString(sum[:6])
}

// shape is what stays of an error text from one occurrence to the next.
func shape(text string) string {
	var out strings.Builder
	quoted := false
	for i := 0; i < len(text); {
		if text[i] == '"' {
			quoted = !quoted
			out.WriteByte('"')
			i++
			continue
		}
		end := i
		for end < len(text) && isWord(text[end]) {
			end++
		}
		switch {
		case end == i:
			end++
			if !quoted {
				out.WriteByte(text[i])
			}
		case quoted:
		case strings.ContainsFunc(text[i:end], unicode.IsDigit):
			out.WriteByte('#')
		default:
			out.WriteString(text[i:end])
		}
		i = end
	}
	return out.String()
}

func isWord(b byte) bool {
	return b == '_' || b == '-' || b >= '0' && b <= '9' || b|0x20 >= 'a' && b|0x20 <= 'z' || b >= 0x80
}
