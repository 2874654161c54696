package expr

import (
	"strconv"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
	"cel.dev/cel-go/interpreter"

	"github.com/signalmesh/signalmesh/pkg/fault"
)

// Input is what a mapping looks at.
type Input struct {
	Body    any               // decoded JSON, best by [DecodeJSON]; text as string, else []byte
	Headers map[string]string // names in lower case
	Query   map[string]string
}

// A Mapping makes a value out of a request: an attribute of the signal that it becomes.
type Mapping struct{ program *program }

// CompileMapping compiles source, an expression over body, headers and query. An error has
// code Invalid and shows where.
func CompileMapping(source string) (*Mapping, error) {
	d, err := requests()
	if err != nil {
		return nil, err
	}
	p, err := d.compile(source)
	if err != nil {
		return nil, err
	}
	return &Mapping{p}, nil
}

// String evaluates the mapping to a text. Whole numbers and bools are written out; any
// other result is an error, like a key that is not there. The code is Invalid, or Exhausted
// when it would take too long.
func (m *Mapping) String(in Input) (string, error) {
	value, err := m.program.eval(&request{in})
	if err != nil {
		return "", err
	}
	switch v := value.(type) {
	case types.String:
		return string(v), nil
	case types.Int:
		return strconv.FormatInt(int64(v), 10), nil
	case types.Uint:
		return strconv.FormatUint(uint64(v), 10), nil
	case types.Bool:
		return strconv.FormatBool(bool(v)), nil
	}
	return "", fault.Newf(fault.Invalid, "the expression gives %s, want a string", describe(value))
}

// Value evaluates the mapping to plain Go values: nil, bool, int64, uint64, float64, string,
// []byte, time.Time, time.Duration, []any and map[string]any.
func (m *Mapping) Value(in Input) (any, error) {
	value, err := m.program.eval(&request{in})
	if err != nil {
		return nil, err
	}
	return native(value)
}

// Source is the text that was compiled.
func (m *Mapping) Source() string { return m.program.source }

// request resolves the names of a mapping.
type request struct{ Input }

// ResolveName is asked for every variable when an expression needs it.
func (r *request) ResolveName(name string) (any, bool) {
	switch name {
	case "body":
		if r.Body == nil {
			return types.NullValue, true
		}
		return r.Body, true
	case "headers":
		return r.Headers, true
	case "query":
		return r.Query, true
	}
	return nil, false
}

// Parent is nil: there are no other variables.
func (r *request) Parent() interpreter.Activation { return nil }

func native(value ref.Val) (any, error) {
	switch v := value.(type) {
	case types.Null:
		return nil, nil
	case types.Bool, types.Int, types.Uint, types.Double, types.String, types.Bytes:
		return v.Value(), nil
	case types.Timestamp:
		return v.Time, nil
	case types.Duration:
		return v.Duration, nil
	case *types.Optional:
		if !v.HasValue() {
			return nil, nil
		}
		return native(v.GetValue())
	case traits.Mapper:
		return nativeMap(v)
	case traits.Lister:
		return nativeList(v)
	}
	return nil, fault.Newf(fault.Invalid, "the expression gives %s, which is not a plain value", describe(value))
}

func nativeMap(m traits.Mapper) (any, error) {
	out := map[string]any{}
	for it := m.Iterator(); it.HasNext() == types.True; {
		key := it.Next()
		name, ok := key.(types.String)
		if !ok {
			return nil, fault.Newf(fault.Invalid, "the expression gives a map with %s as a key", describe(key))
		}
		v, err := native(m.Get(key))
		if err != nil {
			return nil, err
		}
		out[string(name)] = v
	}
	return out, nil
}

func nativeList(l traits.Lister) (any, error) {
	out := []any{}
	for it := l.Iterator(); it.HasNext() == types.True; {
		v, err := native(it.Next())
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}

var _ interpreter.Activation = (*request)(nil)
