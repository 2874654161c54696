package journal

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// maxIndent is how many levels of a tree are drawn one below the other. Deeper ones stay in
// the last column and say how deep they are.
const maxIndent = 32

// place is one of the places of a node in the tree that a trace is when read from where it
// began.
type place struct {
	node  int
	level int
	last  bool   // has no sibling after it
	above *place // nil for the root
}

// WriteTree draws the trace as a tree for people, a line for each place: depth first, in the
// order of the edges. A signal that several ways lead to is at the end of each, but what
// follows from it is drawn once.
func (t *Trace) WriteTree(w io.Writer) error {
	b := bufio.NewWriter(w)
	children := t.children()
	seen := make([]bool, len(t.Nodes))
	var stack []place
	if len(t.Nodes) > 0 {
		stack = append(stack, place{last: true})
	}
	for len(stack) > 0 {
		p := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		p.indent(b)
		b.WriteString(t.Nodes[p.node].label(seen[p.node]))
		b.WriteByte('\n')
		if seen[p.node] {
			continue
		}
		seen[p.node] = true
		below := children[p.node]
		for i := len(below) - 1; i >= 0; i-- {
			stack = append(stack, place{node: below[i], level: p.level + 1, last: i == len(below)-1, above: &p})
		}
	}
	if t.Truncated {
		b.WriteString("… and more\n")
	}
	return b.Flush()
}

// children are the nodes one step further from where the trace began, for each node.
func (t *Trace) children() [][]int {
	out := make([][]int, len(t.Nodes))
	for _, e := range t.Edges {
		if t.Direction == Backward {
			out[e.Effect] = append(out[e.Effect], e.Cause)
		} else {
			out[e.Cause] = append(out[e.Cause], e.Effect)
		}
	}
	return out
}

// indent draws what stands before the text of the place.
func (p *place) indent(b *bufio.Writer) {
	if p.level == 0 {
		return
	}
	if p.level > maxIndent {
		fmt.Fprintf(b, "%*d: ", 3*maxIndent-2, p.level)
		return
	}
	var rails [maxIndent]string
	n := 0
	for q := p.above; q != nil && q.level > 0; q = q.above {
		rails[n] = "│  "
		if q.last {
			rails[n] = "   "
		}
		n++
	}
	for ; n > 0; n-- {
		b.WriteString(rails[n-1])
	}
	if p.last {
		b.WriteString("└─ ")
	} else {
		b.WriteString("├─ ")
	}
}

// label is the text of a node; again says that it is in the tree already.
func (n *Node) label(again bool) string {
	if n.Missing {
		return plain(n.ID) + "  (not in the journal)"
	}
	text := plain(n.Type) + "  " + plain(n.ID) + "  " + plain(n.Source)
	if n.Subject != "" {
		text += "  " + plain(n.Subject)
	}
	if !n.Time.IsZero() {
		text += "  " + n.Time.UTC().Format(time.RFC3339Nano)
	}
	if again {
		text += "  (see above)"
	}
	return text
}

// plain is text without what could move the cursor or change colours: attributes come from
// anywhere.
func plain(text string) string {
	for _, r := range text {
		if !unicode.IsGraphic(r) || r == utf8.RuneError {
			return strconv.QuoteToGraphic(text)
		}
	}
	return text
}

// WriteMermaid writes the trace as a Mermaid flowchart. Arrows lead from causes to effects
// in either direction.
func (t *Trace) WriteMermaid(w io.Writer) error {
	b := bufio.NewWriter(w)
	b.WriteString("flowchart TD\n")
	for i, n := range t.Nodes {
		text := mermaidText(n.Type) + "<br/>" + mermaidText(n.ID)
		if n.Missing {
			text = mermaidText(n.ID) + "<br/>not in the journal"
		}
		fmt.Fprintf(b, "  n%d[\"%s\"]\n", i, text)
	}
	for _, e := range t.Edges {
		fmt.Fprintf(b, "  n%d --> n%d\n", e.Cause, e.Effect)
	}
	return b.Flush()
}

// mermaidText escapes text for a quoted Mermaid label, where # begins an entity.
func mermaidText(text string) string {
	var out strings.Builder
	for _, r := range text {
		switch {
		case !unicode.IsGraphic(r) || strings.ContainsRune("#\"<>&`", r):
			fmt.Fprintf(&out, "#%d;", r)
		default:
			out.WriteRune(r)
		}
	}
	return out.String()
}
