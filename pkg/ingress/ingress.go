// Package ingress is the contract of sources: code that turns what the outside world
// sends into signals.
//
// A [Receiver] promises that nothing comes out of it that was not proven authentic,
// that the same delivery always gives the same signals (source and id included), so
// that a sender's repeats are stored once, and that no error of it names a secret.
// It neither publishes nor answers HTTP: whoever calls it stores the signals first and
// answers the sender after that.
//
// Receivers are opened by name through a [Registry], from options decoded strictly.
// What every receiver must do is written down as tests in package ingresstest.
package ingress

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/secret"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

// A Receiver turns one request of a sender into signals. It is called concurrently.
//
// Its errors say what became of the request:
//
//   - [fault.Unauthenticated]: the request is not proven to come from the sender: a
//     missing or wrong signature, or one that is too old;
//   - [fault.Invalid]: authentic, or not meant to be, but malformed: the sender must
//     send something else;
//   - [*Unmappable]: authentic and well-formed, but no signal could be made of it by the
//     mapping in force. The caller keeps it, since the mapping may be what is wrong.
//
// With an error there is no result; nothing of the request may be published.
type Receiver interface {
	Receive(ctx context.Context, r *Request) (Result, error)
}

// ReceiverFunc is a function as a [Receiver].
type ReceiverFunc func(ctx context.Context, r *Request) (Result, error)

var _ Receiver = ReceiverFunc(nil)

// Receive calls f.
func (f ReceiverFunc) Receive(ctx context.Context, r *Request) (Result, error) { return f(ctx, r) }

// A Request is what a sender sent, read whole. A Receiver must not change it.
type Request struct {
	Header http.Header
	Query  url.Values
	Body   []byte    // the bytes as they came: what signatures are over
	At     time.Time // when it was received; replay windows are measured from here
	Remote string    // the peer's address, for logs
}

// A Result is what a Receiver made of a request.
type Result struct {
	// Signals are to be stored all or none. There may be none, as for a handshake.
	Signals []*signal.Signal

	// Reply, when not nil, is what the sender expects to hear once Signals are stored.
	// Without it the caller answers as it sees fit.
	Reply *Reply
}

// A Reply is an answer in the words of the sender's protocol.
type Reply struct {
	Status      int // 0 means 200
	ContentType string
	Body        []byte
}

// Mapping says how the attributes of a signal come from a request, as CEL expressions
// over headers (names in lower case), query and body. An empty expression leaves the
// attribute to the source's own default.
type Mapping struct {
	Type    string `json:"type" doc:"CEL expression that gives the signal's type"`
	Source  string `json:"source" doc:"CEL expression that gives the signal's source"`
	Subject string `json:"subject" doc:"CEL expression that gives the signal's subject"`
	ID      string `json:"id" doc:"CEL expression that gives the signal's id; the same delivery must always give the same id"`
}

// Unmappable reports an authentic request of which no signal could be made. Its code is
// [fault.Invalid].
type Unmappable struct {
	ID  string // the sender's own id of the delivery, "" when it gave none
	Err error
}

// Error says which delivery, and why.
func (e *Unmappable) Error() string {
	if e.ID == "" {
		return fmt.Sprintf("map delivery: %v", e.Err)
	}
	return fmt.Sprintf("map delivery %q: %v", e.ID, e.Err)
}

// Unwrap gives the reason, coded [fault.Invalid].
func (e *Unmappable) Unwrap() error { return fault.Wrap(fault.Invalid, e.Err) }

// IsPrivate reports whether the value of a request header proves who sends: a signature, a
// token, a cookie. Such a value is neither shown to expressions nor kept.
func IsPrivate(header string) bool {
	switch http.CanonicalHeaderKey(header) {
	case "Idempotency-Key":
		return false // names a delivery
	case "Cookie":
		return true
	}
	return secret.IsSensitive(header)
}
