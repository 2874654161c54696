package expr

import (
	"encoding/json"

	"github.com/signalmesh/signalmesh/pkg/signal"
)

// DecodeJSON decodes one JSON value the way expressions want it: maps as map[string]any,
// lists as []any, and numbers as they were written ([json.Number]), so that big ones are
// exact. Of repeated keys the last one counts.
func DecodeJSON(data []byte) (any, error) {
	if err := signal.ValidJSON(data); err != nil {
		return nil, err
	}
	r := reader{text: string(data)}
	return r.value(), nil
}

// reader builds the values of a text that is known to be JSON. What it builds shares the
// text, so that a string costs no copy.
type reader struct {
	text string
	pos  int
}

// next passes space and returns the byte that is not.
func (r *reader) next() byte {
	for {
		switch b := r.text[r.pos]; b {
		case ' ', '\t', '\r', '\n':
			r.pos++
		default:
			return b
		}
	}
}

func (r *reader) value() any {
	switch r.next() {
	case '{':
		return r.object()
	case '[':
		return r.list()
	case '"':
		return r.string()
	case 't':
		r.pos += len("true")
		return true
	case 'f':
		r.pos += len("false")
		return false
	case 'n':
		r.pos += len("null")
		return nil
	}
	start := r.pos
	for r.pos < len(r.text) && inNumber(r.text[r.pos]) {
		r.pos++
	}
	return json.Number(r.text[start:r.pos])
}

func inNumber(b byte) bool {
	return '0' <= b && b <= '9' || b == '.' || b == '-' || b == '+' || b == 'e' || b == 'E'
}

func (r *reader) object() map[string]any {
	r.pos++ // the brace
	m := map[string]any{}
	for r.next() != '}' {
		key := r.string()
		r.next()
		r.pos++ // the colon
		m[key] = r.value()
		if r.next() == ',' {
			r.pos++
		}
	}
	r.pos++
	return m
}

func (r *reader) list() []any {
	r.pos++ // the bracket
	list := []any{}
	for r.next() != ']' {
		list = append(list, r.value())
		if r.next() == ',' {
			r.pos++
		}
	}
	r.pos++
	return list
}

func (r *reader) string() string {
	r.next()
	start := r.pos
	for r.pos++; ; r.pos++ {
		switch r.text[r.pos] {
		case '"':
			r.pos++
			return r.text[start+1 : r.pos-1]
		case '\\':
			return r.escaped(start)
		}
	}
}

// escaped is a string with backslashes, which is rare enough to leave to the library.
func (r *reader) escaped(start int) string {
	for ; r.text[r.pos] != '"'; r.pos++ {
		if r.text[r.pos] == '\\' {
			r.pos++
		}
	}
	r.pos++
	var s string
	if json.Unmarshal([]byte(r.text[start:r.pos]), &s) != nil {
		return "" // cannot be: the text is valid
	}
	return s
}
