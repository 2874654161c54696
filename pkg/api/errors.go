package api

import (
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/signalmesh/signalmesh/pkg/fault"
)

// A Problem is the body of every answer that is not a success: RFC 9457, with the code,
// hint and request id as members of their own.
type Problem struct {
	Type      string     `json:"type"`             // urn:signalmesh:problem:<code>
	Title     string     `json:"title"`            // the same for every problem of this type
	Status    int        `json:"status"`           // of the response
	Detail    string     `json:"detail,omitempty"` // what is wrong with this request
	Code      fault.Code `json:"code"`
	Hint      string     `json:"hint,omitempty"` // what to do about it
	RequestID string     `json:"request_id"`     // to be found in the log of the node
}

const contentTypeProblem = "application/problem+json"

// kinds say how each code is answered.
var kinds = map[fault.Code]struct {
	status int
	title  string
}{
	fault.Invalid:         {http.StatusBadRequest, "The request is not valid"},
	fault.Unauthenticated: {http.StatusUnauthorized, "The sender is not proven"},
	fault.Denied:          {http.StatusForbidden, "This is not allowed"},
	fault.NotFound:        {http.StatusNotFound, "There is no such thing"},
	fault.Conflict:        {http.StatusConflict, "The state is not what the request expects"},
	fault.TooLarge:        {http.StatusRequestEntityTooLarge, "The request is too large"},
	fault.Exhausted:       {http.StatusTooManyRequests, "The node has too much to do"},
	fault.Unavailable:     {http.StatusServiceUnavailable, "The store does not answer"},
	fault.Internal:        {http.StatusInternalServerError, "The node failed"},
}

// statusError answers an error with a status of HTTP's own, for what has no code.
type statusError struct {
	status int
	err    error
}

func (e *statusError) Error() string { return e.err.Error() }
func (e *statusError) Unwrap() error { return e.err }

// withStatus gives err a status instead of the one of its code.
func withStatus(status int, err error) error { return &statusError{status, err} }

// problemOf describes err. What went wrong inside is for the log, not for the sender.
func problemOf(err error, requestID string) Problem {
	code := fault.CodeOf(err)
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		code = fault.TooLarge
	}
	kind, ok := kinds[code]
	if !ok {
		code, kind = fault.Internal, kinds[fault.Internal]
	}
	p := Problem{
		Type: "urn:signalmesh:problem:" + string(code), Title: kind.title, Status: kind.status,
		Detail: err.Error(), Code: code, Hint: fault.HintOf(err), RequestID: requestID,
	}
	if s, ok := errors.AsType[*statusError](err); ok {
		p.Status, p.Title = s.status, http.StatusText(s.status)
	}
	if code == fault.Internal {
		p.Detail = "see the log of the node for this request id"
	}
	return p
}

// defaultRetry is how long a sender is asked to wait when the error does not say.
const defaultRetry = time.Second

// fail answers with the problem that err is.
func fail(w http.ResponseWriter, r *http.Request, err error) {
	x := exchangeOf(r)
	x.err = err
	p := problemOf(err, x.id)
	switch p.Code {
	case fault.Exhausted, fault.Unavailable:
		wait, ok := fault.Delay(err)
		if !ok {
			wait = defaultRetry
		}
		w.Header().Set("Retry-After", strconv.Itoa(max(1, int(math.Ceil(wait.Seconds())))))
	case fault.Unauthenticated:
		w.Header().Set("WWW-Authenticate", `Signature realm="webhook"`)
	default: // the others need no header
	}
	writeJSON(w, p.Status, contentTypeProblem, p)
}

// writeJSON answers with a document. Nothing can be done when the peer is gone.
func writeJSON(w http.ResponseWriter, status int, contentType string, document any) {
	body, err := json.Marshal(document)
	if err != nil {
		status, body = http.StatusInternalServerError, []byte(`{}`)
	}
	write(w, status, contentType, append(body, '\n'))
}

func write(w http.ResponseWriter, status int, contentType string, body []byte) {
	if contentType != "" {
		w.Header().Set("Content-Type", contentType)
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) // the peer is gone
}
