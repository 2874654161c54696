package route

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/signalmesh/signalmesh/pkg/secret"
)

// A Field is one value that differs between two revisions of a route.
type Field struct {
	Path   string          `json:"path"`             // "to[0].http.url"
	Before json.RawMessage `json:"before,omitempty"` // absent when there was none
	After  json.RawMessage `json:"after,omitempty"`  // absent when there is none any more
}

// String is the difference in one line: "priority: 0 -> 75".
func (f Field) String() string {
	switch {
	case f.Before == nil:
		return fmt.Sprintf("%s: %s (new)", f.Path, f.After)
	case f.After == nil:
		return fmt.Sprintf("%s: %s (gone)", f.Path, f.Before)
	}
	return fmt.Sprintf("%s: %s -> %s", f.Path, f.Before, f.After)
}

// diff lists what differs between two routes, value by value. Nothing before is a new
// route.
func diff(before *Spec, after Spec) ([]Field, error) {
	var a any = map[string]any{}
	b, err := tree(after)
	if before != nil && err == nil {
		a, err = tree(*before)
	}
	if err != nil {
		return nil, err
	}
	var fields []Field
	compare("", "", a, b, &fields)
	return fields, nil
}

// tree is a route as its JSON has it.
func tree(s Spec) (any, error) {
	raw, err := s.MarshalJSON()
	if err != nil {
		return nil, err
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var v any
	err = dec.Decode(&v)
	return v, err
}

func compare(path, key string, a, b any, fields *[]Field) {
	switch x := a.(type) {
	case map[string]any:
		if y, ok := b.(map[string]any); ok {
			compareMaps(path, x, y, fields)
			return
		}
	case []any:
		if y, ok := b.([]any); ok {
			compareLists(path, key, x, y, fields)
			return
		}
	}
	before, after := encode(a), encode(b)
	if bytes.Equal(before, after) {
		return
	}
	*fields = append(*fields, Field{Path: path, Before: shown(key, a), After: shown(key, b)})
}

func compareMaps(path string, a, b map[string]any, fields *[]Field) {
	keys := maps.Clone(a)
	maps.Copy(keys, b)
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		at := strings.TrimPrefix(path+"."+key, ".")
		compare(at, key, a[key], b[key], fields)
	}
}

func compareLists(path, key string, a, b []any, fields *[]Field) {
	for i := range max(len(a), len(b)) {
		var x, y any // nil where a list has ended; null is never written
		if i < len(a) {
			x = a[i]
		}
		if i < len(b) {
			y = b[i]
		}
		compare(fmt.Sprintf("%s[%d]", path, i), key, x, y, fields)
	}
}

func encode(v any) json.RawMessage {
	if v == nil {
		return nil
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if enc.Encode(v) != nil {
		return nil // cannot be: it came out of JSON
	}
	return bytes.TrimSpace(b.Bytes())
}

// shown is a value as it may be shown: what is named like a secret is not, unless it is a
// reference, and URLs lose their credentials.
func shown(key string, v any) json.RawMessage {
	switch x := v.(type) {
	case string:
		return encode(shownText(key, x))
	case map[string]any:
		clean := make(map[string]any, len(x))
		for k, inner := range x {
			clean[k] = shown(k, inner)
		}
		return encode(clean)
	case []any:
		clean := make([]any, len(x))
		for i, inner := range x {
			clean[i] = shown(key, inner)
		}
		return encode(clean)
	}
	return encode(v)
}

func shownText(key, text string) string {
	if strings.Contains(text, "://") {
		return secret.URL(text)
	}
	if secret.IsSensitive(key) && secret.Ref(text).Validate() != nil {
		return secret.Redacted
	}
	return text
}
