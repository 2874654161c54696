package expr

import (
	"fmt"
	"strings"
	"sync"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/interpreter"

	"github.com/signalmesh/signalmesh/pkg/signal"
)

// An Event is a signal about to be looked at by several predicates: its data is decoded
// once for all of them, and not at all when none asks. It is safe for concurrent use.
type Event struct {
	signal *signal.Signal
	once   sync.Once
	data   any
}

// Of makes an Event of a signal, which must not change while the Event is in use.
func Of(s *signal.Signal) *Event { return &Event{signal: s} }

// Signal is what the Event was made of.
func (e *Event) Signal() *signal.Signal { return e.signal }

// variables resolves the names of a predicate. It is the Event in another coat, to keep
// the evaluator's interface out of the API.
type variables Event

// ResolveName is asked for every variable when an expression needs it.
func (v *variables) ResolveName(name string) (any, bool) {
	switch name {
	case "signal":
		return v.signal, true
	case "data":
		v.once.Do(func() { v.data = decodeData(v.signal) })
		return v.data, true
	}
	return nil, false
}

// Parent is nil: there are no other variables.
func (v *variables) Parent() interpreter.Activation { return nil }

// decodeData is the variable data of s; an error that can't be decoded away is a value too.
func decodeData(s *signal.Signal) any {
	switch {
	case s.Data == nil:
		return types.NullValue
	case s.IsJSON():
		v, err := DecodeJSON(s.Data)
		if err != nil {
			return types.WrapErr(fmt.Errorf("data: %w", err))
		}
		return v
	case strings.HasPrefix(s.DataContentType, "text/"):
		return string(s.Data)
	}
	return s.Data
}

var _ interpreter.Activation = (*variables)(nil)
