package plug

import (
	"fmt"
	"reflect"
	"strings"
	"sync"
)

// field is one key that a struct type accepts, from its tags.
type field struct {
	name     string
	index    []int // for reflect.Value.FieldByIndex; embedded structs make it longer
	typ      reflect.Type
	doc      string
	def      string
	enum     []string
	min, max string
	required bool
	single   bool // may be written as its only element
	lone     bool // and is, by Encode
}

// schema is what a struct type accepts.
type schema struct {
	fields []field
	byName map[string]int
}

var schemas sync.Map // reflect.Type -> *schema

// schemaOf panics on tags that contradict each other: a programmer's error.
func schemaOf(t reflect.Type) *schema {
	if s, ok := schemas.Load(t); ok {
		return s.(*schema)
	}
	s := &schema{byName: map[string]int{}}
	s.collect(t, nil)
	for i, f := range s.fields {
		if _, ok := s.byName[f.name]; ok {
			panic(fmt.Sprintf("plug: %s has two fields for the key %q", t, f.name))
		}
		s.byName[f.name] = i
	}
	actual, _ := schemas.LoadOrStore(t, s)
	return actual.(*schema)
}

func (s *schema) collect(t reflect.Type, index []int) {
	for i := range t.NumField() {
		sf := t.Field(i)
		at := append(append([]int(nil), index...), i)
		tag, tagged := sf.Tag.Lookup("json")
		name, _, _ := strings.Cut(tag, ",")
		switch {
		case name == "-":
		case sf.Anonymous && !tagged && sf.Type.Kind() == reflect.Struct:
			s.collect(sf.Type, at)
		case !sf.IsExported():
		default:
			if name == "" {
				name = strings.ToLower(sf.Name)
			}
			s.fields = append(s.fields, newField(name, at, sf))
		}
	}
}

func newField(name string, index []int, sf reflect.StructField) field {
	f := field{
		name: name, index: index, typ: sf.Type,
		doc: sf.Tag.Get("doc"), def: sf.Tag.Get("default"),
		min: sf.Tag.Get("min"), max: sf.Tag.Get("max"),
		required: sf.Tag.Get("required") == "true",
		single:   sf.Tag.Get("single") != "",
		lone:     sf.Tag.Get("single") == "true",
	}
	if enum := sf.Tag.Get("enum"); enum != "" {
		f.enum = strings.Split(enum, "|")
	}
	return f
}

func (s *schema) names() []string {
	names := make([]string, len(s.fields))
	for i, f := range s.fields {
		names[i] = f.name
	}
	return names
}
