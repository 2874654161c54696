// Package dispatch is the contract of adapters: code that delivers a signal to one kind of
// system outside, such as HTTP endpoints or NATS subjects.
//
// Promises to whoever uses an adapter:
//
//   - Options are decoded strictly before anything is opened; [Registry.Check] finds what
//     is wrong with them without touching the network.
//   - One [Adapter] value may be used by any number of goroutines, and returns when its
//     context ends.
//   - The error is the whole protocol (package fault): nil is delivered, fault.Permanent
//     is hopeless, fault.RetryAfter waits, anything else is worth another try. A [Failure]
//     carries what the other side answered.
//   - No error, description or log line of an adapter holds a secret.
//   - Targets that a signal carries itself can't name secrets of this process; that is
//     enforced when they are opened, for every adapter in the same place.
//
// Promises to whoever writes one: register a name and an open function whose
// configuration is a struct with json, doc, default and required tags; decoding,
// checking and reference documentation follow from it. Package dispatchtest is the suite
// that every adapter passes.
package dispatch

import (
	"context"
	"io"
	"time"

	"github.com/signalmesh/signalmesh/pkg/signal"
)

// An Adapter delivers signals to one target.
type Adapter interface {
	// Deliver makes one attempt. It is called concurrently, with ctx bounding the attempt,
	// and returns promptly once ctx ends. It must not change s. [InfoFrom] tells which
	// delivery the attempt belongs to.
	//
	// The error says what to do: nil, the target has the signal; [fault.Permanent], it
	// never will; [fault.RetryAfter], not before that; anything else, try again. The
	// same signal may be delivered more than once: pass on [KeyOf], which stays the same,
	// wherever the target can use it to recognise a repeat.
	Deliver(ctx context.Context, s *signal.Signal) error
}

// A Replier is an adapter whose target may answer with a signal. Exchange makes one
// attempt as Deliver does, and takes its place. A nil reply without error means that
// there is none; a reply is caused by s, and its id is the same when the attempt is
// repeated. The caller publishes it.
type Replier interface {
	Adapter
	Exchange(ctx context.Context, s *signal.Signal) (reply *signal.Signal, err error)
}

// A Describer names the destination of a target for people, with nothing in it that must
// stay secret. Adapters and configurations may implement it.
type Describer interface{ Endpoint() string }

// A Limiter has its own limit for one attempt, which may be hours. Adapters may implement
// it; the caller then grants an attempt at least that much, instead of its default.
type Limiter interface{ Timeout() time.Duration }

// Send makes one attempt through a: Exchange where it can answer, else Deliver.
func Send(ctx context.Context, a Adapter, s *signal.Signal) (*signal.Signal, error) {
	if r, ok := a.(Replier); ok {
		return r.Exchange(ctx, s)
	}
	return nil, a.Deliver(ctx, s)
}

// Endpoint describes where a delivers, or is "" for an adapter that does not say.
func Endpoint(a Adapter) string {
	if d, ok := a.(Describer); ok {
		return d.Endpoint()
	}
	return ""
}

// Close releases what a holds, if anything. Closing twice is closing once.
func Close(a Adapter) error {
	if c, ok := a.(io.Closer); ok {
		return c.Close()
	}
	return nil
}

// Func is a function as an [Adapter].
type Func func(ctx context.Context, s *signal.Signal) error

// Deliver calls f.
func (f Func) Deliver(ctx context.Context, s *signal.Signal) error { return f(ctx, s) }

var _ Adapter = Func(nil)
