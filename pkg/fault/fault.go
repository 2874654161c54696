// Package fault says what kind of failure an error is and what may be done about it.
//
// Two independent facts can be attached to any error without hiding it from
// errors.Is and errors.As:
//
//   - a [Code], the class of the failure, which commands turn into exit codes and the
//     HTTP API into statuses ([Wrap], [Newf], [CodeOf]);
//   - advice for whoever delivers: [Permanent] (trying again cannot help) or
//     [RetryAfter] (try again, not sooner than this).
//
// A handler's returned error is the whole delivery protocol: nil acknowledges,
// Permanent dead-letters at once, RetryAfter waits, anything else is retried with
// backoff. [Hint] adds a sentence for the operator: what to do next.
//
// Everything here is immutable and safe for concurrent use.
package fault

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Code is the class of a failure. The zero Code means no error.
type Code string

// The closed set of codes. Each names what the caller can do, not where it happened.
const (
	Invalid         Code = "invalid"         // the input is wrong; the same input fails again
	Unauthenticated Code = "unauthenticated" // who is asking could not be established, e.g. a wrong signature
	Denied          Code = "denied"          // known, but not allowed
	NotFound        Code = "not_found"       // no such thing
	Conflict        Code = "conflict"        // the state moved, or the thing exists already
	TooLarge        Code = "too_large"       // over a size, depth or count limit
	Exhausted       Code = "exhausted"       // a quota, queue or store is full; back off
	Unavailable     Code = "unavailable"     // not reachable, not ready or timed out; a retry may help
	Internal        Code = "internal"        // none of the above
)

// Exit is the code as the exit status of a command: 0 for no error, 3 not found,
// 4 conflict, 5 denied or unauthenticated, 6 unavailable, 7 invalid or too large, and 1 for
// every other failure. 2 is left for a wrong command line.
func (c Code) Exit() int {
	switch c {
	case "":
		return 0
	case NotFound:
		return 3
	case Conflict:
		return 4
	case Denied, Unauthenticated:
		return 5
	case Unavailable:
		return 6
	case Invalid, TooLarge:
		return 7
	default:
		return 1
	}
}

// coded is an error with a code. Its text is the cause's alone.
type coded struct {
	code Code
	err  error
}

func (e *coded) Error() string { return e.err.Error() }
func (e *coded) Unwrap() error { return e.err }

// Wrap gives err the code. A nil err stays nil. The outermost code wins.
func Wrap(code Code, err error) error {
	if err == nil {
		return nil
	}
	return &coded{code, err}
}

// Newf is [fmt.Errorf] with a code; %w works as it does there.
func Newf(code Code, format string, args ...any) error {
	return &coded{code, fmt.Errorf(format, args...)}
}

// CodeOf reports the code of err: the outermost one attached, else Unavailable for a
// deadline that passed, else Internal. CodeOf(nil) is the zero Code.
func CodeOf(err error) Code {
	var c *coded
	switch {
	case err == nil:
		return ""
	case errors.As(err, &c):
		return c.code
	case errors.Is(err, context.DeadlineExceeded):
		return Unavailable
	}
	return Internal
}

// Is reports whether err carries the code.
func Is(err error, code Code) bool { return err != nil && CodeOf(err) == code }

// advice is what a deliverer should do about an error.
type advice struct {
	err       error
	permanent bool
	after     time.Duration
}

func (e *advice) Error() string { return e.err.Error() }
func (e *advice) Unwrap() error { return e.err }

// Permanent marks err as hopeless: the delivery is dead-lettered without another try.
// A nil err stays nil.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return &advice{err: err, permanent: true}
}

// RetryAfter marks err as worth another try, not sooner than d from now. A d of zero or
// less means as soon as the retry policy allows. A nil err stays nil.
func RetryAfter(d time.Duration, err error) error {
	if err == nil {
		return nil
	}
	return &advice{err: err, after: max(d, 0)}
}

// IsPermanent reports whether the outermost advice on err is [Permanent].
func IsPermanent(err error) bool {
	var a *advice
	return errors.As(err, &a) && a.permanent
}

// Delay reports the wait that the outermost advice on err asks for with [RetryAfter].
func Delay(err error) (time.Duration, bool) {
	var a *advice
	if errors.As(err, &a) && !a.permanent {
		return a.after, true
	}
	return 0, false
}

type hinted struct {
	err  error
	hint string
}

func (e *hinted) Error() string { return e.err.Error() }
func (e *hinted) Unwrap() error { return e.err }

// Hint attaches one sentence that tells the operator what to do. A nil err stays nil.
func Hint(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return &hinted{err, fmt.Sprintf(format, args...)}
}

// HintOf returns the outermost hint on err, or "".
func HintOf(err error) string {
	var h *hinted
	if errors.As(err, &h) {
		return h.hint
	}
	return ""
}
