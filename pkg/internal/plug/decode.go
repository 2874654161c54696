package plug

import (
	"encoding"
	"encoding/json"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/signalmesh/signalmesh/pkg/secret"
)

// Decoder is implemented by types that read themselves from a node, usually because they
// have several shapes. It is called on a pointer to a zero value, for nodes that are not
// null. What it returns is located at the node unless it is located already.
type Decoder interface{ DecodePlug(n Node) error }

// validator is implemented by structs that check what tags can't say.
type validator interface{ Validate() error }

var (
	durationType = reflect.TypeFor[time.Duration]()
	sizeType     = reflect.TypeFor[Size]()
	nodeType     = reflect.TypeFor[Node]()
	refType      = reflect.TypeFor[secret.Ref]()
	prefixType   = reflect.TypeFor[netip.Prefix]()
	decoderType  = reflect.TypeFor[Decoder]()
	textType     = reflect.TypeFor[encoding.TextUnmarshaler]()
	jsonType     = reflect.TypeFor[json.Unmarshaler]()
)

// Decode fills into, a non-nil pointer, from n. It reports every problem at once, with
// code Invalid; what into holds after an error is unspecified. Keys that are absent or
// null take their default, and leave what into held before when there is none. It panics
// when into is of a kind that no document can fill.
func (n Node) Decode(into any) error {
	v := reflect.ValueOf(into)
	if v.Kind() != reflect.Pointer || v.IsNil() {
		panic("plug: Decode needs a non-nil pointer")
	}
	d := &decoder{}
	d.value(n, v.Elem(), field{})
	return newReport(d.problems)
}

type decoder struct{ collector }

// value decodes one node. The field carries what the tags of the place say; only the
// rules for single values are looked at here.
func (d *decoder) value(n Node, v reflect.Value, f field) {
	if v.Kind() == reflect.Pointer && !v.Type().Implements(decoderType) {
		if n.IsZero() {
			v.SetZero()
			return
		}
		v.Set(reflect.New(v.Type().Elem()))
		d.value(n, v.Elem(), f)
		return
	}
	if d.custom(n, v, f) {
		return
	}
	if n.IsZero() && v.Kind() != reflect.Struct {
		v.SetZero()
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		d.structure(n, v)
	case reflect.Map:
		d.mapping(n, v, f)
	case reflect.Slice:
		d.list(n, v, f)
	case reflect.Interface:
		d.any(n, v)
	default:
		d.scalar(n, v, f)
	}
}

// custom decodes the types that are more than their Go kind.
func (d *decoder) custom(n Node, v reflect.Value, f field) bool {
	switch t, p := v.Type(), reflect.PointerTo(v.Type()); {
	case t == nodeType:
		v.Set(reflect.ValueOf(n))
	case t == durationType:
		d.duration(n, v, f)
	case t == sizeType:
		d.size(n, v, f)
	case t == refType:
		d.ref(n, v)
	case t == prefixType:
		d.prefix(n, v)
	case p.Implements(decoderType):
		if !n.IsZero() {
			d.wrap(n, v.Addr().Interface().(Decoder).DecodePlug(n))
		}
	case p.Implements(textType):
		d.text(n, v, f)
	case p.Implements(jsonType) && !documented(t):
		d.json(n, v)
	default:
		return false
	}
	return true
}

// documented reports whether t is a struct that describes its keys with doc tags. It is
// decoded by them even if it has UnmarshalJSON, which then may be written with Decode.
func documented(t reflect.Type) bool {
	if t.Kind() != reflect.Struct {
		return false
	}
	for i := range t.NumField() {
		if t.Field(i).Tag.Get("doc") != "" {
			return true
		}
	}
	return false
}

func (d *decoder) structure(n Node, v reflect.Value) {
	if !n.IsZero() && !n.IsMap() {
		d.addf(n.tree, n.path, "expected a map, found %s", n.describe())
		return
	}
	before := len(d.problems)
	s := schemaOf(v.Type())
	if n.IsMap() {
		d.unknown(n, s)
	}
	for _, f := range s.fields {
		d.field(n, v.FieldByIndex(f.index), f, true)
	}
	d.validate(n, v, d.problems[before:])
}

// validate asks a struct to check itself. Where decoding found problems already, what it
// says about the same place is only their consequence, and is dropped.
func (d *decoder) validate(n Node, v reflect.Value, found []Problem) {
	c, ok := v.Addr().Interface().(validator)
	if !ok {
		return
	}
	var more collector
	more.wrap(n, c.Validate())
	for _, p := range more.problems {
		if !slices.ContainsFunc(found, func(f Problem) bool { return overlap(f.Path, p.Path) }) {
			d.problems = append(d.problems, p)
		}
	}
}

// overlap reports whether one path is the other, or leads to it.
func overlap(a, b string) bool {
	if len(a) > len(b) {
		a, b = b, a
	}
	rest, ok := strings.CutPrefix(b, a)
	return ok && (a == "" || rest == "" || rest[0] == '.' || rest[0] == '[')
}

