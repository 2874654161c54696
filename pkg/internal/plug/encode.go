package plug

import (
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Encode writes v as JSON the way [Node.Decode] reads it: keys as in the tags, durations
// as "5s". A key whose absence decodes to the same value is left out. The order of keys is
// the struct's; those of maps are sorted.
func Encode(v any) ([]byte, error) {
	return appendValue(nil, reflect.ValueOf(v), field{})
}

var (
	textMarshaler = reflect.TypeFor[encoding.TextMarshaler]()
	jsonMarshaler = reflect.TypeFor[json.Marshaler]()
)

func appendValue(b []byte, v reflect.Value, f field) ([]byte, error) {
	if !v.IsValid() || (v.Kind() == reflect.Pointer || v.Kind() == reflect.Interface) && v.IsNil() {
		return append(b, "null"...), nil
	}
	switch t := v.Type(); {
	case t == durationType:
		return appendString(b, FormatDuration(time.Duration(v.Int()))), nil
	case t.Implements(jsonMarshaler):
		return appendMarshaled(b, v)
	case t.Implements(textMarshaler):
		text, err := v.Interface().(encoding.TextMarshaler).MarshalText()
		return appendString(b, string(text)), err
	}
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		return appendValue(b, v.Elem(), f)
	case reflect.Struct:
		return appendStruct(b, v)
	case reflect.Slice:
		return appendSlice(b, v, f)
	case reflect.Map:
		return appendGoMap(b, v)
	case reflect.String:
		return appendString(b, v.String()), nil
	default:
		return appendScalar(b, v)
	}
}

func appendScalar(b []byte, v reflect.Value) ([]byte, error) {
	scalar, err := json.Marshal(v.Interface())
	if err != nil {
		return nil, fmt.Errorf("encode: %w", err)
	}
	return append(b, scalar...), nil
}

// appendMarshaled writes what a type makes of itself, in canonical form.
func appendMarshaled(b []byte, v reflect.Value) ([]byte, error) {
	raw, err := v.Interface().(json.Marshaler).MarshalJSON()
	if err != nil {
		return nil, err
	}
	n, err := FromJSON(raw, "")
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", v.Type(), err)
	}
	return n.tree.appendJSON(b)
}

func appendStruct(b []byte, v reflect.Value) ([]byte, error) {
	b = append(b, '{')
	first := true
	for _, f := range schemaOf(v.Type()).fields {
		fv := v.FieldByIndex(f.index)
		raw, err := appendValue(nil, fv, f)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.name, err)
		}
		if omitted(fv, f, raw) {
			continue
		}
		if !first {
			b = append(b, ',')
		}
		first = false
		b = append(append(appendString(b, f.name), ':'), raw...)
	}
	return append(b, '}'), nil
}

// omitted reports whether leaving the key out decodes to the same value.
func omitted(v reflect.Value, f field, raw []byte) bool {
	if f.def != "" {
		def := reflect.New(f.typ).Elem()
		d := &decoder{}
		d.value(defaultNode(f, ""), def, f)
		return reflect.DeepEqual(def.Interface(), v.Interface())
	}
	if f.required {
		return false
	}
	if z, ok := v.Interface().(interface{ IsZero() bool }); ok && z.IsZero() {
		return true
	}
	switch v.Kind() {
	case reflect.Slice, reflect.Map:
		return v.Len() == 0
	case reflect.Struct:
		return custom(v.Type()) && v.IsZero() || string(raw) == "{}"
	default:
		return v.IsZero()
	}
}

func appendSlice(b []byte, v reflect.Value, f field) ([]byte, error) {
	if f.lone && v.Len() == 1 {
		return appendValue(b, v.Index(0), field{})
	}
	b = append(b, '[')
	var err error
	for i := range v.Len() {
		if i > 0 {
			b = append(b, ',')
		}
		if b, err = appendValue(b, v.Index(i), field{}); err != nil {
			return nil, fmt.Errorf("[%s]: %w", strconv.Itoa(i), err)
		}
	}
	return append(b, ']'), nil
}

func appendGoMap(b []byte, v reflect.Value) ([]byte, error) {
	type entry struct {
		key   string
		value reflect.Value
	}
	entries := make([]entry, 0, v.Len())
	for it := v.MapRange(); it.Next(); {
		key, err := keyText(it.Key())
		if err != nil {
			return nil, err
		}
		entries = append(entries, entry{key, it.Value()})
	}
	slices.SortFunc(entries, func(a, b entry) int { return strings.Compare(a.key, b.key) })
	b = append(b, '{')
	var err error
	for i, e := range entries {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendString(b, e.key), ':')
		if b, err = appendValue(b, e.value, field{}); err != nil {
			return nil, fmt.Errorf("%s: %w", e.key, err)
		}
	}
	return append(b, '}'), nil
}

func keyText(k reflect.Value) (string, error) {
	if m, ok := k.Interface().(encoding.TextMarshaler); ok {
		text, err := m.MarshalText()
		return string(text), err
	}
	if k.Kind() != reflect.String {
		panic(fmt.Sprintf("plug: a map can't have keys of type %s", k.Type()))
	}
	return k.String(), nil
}
