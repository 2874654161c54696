package plug

import (
	"slices"

	"go.yaml.in/yaml/v3"
)

// Text is a string that was not read from a document. The origin stands where a file's name
// would in problems: "SIGNALD_HTTP_LISTEN".
func Text(text, origin string) Node {
	return Node{tree: &tree{kind: kindString, text: text, file: origin}}
}

// Scalar is [Text] with the type that YAML would see in it: a number, true, null, else a
// string.
func Scalar(text, origin string) Node {
	b := builder{file: origin}
	t := &tree{file: origin}
	b.scalar(t, &yaml.Node{Kind: yaml.ScalarNode, Value: text})
	return Node{tree: t}
}

// List is a list of nodes.
func List(origin string, items ...Node) Node {
	list := &tree{kind: kindList, file: origin}
	for _, n := range items {
		if n.tree == nil {
			n = Text("", origin)
		}
		list.items = append(list.items, n.tree)
	}
	return Node{tree: list}
}

// Under puts n below the keys, outermost first, into a document of its own, for [Merge].
func (n Node) Under(keys ...string) Node {
	if n.tree == nil {
		return n
	}
	t := n.tree
	for _, key := range slices.Backward(keys) {
		outer := &tree{kind: kindMap, file: t.file}
		outer.put(key, position{}, t)
		t = outer
	}
	return Node{tree: t}
}
