package expr

import (
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

// A Predicate says yes or no to a signal.
type Predicate struct{ program *program }

// CompilePredicate compiles source, an expression over signal and data that gives a bool.
// An error has code Invalid and shows where.
func CompilePredicate(source string) (*Predicate, error) {
	d, err := signals()
	if err != nil {
		return nil, err
	}
	p, err := d.compile(source, cel.BoolType)
	if err != nil {
		return nil, err
	}
	return &Predicate{p}, nil
}

// Eval evaluates the predicate for one signal. The error says why there is no answer:
// Invalid when the expression does not fit this signal, Exhausted when it would take too
// long.
func (p *Predicate) Eval(s *signal.Signal) (bool, error) { return p.EvalEvent(Of(s)) }

// EvalEvent is [Predicate.Eval] for a signal that several predicates look at.
func (p *Predicate) EvalEvent(e *Event) (bool, error) {
	value, err := p.program.eval((*variables)(e))
	if err != nil {
		return false, err
	}
	yes, ok := value.(types.Bool)
	if !ok {
		return false, fault.Newf(fault.Invalid, "the expression gives %s, want a bool", describe(value))
	}
	return bool(yes), nil
}

// String is the source.
func (p *Predicate) String() string { return p.program.source }

// describe names the type of a value, never the value.
func describe(v ref.Val) string {
	if v.Type() == types.NullType {
		return "null"
	}
	return article(v.Type().TypeName())
}

func article(noun string) string {
	if strings.ContainsRune("aeiou", rune(noun[0])) {
		return "an " + noun
	}
	return "a " + noun
}
