package router

import (
	"errors"
	"fmt"
	"runtime/debug"

	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/pattern"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

// MinPriority and MaxPriority bound a route's priority.
const (
	MinPriority = -100
	MaxPriority = 100
)

// A Route leads the signals that its pattern selects, and its predicate accepts, to a
// target. Make one with [To].
type Route[T any] struct {
	Pattern  pattern.Pattern
	Target   T
	Priority int // among routes of equal specificity the higher comes first; 0 by default

	when predicate
	err  error // what was wrong with the arguments of To, for New and With to report
}

type predicate func(*signal.Signal) (bool, error)

// To makes a route. What is wrong with its arguments is reported by [New] or [Router.With].
func To[T any](text string, target T, opts ...Option) Route[T] {
	var o options
	for _, opt := range opts {
		opt.apply(&o)
	}
	p, err := pattern.Parse(text)
	return Route[T]{Pattern: p, Target: target, Priority: o.priority, when: o.when, err: errors.Join(err, o.err)}
}

// HasPredicate reports whether the route has a predicate, so that its pattern alone does
// not decide.
func (r Route[T]) HasPredicate() bool { return r.when != nil }

// check reports what makes the route unfit to be added.
func (r Route[T]) check() error {
	switch {
	case r.err != nil:
		return r.err
	case r.Pattern.IsZero():
		return fault.Newf(fault.Invalid, "no pattern")
	case r.Priority < MinPriority || r.Priority > MaxPriority:
		return fault.Newf(fault.Invalid, "pattern %s: priority %d is not within %d..%d",
			r.Pattern, r.Priority, MinPriority, MaxPriority)
	}
	return nil
}

// accepts asks the predicate. An error means that it did not come to a verdict.
func (r *Route[T]) accepts(s *signal.Signal) (bool, error) {
	if r.when == nil {
		return true, nil
	}
	ok, err := ask(r.when, s)
	if err != nil {
		return false, fmt.Errorf("predicate of %s: %w", r.Pattern, err)
	}
	return ok, nil
}

// ask runs a predicate and turns its panic into an error.
func ask(when predicate, s *signal.Signal) (ok bool, err error) {
	defer func() {
		if v := recover(); v != nil {
			ok, err = false, fault.Wrap(fault.Internal, &PanicError{Value: v, Stack: debug.Stack()})
		}
	}()
	return when(s)
}

// PanicError is the verdict of a predicate that panicked.
type PanicError struct {
	Value any    // what it panicked with
	Stack []byte // where, as debug.Stack has it
}

// Error names the panic's value without the stack.
func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v", e.Value) }

// Unwrap is the panic's value if that is an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

// Option is an option of [To].
type Option interface{ apply(*options) }

type options struct {
	priority int
	when     predicate
	err      error
}

type optionFunc func(*options)

func (f optionFunc) apply(o *options) { f(o) }

// Priority orders routes of equal specificity, from -100 (last) to 100 (first).
func Priority(n int) Option { return optionFunc(func(o *options) { o.priority = n }) }

// When adds a predicate: the route matches only signals for which it is true. It is called
// concurrently, must not change the signal, and may not be nil. Given more than once, all
// must be true, and they are asked in order.
func When(accept func(*signal.Signal) bool) Option {
	if accept == nil {
		return WhenErr(nil)
	}
	return WhenErr(func(s *signal.Signal) (bool, error) { return accept(s), nil })
}

// WhenErr is [When] for a predicate that can fail. An error means that the route does not
// match; [Router.Explain] shows it.
func WhenErr(accept func(*signal.Signal) (bool, error)) Option {
	return optionFunc(func(o *options) {
		if accept == nil {
			o.err = fault.Newf(fault.Invalid, "predicate is nil")
			return
		}
		before := o.when
		o.when = accept
		if before != nil {
			o.when = func(s *signal.Signal) (bool, error) {
				if ok, err := before(s); !ok || err != nil {
					return false, err
				}
				return accept(s)
			}
		}
	})
}

var (
	_ Option = optionFunc(nil)
	_ error  = (*PanicError)(nil)
)
