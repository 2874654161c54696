package plug

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// kind is the shape of a tree node. Scalars keep the type that YAML gave them.
type kind uint8

const (
	kindNull kind = iota
	kindString
	kindBool
	kindInt
	kindFloat
	kindList
	kindMap
)

// tree is one value of a document, aliases resolved, with the place it was read from.
type tree struct {
	kind  kind
	text  string // scalars: as it was written
	items []*tree
	keys  []string // maps: in the order of the document
	keyAt []position
	byKey map[string]int // index into keys, once there are many
	file  string
	at    position
}

type position struct{ line, column int }

// field is the value of key, or nil.
func (t *tree) field(key string) *tree {
	if i := t.index(key); i >= 0 {
		return t.items[i]
	}
	return nil
}

// index finds a key, or returns -1. Small maps are not worth a Go map.
func (t *tree) index(key string) int {
	if t == nil || t.kind != kindMap {
		return -1
	}
	if t.byKey != nil {
		if i, ok := t.byKey[key]; ok {
			return i
		}
		return -1
	}
	return slices.Index(t.keys, key)
}

func (t *tree) put(key string, at position, value *tree) {
	t.keys = append(t.keys, key)
	t.keyAt = append(t.keyAt, at)
	t.items = append(t.items, value)
	if t.byKey != nil {
		t.byKey[key] = len(t.keys) - 1
		return
	}
	if len(t.keys) > 16 {
		t.byKey = make(map[string]int, 2*len(t.keys))
		for i, k := range t.keys {
			t.byKey[k] = i
		}
	}
}

// A Node is a value in a document that is not decoded yet. It knows where it stands, so
// decoding it later still reports the full path. The zero Node is no value at all.
type Node struct {
	tree *tree
	path string
}

// IsZero reports whether n is no value: absent, or null.
func (n Node) IsZero() bool { return n.tree == nil || n.tree.kind == kindNull }

// Path is the place of n in its document, "routes[0].to[1]". The root's is "".
func (n Node) Path() string { return n.path }

// Pos is where n was read: "signald.yaml:7".
func (n Node) Pos() string {
	if n.tree == nil {
		return ""
	}
	return place(n.tree.file, n.tree.at.line)
}

// Kind names the shape of n for people: "a map", "a list", "a string", "nothing", ...
func (n Node) Kind() string {
	if n.tree == nil {
		return kindNull.String()
	}
	return n.tree.kind.String()
}

// IsMap reports whether n is a map. Null is no map, list or scalar.
func (n Node) IsMap() bool { return n.tree != nil && n.tree.kind == kindMap }

// IsList reports whether n is a list.
func (n Node) IsList() bool { return n.tree != nil && n.tree.kind == kindList }

// IsScalar reports whether n is a string, number or bool.
func (n Node) IsScalar() bool { return !n.IsZero() && !n.IsMap() && !n.IsList() }

// Text is the text of a scalar as it was written, and "" for everything else.
func (n Node) Text() string {
	if n.IsScalar() {
		return n.tree.text
	}
	return ""
}

// Keys are the keys of a map in the order of the document.
func (n Node) Keys() []string {
	if !n.IsMap() {
		return nil
	}
	return append([]string(nil), n.tree.keys...)
}

// Field is the value of key in a map, or the zero Node.
func (n Node) Field(key string) Node {
	if t := n.tree.field(key); t != nil {
		return Node{t, joinKey(n.path, key)}
	}
	return Node{}
}

// Items are the elements of a list.
func (n Node) Items() []Node {
	if !n.IsList() {
		return nil
	}
	nodes := make([]Node, len(n.tree.items))
	for i, t := range n.tree.items {
		nodes[i] = Node{t, joinIndex(n.path, i)}
	}
	return nodes
}

// Single takes a one-key map apart, the form in which a choice is written:
// {http: {url: ...}} is the key "http" and its value, which may be the zero Node.
func (n Node) Single() (key string, value Node, err error) {
	if !n.IsMap() {
		return "", Node{}, n.Errorf("expected a map with one key, found %s", n.describe())
	}
	switch len(n.tree.keys) {
	case 0:
		return "", Node{}, n.Errorf("expected a map with one key, found an empty one")
	case 1:
		return n.tree.keys[0], n.Field(n.tree.keys[0]), nil
	}
	hint := ""
	if n.tree.items[0].kind == kindNull {
		hint = fmt.Sprintf("; indent what belongs to %q", n.tree.keys[0])
	}
	return "", Node{}, n.Errorf("expected a map with one key, found %d: %s%s",
		len(n.tree.keys), strings.Join(n.tree.keys, ", "), hint)
}

// Without is the map n without some of its keys, for a Decoder that reads those itself and
// leaves the rest to another type.
func (n Node) Without(keys ...string) Node {
	if !n.IsMap() {
		return n
	}
	rest := &tree{kind: kindMap, file: n.tree.file, at: n.tree.at}
	for i, key := range n.tree.keys {
		if !slices.Contains(keys, key) {
			rest.put(key, n.tree.keyAt[i], n.tree.items[i])
		}
	}
	return Node{rest, n.path}
}

// Named returns n under another path, for a document that is part of a larger one.
func (n Node) Named(path string) Node { return Node{n.tree, path} }

func (n Node) describe() string { return n.tree.describe() }

// describe says what a value is, with the text of what can't be mistaken for a secret.
func (t *tree) describe() string {
	switch {
	case t == nil:
		return kindNull.String()
	case t.kind == kindInt || t.kind == kindFloat:
		return "the number " + t.text
	case t.kind == kindBool:
		return t.text
	}
	return t.kind.String()
}

func (k kind) String() string {
	switch k {
	case kindString:
		return "a string"
	case kindBool:
		return "true or false"
	case kindInt, kindFloat:
		return "a number"
	case kindList:
		return "a list"
	case kindMap:
		return "a map"
	default:
		return "nothing"
	}
}

func joinKey(path, key string) string {
	if !plainKey(key) {
		return path + "[" + strconv.Quote(key) + "]"
	}
	if path == "" {
		return key
	}
	return path + "." + key
}

func joinIndex(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }

func plainKey(key string) bool {
	for _, r := range key {
		if r != '_' && r != '-' && r != '/' && ('0' > r || r > '9') && ('a' > r || r > 'z') && ('A' > r || r > 'Z') {
			return false
		}
	}
	return key != ""
}
