package route

import (
	"fmt"

	"github.com/signalmesh/signalmesh/pkg/expr"
	"github.com/signalmesh/signalmesh/pkg/router"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

// An Evaluation says what a table makes of one route and one signal.
type Evaluation struct {
	Route          *Route // of the table: not to be changed
	Matched        bool   // the route takes the signal
	PatternMatched bool   // a pattern selects the type; false only in [Table.Explain]
	Rejected       bool   // the predicate said no
	Err            error  // the predicate gave no answer; its code is Invalid, Exhausted or Internal
}

// Reason says in a few words why it came out like this.
func (e Evaluation) Reason() string {
	switch {
	case e.Route.Disabled:
		return "the route is disabled"
	case e.Err != nil:
		return "the predicate failed: " + e.Err.Error()
	case e.Rejected:
		return "the predicate is false: " + e.Route.When
	case e.Matched && e.Route.Default:
		return "no other route takes the signal"
	case e.Matched:
		return "selected by " + e.Route.On.String()
	case !e.PatternMatched:
		return fmt.Sprintf("the type is not selected by %s", e.Route.On)
	}
	return "another route takes the signal"
}

// Evaluate looks at every route whose pattern selects the signal, in order, default routes
// last, and only when nothing else takes it. The data of the signal is decoded once, if any
// predicate asks for it.
func (t *Table) Evaluate(s *signal.Signal) []Evaluation {
	if s == nil || t.matching == nil {
		return nil
	}
	event := expr.Of(s)
	out := evaluate(t.matching, event)
	for _, e := range out {
		if e.Matched {
			return out
		}
	}
	return append(out, evaluate(t.defaults, event)...)
}

func evaluate(r *router.Router[*compiled], event *expr.Event) []Evaluation {
	var out []Evaluation
	for match := range r.Match(event.Signal().Type) {
		c := match.Target
		if len(c.On) > 1 && seen(out, c) {
			continue
		}
		out = append(out, c.evaluate(event))
	}
	return out
}

// seen reports whether another pattern of the same route came first.
func seen(out []Evaluation, c *compiled) bool {
	for i := range out {
		if out[i].Route.Name == c.Name {
			return true
		}
	}
	return false
}

func (c *compiled) evaluate(event *expr.Event) Evaluation {
	e := Evaluation{Route: &c.Route, PatternMatched: true, Matched: true}
	if c.when == nil {
		return e
	}
	yes, err := c.when.EvalEvent(event)
	e.Matched, e.Rejected, e.Err = yes && err == nil, !yes && err == nil, err
	return e
}

// Explain looks at every route of the table: first those that [Table.Evaluate] gives, then
// the others by name.
func (t *Table) Explain(s *signal.Signal) []Evaluation {
	out := t.Evaluate(s)
	done := make(map[string]bool, len(out))
	for _, e := range out {
		done[e.Route.Name] = true
	}
	for _, c := range t.routes {
		if !done[c.Name] {
			out = append(out, Evaluation{Route: &c.Route, PatternMatched: s != nil && c.selects(s.Type)})
		}
	}
	return out
}

func (c *compiled) selects(typ string) bool {
	for _, p := range c.On {
		if p.Match(typ) {
			return true
		}
	}
	return c.Default && len(c.On) == 0
}
