package signal

import (
	"fmt"
	"slices"

	"github.com/signalmesh/signalmesh/pkg/fault"
)

// A Kind ties a signal type to the Go type of its data. Kinds are declared once, as package
// variables, with [Define]; they are immutable and safe for concurrent use.
type Kind[T any] struct {
	typ  string
	opts []Option
}

// Define declares the kind of signals whose type is typ and whose data is a T. The options
// apply to every signal the kind makes. It panics on a type that no signal can have.
func Define[T any](typ string, opts ...Option) Kind[T] {
	if err := checkType(typ); err != nil {
		panic(fmt.Sprintf("signal: define %.64q: %v", typ, err))
	}
	return Kind[T]{typ: typ, opts: slices.Clone(opts)}
}

// Type returns the signal type of the kind.
func (k Kind[T]) Type() string { return k.typ }

// New makes a signal of the kind, as [New] does. The options come after the kind's own.
func (k Kind[T]) New(data T, opts ...Option) (*Signal, error) {
	return New(k.typ, data, slices.Concat(k.opts, opts)...)
}

// Decode returns the data of a signal of this kind. A signal of another type is a
// [*TypeError]; data that does not fit T is an error coded Invalid.
func (k Kind[T]) Decode(s *Signal) (T, error) {
	var data T
	if s.Type != k.typ {
		return data, fault.Wrap(fault.Invalid, &TypeError{Want: k.typ, Got: s.Type})
	}
	err := s.Decode(&data)
	return data, err
}

// A TypeError reports a signal that is not of the kind it was decoded as.
type TypeError struct {
	Want string // the type of the kind
	Got  string // the type of the signal
}

// Error names both types.
func (e *TypeError) Error() string {
	return fmt.Sprintf("decode: signal type is %q, want %q", e.Got, e.Want)
}

var _ error = (*TypeError)(nil)
