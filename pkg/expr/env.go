package expr

import (
	"sync"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/ext"
)

const (
	maxSource = 8 << 10   // characters of one expression
	maxCost   = 1_000_000 // CEL cost units of one metered evaluation, some 100 ms
)

// dialect is an environment, and what its variables are called, for messages.
type dialect struct {
	compiling  sync.Mutex // an Env of cel-go 0.33 writes a field while it compiles
	env        *cel.Env
	payload    string // the variable that holds what was sent
	attributes string // the variable whose fields are attributes; "" when there is none
}

// The two dialects are built at the first use: a program without expressions does not pay
// the milliseconds.
var (
	signals = sync.OnceValues(func() (*dialect, error) {
		env, err := newEnv(
			cel.Variable("signal", cel.ObjectType(signalType)),
			cel.Variable("data", cel.DynType),
		)
		return &dialect{env: env, payload: "data", attributes: "signal"}, err
	})
	requests = sync.OnceValues(func() (*dialect, error) {
		texts := cel.MapType(cel.StringType, cel.StringType)
		env, err := newEnv(
			cel.Variable("body", cel.DynType),
			cel.Variable("headers", texts),
			cel.Variable("query", texts),
		)
		return &dialect{env: env, payload: "body"}, err
	})
)

func newEnv(variables ...cel.EnvOption) (*cel.Env, error) {
	env, err := cel.NewEnv(
		cel.OptionalTypes(),
		cel.CrossTypeNumericComparisons(true),
		cel.DefaultUTCTimeZone(true),
		cel.EagerlyValidateDeclarations(true),
		cel.ParserExpressionSizeLimit(maxSource),
		cel.RegexProgramSizeLimit(1000),
		ext.Strings(), ext.Math(), ext.Sets(), ext.Encoders(),
	)
	if err != nil {
		return nil, err
	}
	// The libraries above add types to CEL's own provider, which ours then wraps.
	return env.Extend(append(append(variables, mixedOverloads()...),
		cel.CustomTypeAdapter(numbers{env.CELTypeAdapter()}),
		cel.CustomTypeProvider(attributes{env.CELTypeProvider()}),
	)...)
}
