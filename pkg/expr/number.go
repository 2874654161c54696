package expr

import (
	"encoding/json"
	"math"
	"strconv"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
	"cel.dev/cel-go/interpreter"

	"github.com/signalmesh/signalmesh/pkg/signal"
)

// numbers is the type adapter that gives JSON numbers their CEL type when they are used.
type numbers struct{ types.Adapter }

// NativeToValue converts numbers that JSON decoding left as they were written. A float64
// without a fraction is an int too, so that whoever decoded without care for big numbers
// gets the same answers for the others.
func (a numbers) NativeToValue(value any) ref.Val {
	switch v := value.(type) {
	case json.Number:
		return parseNumber(string(v))
	case float64:
		if v == math.Trunc(v) && math.Abs(v) <= maxExact {
			return types.Int(int64(v))
		}
		return types.Double(v)
	case map[string]any:
		return types.NewStringInterfaceMap(a, v)
	case []any:
		return types.NewDynamicList(a, v)
	case *signal.Signal:
		return types.NewErr("a signal is not a value of its own, name one of its attributes")
	}
	return a.Adapter.NativeToValue(value)
}

// maxExact bounds the doubles that tell every whole number from its neighbours.
const maxExact = 1 << 53

func parseNumber(text string) ref.Val {
	if strings.ContainsAny(text, ".eE") {
		return parseDouble(text)
	}
	if i, err := strconv.ParseInt(text, 10, 64); err == nil {
		return types.Int(i)
	}
	if u, err := strconv.ParseUint(text, 10, 64); err == nil {
		return types.Uint(u)
	}
	return parseDouble(text)
}

func parseDouble(text string) ref.Val {
	f, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return types.NewErr("the number %s is too large", text)
	}
	return types.Double(f)
}

// mixed are the operators that take an int and a double, which CEL refuses: a price of 10
// and one of 9.99 are the same kind of number to whoever wrote the JSON.
var mixed = map[string]string{
	operators.Add: "add", operators.Subtract: "subtract",
	operators.Multiply: "multiply", operators.Divide: "divide",
}

// mixedOverloads tells the checker about them. The result is a double, but declared as
// dyn: the checker lets no double be equal to an int.
func mixedOverloads() []cel.EnvOption {
	options := make([]cel.EnvOption, 0, len(mixed))
	for operator, name := range mixed {
		options = append(options, cel.Function(operator,
			cel.Overload(name+"_int_double", []*cel.Type{cel.IntType, cel.DoubleType}, cel.DynType),
			cel.Overload(name+"_double_int", []*cel.Type{cel.DoubleType, cel.IntType}, cel.DynType)))
	}
	return options
}

// mixedArithmetic makes the evaluator compute them.
func mixedArithmetic() cel.ProgramOption {
	return cel.CustomDecoratorV2(func(i interpreter.InterpretableV2) (interpreter.InterpretableV2, error) {
		call, ok := i.(interpreter.InterpretableCall)
		if !ok || len(call.Args()) != 2 || mixed[call.Function()] == "" {
			return i, nil
		}
		return &arithmetic{InterpretableCall: call}, nil
	})
}

// arithmetic is a call whose operands are brought to one kind of number when they differ.
type arithmetic struct{ interpreter.InterpretableCall }

// Exec evaluates both operands and combines them. Errors come out as CEL has them.
func (a *arithmetic) Exec(frame *interpreter.ExecutionFrame) ref.Val {
	l := a.Args()[0].Exec(frame)
	if types.IsUnknownOrError(l) {
		return l
	}
	r := a.Args()[1].Exec(frame)
	if types.IsUnknownOrError(r) {
		return r
	}
	result := a.combine(l, r)
	if costs := frame.CostTracker(); costs != nil {
		costs.EvalBinary(frame, a.ID(), a.InterpretableCall, l, r, result)
	}
	return result
}

func (a *arithmetic) combine(l, r ref.Val) ref.Val {
	if x, y, ok := promote(l, r); ok {
		l, r = x, y
	}
	var result ref.Val
	switch a.Function() {
	case operators.Add:
		if x, ok := l.(traits.Adder); ok {
			result = x.Add(r)
		}
	case operators.Subtract:
		if x, ok := l.(traits.Subtractor); ok {
			result = x.Subtract(r)
		}
	case operators.Multiply:
		if x, ok := l.(traits.Multiplier); ok {
			result = x.Multiply(r)
		}
	case operators.Divide:
		if x, ok := l.(traits.Divider); ok {
			result = x.Divide(r)
		}
	}
	if result == nil || types.IsError(result) {
		return a.failed(l, r, result)
	}
	return result
}

// failed names the operands that don't go together; other errors, such as a division by
// zero, speak for themselves.
func (a *arithmetic) failed(l, r, result ref.Val) ref.Val {
	if result != nil && !strings.HasPrefix(result.(*types.Err).Error(), "no such overload") {
		return types.LabelErrNode(a.ID(), result)
	}
	operator, _ := operators.FindReverseBinaryOperator(a.Function())
	return types.NewErrWithNodeID(a.ID(), "%s %s %s is not possible", describe(l), operator, describe(r))
}

// Eval is Exec for callers of the older interface.
func (a *arithmetic) Eval(vars interpreter.Activation) ref.Val {
	return interpreter.EvalActivation(vars, a.Exec)
}

// promote makes doubles of an int and a double.
func promote(l, r ref.Val) (x, y types.Double, ok bool) {
	switch l := l.(type) {
	case types.Int:
		y, ok = r.(types.Double)
		return types.Double(l), y, ok
	case types.Double:
		if r, isInt := r.(types.Int); isInt {
			return l, types.Double(r), true
		}
	}
	return 0, 0, false
}
