package plug

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/big"
	"slices"
	"strconv"
	"strings"
)

// FromJSON reads one JSON document; see [Parse].
func FromJSON(data []byte, name string) (Node, error) {
	r := &jsonReader{dec: json.NewDecoder(bytes.NewReader(data)), data: data, file: name}
	r.dec.UseNumber()
	t, err := r.value("", 0)
	if err == nil {
		if _, more := r.dec.Token(); !errors.Is(more, io.EOF) {
			err = errors.New("expected one JSON value, found more after it")
		}
	}
	if err != nil {
		r.problems = append(r.problems, Problem{File: name, Line: r.pos().line, Text: jsonText(err), cause: err})
	}
	if len(r.problems) > 0 {
		return Node{}, newReport(r.problems)
	}
	return Node{tree: t}, nil
}

func jsonText(err error) string {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return "the JSON text ends too early"
	}
	return "not JSON: " + err.Error()
}

// jsonReader makes a tree of JSON tokens.
type jsonReader struct {
	collector
	dec   *json.Decoder
	data  []byte
	file  string
	seen  int // bytes whose lines are counted
	lines int
}

func (r *jsonReader) pos() position {
	end := min(int(r.dec.InputOffset()), len(r.data))
	r.lines += bytes.Count(r.data[r.seen:end], []byte{'\n'})
	r.seen = end
	return position{line: r.lines + 1}
}

func (r *jsonReader) value(path string, depth int) (*tree, error) {
	token, err := r.dec.Token()
	if err != nil {
		return nil, err
	}
	t := &tree{file: r.file, at: r.pos()}
	if depth > maxDepth {
		return nil, fmt.Errorf("nested deeper than %d levels", maxDepth)
	}
	switch v := token.(type) {
	case json.Delim:
		if v == '[' {
			return t, r.list(t, path, depth)
		}
		return t, r.object(t, path, depth)
	case string:
		t.kind, t.text = kindString, v
	case bool:
		t.kind, t.text = kindBool, strconv.FormatBool(v)
	case json.Number:
		t.kind, t.text = kindInt, v.String()
		if strings.ContainsAny(t.text, ".eE") {
			t.kind = kindFloat
		}
	}
	return t, nil
}

func (r *jsonReader) list(t *tree, path string, depth int) error {
	t.kind = kindList
	for r.dec.More() {
		item, err := r.value(joinIndex(path, len(t.items)), depth+1)
		if err != nil {
			return err
		}
		t.items = append(t.items, item)
	}
	_, err := r.dec.Token()
	return err
}

func (r *jsonReader) object(t *tree, path string, depth int) error {
	t.kind = kindMap
	for r.dec.More() {
		token, err := r.dec.Token()
		if err != nil {
			return err
		}
		key, _ := token.(string)
		at := r.pos()
		value, err := r.value(joinKey(path, key), depth+1)
		if err != nil {
			return err
		}
		if first := t.index(key); first >= 0 {
			r.addf(&tree{file: r.file, at: at}, joinKey(path, key), "the key is repeated, first on line %d", t.keyAt[first].line)
			continue
		}
		t.put(key, at, value)
	}
	_, err := r.dec.Token()
	return err
}

// JSON returns n in canonical form: keys sorted, no spaces, numbers as JSON writes them.
// Two nodes that mean the same have the same JSON. The zero Node is null.
func (n Node) JSON() ([]byte, error) {
	b, err := n.tree.appendJSON(nil)
	if err != nil {
		return nil, n.Errorf("%w", err)
	}
	return b, nil
}

// MarshalJSON is [Node.JSON].
func (n Node) MarshalJSON() ([]byte, error) { return n.JSON() }

func (t *tree) appendJSON(b []byte) ([]byte, error) {
	if t == nil {
		return append(b, "null"...), nil
	}
	switch t.kind {
	case kindNull:
		return append(b, "null"...), nil
	case kindBool:
		return append(b, t.text...), nil
	case kindString:
		return appendString(b, t.text), nil
	case kindInt, kindFloat:
		return t.appendNumber(b)
	case kindList:
		return t.appendList(b)
	default:
		return t.appendMap(b)
	}
}

func (t *tree) appendList(b []byte) ([]byte, error) {
	b = append(b, '[')
	var err error
	for i, item := range t.items {
		if i > 0 {
			b = append(b, ',')
		}
		if b, err = item.appendJSON(b); err != nil {
			return nil, err
		}
	}
	return append(b, ']'), nil
}

func (t *tree) appendMap(b []byte) ([]byte, error) {
	order := make([]int, len(t.keys))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(i, j int) int { return strings.Compare(t.keys[i], t.keys[j]) })
	b = append(b, '{')
	var err error
	for i, k := range order {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendString(b, t.keys[k]), ':')
		if b, err = t.items[k].appendJSON(b); err != nil {
			return nil, err
		}
	}
	return append(b, '}'), nil
}

// appendNumber writes whole numbers of any size exactly, and others as a float64.
func (t *tree) appendNumber(b []byte) ([]byte, error) {
	if t.kind == kindInt {
		if i, ok := new(big.Int).SetString(strings.ReplaceAll(t.text, "_", ""), 0); ok {
			return i.Append(b, 10), nil
		}
	}
	f, err := t.float()
	if err != nil || math.IsInf(f, 0) || math.IsNaN(f) {
		return nil, fmt.Errorf("%s is not a number that JSON can hold", t.text)
	}
	number, err := json.Marshal(f)
	return append(b, number...), err
}

func (t *tree) float() (float64, error) {
	switch text := strings.ToLower(strings.ReplaceAll(t.text, "_", "")); text {
	case ".inf", "+.inf":
		return math.Inf(1), nil
	case "-.inf":
		return math.Inf(-1), nil
	case ".nan":
		return math.NaN(), nil
	default:
		return strconv.ParseFloat(text, 64)
	}
}

func appendString(b []byte, s string) []byte {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(s) // a string always encodes
	return append(b, bytes.TrimSuffix(buf.Bytes(), []byte{'\n'})...)
}
