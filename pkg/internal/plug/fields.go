package plug

import (
	"fmt"
	"reflect"
	"strings"
)

// Field describes one key for reference documentation.
type Field struct {
	Path     string // "retry.max_attempts", "headers.<name>", "to[].http"
	Type     string // "string", "duration", "list of strings", ...
	Doc      string
	Default  string // as it would be written; "" when there is none
	Enum     []string
	Min, Max string
	Required bool
	Single   bool // a list that may be written as its only element
}

// Describer is implemented by types that decode themselves and want to say in the
// reference what they accept: "pattern", "one adapter and its options".
type Describer interface{ DescribePlug() string }

// Fields lists every key that a document for v, a struct or a pointer to one, may have,
// parents before children, in the order of the struct.
func Fields(v any) []Field {
	t := reflect.TypeOf(v)
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t == nil || t.Kind() != reflect.Struct {
		panic(fmt.Sprintf("plug: Fields of a %T", v))
	}
	return fieldsOf(t, "", map[reflect.Type]bool{})
}

// fieldsOf leaves out what is below a type that contains itself.
func fieldsOf(t reflect.Type, path string, inside map[reflect.Type]bool) []Field {
	if inside[t] {
		return nil
	}
	inside[t] = true
	defer delete(inside, t)
	var all []Field
	for _, f := range schemaOf(t).fields {
		at := joinKey(path, f.name)
		all = append(all, Field{
			Path: at, Type: typeName(f.typ), Doc: f.doc, Default: f.def,
			Enum: f.enum, Min: f.min, Max: f.max, Required: f.required, Single: f.single,
		})
		if inner, innerPath := descend(f.typ, at); inner != nil {
			all = append(all, fieldsOf(inner, innerPath, inside)...)
		}
	}
	return all
}

// descend finds the struct inside a field's type, and how a path goes there.
func descend(t reflect.Type, path string) (reflect.Type, string) {
	switch {
	case custom(t):
		return nil, ""
	case t.Kind() == reflect.Struct:
		return t, path
	case t.Kind() == reflect.Pointer:
		return descend(t.Elem(), path)
	case t.Kind() == reflect.Slice:
		return descend(t.Elem(), path+"[]")
	case t.Kind() == reflect.Map:
		return descend(t.Elem(), path+".<name>")
	}
	return nil, ""
}

func custom(t reflect.Type) bool {
	p := reflect.PointerTo(t)
	return t == nodeType || t == durationType || t == sizeType || t == refType ||
		p.Implements(decoderType) || p.Implements(textType) || p.Implements(jsonType) && !documented(t)
}

func typeName(t reflect.Type) string {
	if d, ok := reflect.New(t).Interface().(Describer); ok {
		return d.DescribePlug()
	}
	switch {
	case t == nodeType, t.Kind() == reflect.Interface:
		return "any"
	case t == durationType:
		return "duration"
	case t == sizeType:
		return "size"
	case t == refType:
		return "secret"
	case t.Kind() != reflect.Pointer && reflect.PointerTo(t).Implements(textType):
		return "string"
	}
	switch t.Kind() {
	case reflect.Pointer:
		return typeName(t.Elem())
	case reflect.Slice:
		return "list of " + plural(typeName(t.Elem()))
	case reflect.Map:
		return "map of " + plural(typeName(t.Elem()))
	case reflect.Struct:
		return "map"
	case reflect.Bool:
		return "bool"
	case reflect.Float32, reflect.Float64:
		return "number"
	case reflect.String:
		return "string"
	default:
		return "integer"
	}
}

func plural(name string) string {
	if name == "any" {
		return "anything"
	}
	return strings.TrimPrefix(name, "a ") + "s"
}
