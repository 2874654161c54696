package expr

import (
	"errors"
	"fmt"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/overloads"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/interpreter"

	"github.com/signalmesh/signalmesh/pkg/fault"
)

// program is a compiled expression.
type program struct {
	source string
	ast    *ast.AST
	cel    cel.Program
}

// compile checks and plans source. The result must be of one of the types given, or turn
// out to be at evaluation.
func (d *dialect) compile(source string, results ...*cel.Type) (*program, error) {
	if strings.TrimSpace(source) == "" {
		return nil, fault.Newf(fault.Invalid, "the expression is empty")
	}
	d.compiling.Lock()
	defer d.compiling.Unlock()
	checked, issues := d.env.Compile(source)
	if issues.Err() != nil {
		return nil, d.compileError(source, issues.Errors())
	}
	if !resultFits(checked.OutputType(), results) {
		return nil, fault.Newf(fault.Invalid, "the expression gives %s, want %s",
			article(cel.FormatCELType(checked.OutputType())), article(cel.FormatCELType(results[0])))
	}
	tree := checked.NativeRep()
	options := []cel.ProgramOption{cel.EvalOptions(cel.OptOptimize), mixedArithmetic()}
	if !isCheap(tree.Expr()) {
		options = append(options, cel.CostLimit(maxCost))
	}
	planned, err := d.env.Program(checked, options...)
	if err != nil {
		return nil, fault.Newf(fault.Invalid, "the expression can't be evaluated: %w", err)
	}
	return &program{source, tree, planned}, nil
}

func resultFits(got *cel.Type, want []*cel.Type) bool {
	if len(want) == 0 || got.IsExactType(cel.DynType) {
		return true
	}
	for _, w := range want {
		if got.IsExactType(w) {
			return true
		}
	}
	return false
}

// eval evaluates with the given variables.
func (p *program) eval(vars any) (value ref.Val, err error) {
	defer func() {
		if v := recover(); v != nil {
			value, err = nil, fault.Newf(fault.Internal, "the expression panicked: %v", v)
		}
	}()
	value, _, err = p.cel.Eval(vars)
	if err != nil {
		return nil, p.evalError(err)
	}
	return value, nil
}

// evalError says in our words why an evaluation came to nothing, and where.
func (p *program) evalError(err error) error {
	var cancelled interpreter.EvalCancelledError
	if errors.As(err, &cancelled) {
		return fault.Newf(fault.Exhausted, "the expression costs too much to evaluate for this input")
	}
	var missing *missingError
	if errors.As(err, &missing) {
		return p.missing(missing.path)
	}
	text := err.Error()
	if key, ok := strings.CutPrefix(text, "no such key: "); ok {
		path, found := p.pathTo(key)
		if !found {
			return fault.Newf(fault.Invalid, "there is no key %q", key)
		}
		return p.missing(path)
	}
	var at *types.Err
	if !errors.As(err, &at) || at.NodeID() == 0 {
		return fault.Newf(fault.Invalid, "%s", text)
	}
	if strings.HasPrefix(text, "no such overload") {
		text = "the values don't go together"
	}
	where := p.ast.SourceInfo().GetStartLocation(at.NodeID())
	return fault.Newf(fault.Invalid, "%d:%d: %s", where.Line(), where.Column()+1, text)
}

func (p *program) missing(path string) error {
	guard := "has(" + path + ")"
	if name, key, _ := strings.Cut(path, "."); name == "headers" || name == "query" {
		guard = fmt.Sprintf("%q in %s", key, name)
	}
	return fault.Newf(fault.Invalid, "there is no %s; guard it with %s", path, guard)
}

// pathTo finds the first place where the expression selects a key, for a message:
// "data.user.login".
func (p *program) pathTo(key string) (path string, found bool) {
	ast.PostOrderVisit(p.ast.Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		if name, ok := selected(e); ok && name == key && !found {
			path, found = pathOf(e)
		}
	}))
	return path, found
}

// selected is the constant key that e takes out of a map.
func selected(e ast.Expr) (string, bool) {
	switch e.Kind() {
	case ast.SelectKind:
		return e.AsSelect().FieldName(), true
	case ast.CallKind:
		call := e.AsCall()
		if call.FunctionName() == operators.Index && call.Args()[1].Kind() == ast.LiteralKind {
			key, ok := call.Args()[1].AsLiteral().(types.String)
			return string(key), ok
		}
	default:
	}
	return "", false
}

// pathOf writes a chain of selections as text.
func pathOf(e ast.Expr) (string, bool) {
	switch e.Kind() {
	case ast.IdentKind:
		return e.AsIdent(), true
	case ast.SelectKind, ast.CallKind:
		key, ok := selected(e)
		if !ok {
			return "", false
		}
		operand := func() ast.Expr {
			if e.Kind() == ast.SelectKind {
				return e.AsSelect().Operand()
			}
			return e.AsCall().Args()[0]
		}()
		base, ok := pathOf(operand)
		return base + "." + key, ok
	default:
		return "", false
	}
}

// isCheap reports whether evaluating e takes time that its own length and that of the
// texts it compares bound well enough to do without a meter.
func isCheap(e ast.Expr) bool {
	cheap := true
	ast.PostOrderVisit(e, ast.NewExprVisitor(func(e ast.Expr) {
		switch e.Kind() {
		case ast.ComprehensionKind:
			cheap = false
		case ast.CallKind:
			cheap = cheap && cheapFunctions[e.AsCall().FunctionName()]
		default:
		}
	}))
	return cheap
}

// cheapFunctions take time linear in their arguments and give results no longer than them.
var cheapFunctions = map[string]bool{
	operators.Equals: true, operators.NotEquals: true, operators.Less: true, operators.LessEquals: true,
	operators.Greater: true, operators.GreaterEquals: true, operators.LogicalAnd: true, operators.LogicalOr: true,
	operators.LogicalNot: true, operators.Conditional: true, operators.In: true, operators.Index: true,
	operators.OptIndex: true, operators.OptSelect: true, operators.Negate: true, operators.Add: true,
	operators.Subtract: true, operators.Multiply: true, operators.Divide: true, operators.Modulo: true,
	overloads.StartsWith: true, overloads.EndsWith: true, overloads.Contains: true, overloads.Size: true,
	overloads.TypeConvertInt: true, overloads.TypeConvertUint: true, overloads.TypeConvertDouble: true,
	overloads.TypeConvertString: true, overloads.TypeConvertBool: true, overloads.TypeConvertTimestamp: true,
	overloads.TypeConvertDuration: true, overloads.TypeConvertType: true,
	"orValue": true, "hasValue": true, "value": true, "optional.of": true, "optional.none": true,
	"lowerAscii": true, "upperAscii": true,
}
