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
	maxDepth = 100       // nesting of maps and lists
	maxNodes = 1_000_000 // values of one document, aliases expanded
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
		t := b.build(&doc, "", 0)
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
	file  string
	nodes int
}

func (b *builder) build(n *yaml.Node, path string, depth int) *tree {
	t := &tree{file: b.file, at: position{n.Line, n.Column}}
	b.nodes++
	if depth > maxDepth || b.nodes > maxNodes {
		if len(b.problems) == 0 || b.nodes <= maxNodes {
			b.addf(t, path, "nested deeper than %d levels, or more than %d values", maxDepth, maxNodes)
		}
		b.nodes = maxNodes // what follows is cut as well
		return t
	}
	switch n.Kind {
	case yaml.DocumentNode:
		return b.build(n.Content[0], path, depth)
	case yaml.AliasNode:
		return b.build(n.Alias, path, depth+1)
	case yaml.SequenceNode:
		t.kind = kindList
		for i, item := range n.Content {
			t.items = append(t.items, b.build(item, joinIndex(path, i), depth+1))
		}
	case yaml.MappingNode:
		t.kind = kindMap
		b.mapping(t, n, path, depth)
	default:
		b.scalar(t, n, path)
	}
	return t
}

// mapping adds the keys of n to t. Keys written out win over merged ones ("<<").
func (b *builder) mapping(t *tree, n *yaml.Node, path string, depth int) {
	var merged []*yaml.Node
	first := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Kind == yaml.AliasNode {
			key = key.Alias
		}
		at := &tree{file: b.file, at: position{key.Line, key.Column}}
		switch {
		case key.Tag == "!!merge":
			merged = append(merged, value)
			continue
		case key.Kind != yaml.ScalarNode:
			b.add(at, path, "a key must be a plain text")
			continue
		}
		if line, ok := first[key.Value]; ok {
			b.addf(at, joinKey(path, key.Value), "the key is repeated, first on line %d", line)
			continue
		}
		first[key.Value] = key.Line
		t.put(key.Value, at.at, b.build(value, joinKey(path, key.Value), depth+1))
	}
	for _, m := range merged {
		b.merge(t, b.build(m, path, depth+1), path)
	}
}

func (b *builder) merge(t, from *tree, path string) {
	switch from.kind {
	case kindMap:
		for i, key := range from.keys {
			if t.field(key) == nil {
				t.put(key, from.keyAt[i], from.items[i])
			}
		}
	case kindList:
		for _, item := range from.items {
			b.merge(t, item, path)
		}
	default:
		b.add(from, path, "<< must name a map, or a list of maps")
	}
}

func (t *tree) put(key string, at position, value *tree) {
	t.keys = append(t.keys, key)
	t.keyAt = append(t.keyAt, at)
	t.items = append(t.items, value)
}

func (b *builder) scalar(t *tree, n *yaml.Node, path string) {
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
		b.addf(t, path, "the tag %s is not supported", n.Tag)
	}
}
