package plug

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/signalmesh/signalmesh/pkg/fault"
)

// maxProblems is how many problems an error's text lists; more are only counted.
const maxProblems = 50

// A Problem is one thing that is wrong with a document.
type Problem struct {
	File   string // as it was given to Parse; "" when the document has no name
	Line   int    // from 1; 0 when unknown
	Column int    // from 1; 0 when unknown
	Path   string // "routes[0].to[1].http.timeout"; "" for the document itself
	Text   string // what is wrong and what to do

	cause error
}

// String is "file:line: path: text", without the parts that are not known.
func (p Problem) String() string {
	parts := make([]string, 0, 3)
	for _, s := range []string{place(p.File, p.Line), p.Path, p.Text} {
		if s != "" {
			parts = append(parts, s)
		}
	}
	return strings.Join(parts, ": ")
}

func place(file string, line int) string {
	if line == 0 || file == "" { // without a file, a line means nothing to the reader
		return file
	}
	return file + ":" + strconv.Itoa(line)
}

// reportError is the error of this package: every problem, one per line.
type reportError struct{ problems []Problem }

func (r *reportError) Error() string {
	var b strings.Builder
	for i, p := range r.problems {
		if i > 0 {
			b.WriteByte('\n')
		}
		if i == maxProblems {
			fmt.Fprintf(&b, "and %d more problems", len(r.problems)-i)
			break
		}
		b.WriteString(p.String())
	}
	return b.String()
}

// Unwrap lets errors.Is and errors.As reach what a Decoder or Validate returned.
func (r *reportError) Unwrap() []error {
	var errs []error
	for _, p := range r.problems {
		if p.cause != nil {
			errs = append(errs, p.cause)
		}
	}
	return errs
}

// Problems lists what an error of this package reports, by file and line. An error from
// elsewhere is one Problem that has only a text.
func Problems(err error) []Problem {
	if err == nil {
		return nil
	}
	var r *reportError
	if errors.As(err, &r) {
		return slices.Clone(r.problems)
	}
	return []Problem{{Text: err.Error(), cause: err}}
}

// Join makes one error of all problems in errs, in the order of files given and of lines
// within a file. Nil errors are dropped; Join of none is nil.
func Join(errs ...error) error {
	var all []Problem
	for _, err := range errs {
		all = append(all, Problems(err)...)
	}
	return newReport(all)
}

func newReport(problems []Problem) error {
	if len(problems) == 0 {
		return nil
	}
	rank := map[string]int{}
	for _, p := range problems {
		if _, ok := rank[p.File]; !ok {
			rank[p.File] = len(rank)
		}
	}
	slices.SortStableFunc(problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(rank[a.File], rank[b.File]), cmp.Compare(a.Line, b.Line))
	})
	return fault.Wrap(fault.Invalid, &reportError{problems})
}

// Errorf returns a problem located at n. It works as [fmt.Errorf]; with %w the cause can
// be found by errors.Is and errors.As.
func (n Node) Errorf(format string, args ...any) error {
	err := fmt.Errorf(format, args...)
	p := Problem{Path: n.path, Text: err.Error(), cause: errors.Unwrap(err)}
	if n.tree != nil {
		p.File, p.Line, p.Column = n.tree.file, n.tree.at.line, n.tree.at.column
	}
	return newReport([]Problem{p})
}

// Wrap locates err at n. The parts of a joined error become problems of their own, one
// made with [At] is located at the field it names, and an error that is already located
// stays as it is.
func (n Node) Wrap(err error) error {
	var c collector
	c.wrap(n, err)
	return newReport(c.problems)
}

// fieldError is an error about one field of the struct that reported it.
type fieldError struct {
	path []string
	err  error
}

func (e *fieldError) Error() string { return strings.Join(e.path, ".") + ": " + e.err.Error() }
func (e *fieldError) Unwrap() error { return e.err }

// At names the field that err is about, from inside a Validate method: the key, or the
// keys on the way to it, with the index of a list's element as a key ("0"). A nil err stays
// nil.
func At(err error, path ...string) error {
	if err == nil {
		return nil
	}
	return &fieldError{path, err}
}

// collector gathers problems while a document is walked.
type collector struct{ problems []Problem }

func (c *collector) add(t *tree, path string, text string) {
	p := Problem{Path: path, Text: text}
	if t != nil {
		p.File, p.Line, p.Column = t.file, t.at.line, t.at.column
	}
	c.problems = append(c.problems, p)
}

func (c *collector) addf(t *tree, path string, format string, args ...any) {
	c.add(t, path, fmt.Sprintf(format, args...))
}

func (c *collector) wrap(n Node, err error) {
	if err == nil {
		return
	}
	//nolint:errorlint // the outermost shape decides: what is joined or located must not be skipped
	switch e := transparent(err).(type) {
	case *reportError:
		c.adopt(n, e)
		return
	case *fieldError:
		c.wrap(n.at(e.path), e.err)
		return
	case interface{ Unwrap() []error }:
		for _, part := range e.Unwrap() {
			c.wrap(n, part)
		}
		return
	}
	var r *reportError
	if errors.As(err, &r) {
		c.adopt(n, r)
		return
	}
	c.add(n.tree, n.path, textOf(err))
	c.problems[len(c.problems)-1].cause = err
}

// transparent takes off what only marks an error and adds nothing to its text.
func transparent(err error) error {
	for {
		inner := errors.Unwrap(err)
		if _, ok := err.(*fieldError); ok || inner == nil || inner.Error() != err.Error() { //nolint:errorlint // only this one layer is asked about
			return err
		}
		err = inner
	}
}

// adopt takes over located problems. Those of a document without a name, which was inside
// of n, are located at n.
func (c *collector) adopt(n Node, r *reportError) {
	for _, p := range r.problems {
		if p.File == "" && n.tree != nil && n.tree.file != "" {
			p.File, p.Line, p.Column = n.tree.file, n.tree.at.line, n.tree.at.column
			if !overlap(n.path, p.Path) || n.path == "" {
				p.Path = strings.Trim(n.path+"."+p.Path, ".")
			}
		}
		c.problems = append(c.problems, p)
	}
}

// at goes down to a field; what is absent is located at its closest parent.
func (n Node) at(path []string) Node {
	for _, key := range path {
		if i, err := strconv.Atoi(key); err == nil && n.IsList() && i < len(n.tree.items) {
			n = n.Items()[i]
			continue
		}
		child := n.tree.field(key)
		if child == nil {
			child = n.tree
		}
		n = Node{child, joinKey(n.path, key)}
	}
	return n
}

// textOf is the text of err with the operator's hint, if it has one.
func textOf(err error) string {
	if hint := fault.HintOf(err); hint != "" {
		return err.Error() + "; " + hint
	}
	return err.Error()
}