// field decodes the key f of the map n. Within a map that is absent itself (present is
// false) only defaults are filled in.
func (d *decoder) field(n Node, v reflect.Value, f field, present bool) {
	child := n.Field(f.name)
	if !child.IsZero() {
		before := len(d.problems)
		d.value(child, v, f)
		if len(d.problems) == before && f.required && isEmpty(v) {
			d.add(child.tree, child.path, "required, but empty")
		}
		return
	}
	switch {
	case f.def != "":
		if v.IsZero() {
			d.value(defaultNode(f, joinKey(n.path, f.name)), v, field{})
		}
	case f.required && present:
		d.missing(n, child, f)
	case v.Kind() == reflect.Struct && !custom(v.Type()):
		for _, inner := range schemaOf(v.Type()).fields {
			d.field(Node{path: joinKey(n.path, f.name)}, v.FieldByIndex(inner.index), inner, false)
		}
	}
}

func isEmpty(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.String, reflect.Slice, reflect.Map:
		return v.Len() == 0
	default:
		return false
	}
}

func (d *decoder) missing(n, child Node, f field) {
	at := child.tree
	if at == nil {
		at = n.tree
	}
	text := "required, but missing"
	if f.doc != "" {
		text += " (" + f.doc + ")"
	}
	d.add(at, joinKey(n.path, f.name), text)
}

// defaultNode reads the default of a tag: the text itself for strings, YAML otherwise. A
// default that is not YAML is a programmer's error.
func defaultNode(f field, path string) Node {
	if f.typ.Kind() == reflect.String {
		return Node{&tree{kind: kindString, text: f.def}, path}
	}
	n, err := Parse([]byte(f.def), "")
	if err != nil {
		panic(fmt.Sprintf("plug: default of the key %q: %v", f.name, err))
	}
	return n.Named(path)
}

func (d *decoder) unknown(n Node, s *schema) {
	for i, key := range n.tree.keys {
		if _, ok := s.byName[key]; ok {
			continue
		}
		at := &tree{file: n.tree.items[i].file, at: n.tree.keyAt[i]}
		d.add(at, joinKey(n.path, key), "unknown key"+advice(key, s.names(), "the keys here are"))
	}
}

func (d *decoder) mapping(n Node, v reflect.Value, f field) {
	if !n.IsMap() {
		d.addf(n.tree, n.path, "expected a map, found %s", n.describe())
		return
	}
	m := reflect.MakeMapWithSize(v.Type(), len(n.tree.keys))
	for i, key := range n.tree.keys {
		child := n.Field(key)
		k := reflect.New(v.Type().Key()).Elem()
		d.key(Node{&tree{kind: kindString, text: key, file: child.tree.file, at: n.tree.keyAt[i]}, child.path}, k)
		e := reflect.New(v.Type().Elem()).Elem()
		d.value(child, e, field{enum: f.enum, typ: e.Type()})
		m.SetMapIndex(k, e)
	}
	v.Set(m)
	d.length(n, v.Len(), f)
}

func (d *decoder) key(n Node, k reflect.Value) {
	if reflect.PointerTo(k.Type()).Implements(textType) {
		d.text(n, k, field{})
		return
	}
	if k.Kind() != reflect.String {
		panic(fmt.Sprintf("plug: a map can't have keys of type %s", k.Type()))
	}
	k.SetString(n.tree.text)
}

func (d *decoder) list(n Node, v reflect.Value, f field) {
	items := n.Items()
	if !n.IsList() {
		if !f.single {
			d.addf(n.tree, n.path, "expected a list, found %s", n.describe())
			return
		}
		items = []Node{n}
	}
	list := reflect.MakeSlice(v.Type(), len(items), len(items))
	for i, item := range items {
		if item.IsZero() && list.Index(i).Kind() != reflect.Interface {
			d.add(item.tree, item.path, "an empty list element")
			continue
		}
		d.value(item, list.Index(i), field{enum: f.enum, typ: v.Type().Elem()})
	}
	v.Set(list)
	d.length(n, v.Len(), f)
}

// length checks the bounds of a list or map.
func (d *decoder) length(n Node, length int, f field) {
	if f.min != "" && length < mustAtoi(f.min) {
		d.addf(n.tree, n.path, "expected at least %s, found %d", f.min, length)
	}
	if f.max != "" && length > mustAtoi(f.max) {
		d.addf(n.tree, n.path, "expected at most %s, found %d", f.max, length)
	}
}

func (d *decoder) any(n Node, v reflect.Value) {
	value, err := n.Value()
	if err != nil {
		d.wrap(n, err)
		return
	}
	if value == nil {
		v.SetZero()
		return
	}
	v.Set(reflect.ValueOf(value))
}

func (d *decoder) json(n Node, v reflect.Value) {
	b, err := n.JSON()
	if err == nil {
		err = v.Addr().Interface().(json.Unmarshaler).UnmarshalJSON(b)
	}
	d.wrap(n, err)
}

// advice is the end of a message about a word that is not one of the known ones.
func advice(word string, known []string, lead string) string {
	if best := closest(word, known); best != "" {
		return fmt.Sprintf(", did you mean %q?", best)
	}
	if len(known) == 0 || len(known) > 16 {
		return ""
	}
	return "; " + lead + " " + strings.Join(known, ", ")
}
