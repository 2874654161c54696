package plug

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

const (
	maxDepth    = 100    // nesting of maps and lists
	maxExpanded = 10_000 // values that aliases add to one document
)

// Parse reads one YAML or JSON document. The name, usually the file's, begins every
// problem. An empty document is the zero Node. Repeated keys and aliases that expand
// beyond reason are reported here, all at once.
func Parse(data []byte, name string) (Node, error) {
	nodes, err := ParseAll(data, name)
	switch {
	case err != nil:
		return Node{}, err
	case len(nodes) == 0:
		return Node{}, nil
	case len(nodes) > 1:
		return Node{}, nodes[1].Errorf("expected one document, found %d separated by ---", len(nodes))
	}
	return nodes[0], nil
}

// ParseAll is [Parse] for a text of several documents, separated by "---". Empty ones are
// left out.
func ParseAll(data []byte, name string) ([]Node, error) {
	if isJSON(data) {
		n, err := FromJSON(data, name)
		if err != nil {
			return nil, err
		}
		return []Node{n}, nil
	}
	var nodes []Node
	var found []Problem
	dec := yaml.NewDecoder(bytes.NewReader(data))
	for {
		var doc yaml.Node
		err := dec.Decode(&doc)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			found = append(found, syntaxProblem(err, name))
			break
		}
		b := builder{file: name}
		t := b.build(&doc, 0)
		found = append(found, b.problems...)
		if t != nil && t.kind != kindNull {
			nodes = append(nodes, Node{tree: t})
		}
	}
	return nodes, newReport(found)
}

// isJSON tells JSON objects and arrays, which are read by the JSON parser: the YAML one
// refuses some of them, for instance those with surrogate pairs.
func isJSON(data []byte) bool {
	trimmed := bytes.TrimLeft(data, " \t\r\n")
	return len(trimmed) > 0 && (trimmed[0] == '{' || trimmed[0] == '[') && json.Valid(data)
}

var syntaxLine = regexp.MustCompile(`^(?:yaml: )?(?:line (\d+): )?`)

// syntaxProblem turns the YAML parser's error into one of ours.
func syntaxProblem(err error, file string) Problem {
	text := err.Error()
	m := syntaxLine.FindStringSubmatch(text)
	line, _ := strconv.Atoi(m[1])
	text = strings.TrimPrefix(text, m[0])
	if strings.Contains(text, "cannot start any token") {
		text += " (indent with spaces, not tabs; put text that begins with @, ` or % in quotes)"
	}
	return Problem{File: file, Line: line, Text: text, cause: err}
}

// builder makes a tree of a YAML document.
type builder struct {
	collector
	file     string
	path     []string // how the walk came here; joined only for a problem
	aliased  int      // aliases that the walk is inside of
	expanded int      // values seen inside of aliases
	gaveUp   bool
}

func (b *builder) problem(at *yaml.Node, format string, args ...any) {
	b.addf(&tree{file: b.file, at: position{at.Line, at.Column}}, strings.Join(b.path, ""), format, args...)
}

// tooMuch ends the walk for good at the first value that is too deep, or one too many.
func (b *builder) tooMuch(n *yaml.Node, depth int) bool {
	if b.aliased > 0 {
		b.expanded++
	}
	switch {
	case b.gaveUp:
	case depth > maxDepth:
		b.problem(n, "nested deeper than %d levels", maxDepth)
		b.gaveUp = true
	case b.expanded > maxExpanded:
		b.problem(n, "aliases expand to more than %d values", maxExpanded)
		b.gaveUp = true
	}
	return b.gaveUp
}

func (b *builder) build(n *yaml.Node, depth int) *tree {
	t := &tree{file: b.file, at: position{n.Line, n.Column}}
	if b.tooMuch(n, depth) {
		return t
	}
	switch n.Kind {
	case yaml.DocumentNode:
		return b.build(n.Content[0], depth)
	case yaml.AliasNode:
		b.aliased++
		t = b.build(n.Alias, depth+1)
		b.aliased--
	case yaml.SequenceNode:
		t.kind = kindList
		for i, item := range n.Content {
			t.items = append(t.items, b.child(item, joinIndex("", i), depth))
		}
	case yaml.MappingNode:
		t.kind = kindMap
		b.mapping(t, n, depth)
	default:
		b.scalar(t, n)
	}
	return t
}

// child builds what is one step below, which is written in front of a problem's text.
func (b *builder) child(n *yaml.Node, step string, depth int) *tree {
	b.path = append(b.path, step)
	t := b.build(n, depth+1)
	b.path = b.path[:len(b.path)-1]
	return t
}

func (b *builder) step(key string) string {
	if len(b.path) == 0 || !plainKey(key) {
		return joinKey("", key)
	}
	return "." + key
}

// mapping adds the keys of n to t. Keys written out win over merged ones ("<<").
func (b *builder) mapping(t *tree, n *yaml.Node, depth int) {
	var merged []*yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		at := key
		if key.Kind == yaml.AliasNode {
			key = key.Alias
		}
		switch first := t.index(key.Value); {
		case key.Tag == "!!merge":
			merged = append(merged, value)
		case key.Kind != yaml.ScalarNode:
			b.problem(at, "a key must be a plain text")
		case first >= 0:
			b.path = append(b.path, b.step(key.Value))
			b.problem(at, "the key is repeated, first on line %d", t.keyAt[first].line)
			b.path = b.path[:len(b.path)-1]
		default:
			t.put(key.Value, position{at.Line, at.Column}, b.child(value, b.step(key.Value), depth))
		}
	}
	for _, m := range merged {
		b.merge(t, b.build(m, depth+1), m)
	}
}

func (b *builder) merge(t, from *tree, at *yaml.Node) {
	switch from.kind {
	case kindMap:
		for i, key := range from.keys {
			if t.index(key) < 0 {
				t.put(key, from.keyAt[i], from.items[i])
			}
		}
	case kindList:
		for _, item := range from.items {
			b.merge(t, item, at)
		}
	default:
		b.problem(at, "<< must name a map, or a list of maps")
	}
}

func (b *builder) scalar(t *tree, n *yaml.Node) {
	t.text = n.Value
	switch n.ShortTag() {
	case "!!null":
		t.kind = kindNull
	case "!!bool":
		t.kind = kindBool
		t.text = strings.ToLower(n.Value)
	case "!!int":
		t.kind = kindInt
	case "!!float":
		t.kind = kindFloat
		if !strings.ContainsAny(n.Value, ".eE") { // a whole number beyond 64 bits
			t.kind = kindInt
		}
	case "!!str", "!!timestamp", "!!binary":
		t.kind = kindString
	default:
		t.kind = kindString
		b.problem(n, "the tag %s is not supported", n.Tag)
	}
}
