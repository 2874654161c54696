package testkit

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/signalmesh/signalmesh/pkg/codec"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

// A Receiver is an HTTP target that records what it is sent and misbehaves as told. It
// answers 200 to whatever it was told nothing about. Its methods may be called at any time,
// but those that wait only on the test's goroutine.
type Receiver struct {
	URL string // "http://127.0.0.1:40123", any path below it is answered

	tb   testing.TB
	tape *tape[Request]
	quit chan struct{} // closed when the test ends

	mu     sync.Mutex
	script []behaviour // of the next requests
	answer http.HandlerFunc
}

// A Request is one that a [Receiver] got, however it was answered.
type Request struct {
	Number int // from 1
	At     time.Time
	Method string
	Path   string
	Query  url.Values
	Header http.Header
	Body   []byte

	// Signals are what the body holds, if it is CloudEvents in any form; else Err says why
	// it is not.
	Signals []*signal.Signal
	Err     error

	Fault string // what was done to it: "status 503", "hang", "drop"; "" when answered normally
}

// Signal is the only signal of the request. It fails the test when there is another number.
func (r Request) Signal(tb testing.TB) *signal.Signal {
	tb.Helper()
	if len(r.Signals) != 1 {
		tb.Fatalf("request %d holds %d signals, want 1 (%v)", r.Number, len(r.Signals), r.Err)
	}
	return r.Signals[0]
}

func (r Request) String() string {
	var text strings.Builder
	fmt.Fprintf(&text, "%d: %s %s", r.Number, r.Method, r.Path)
	for _, s := range r.Signals {
		fmt.Fprintf(&text, " %s(%s)", s.Type, s.ID)
	}
	if r.Fault != "" {
		text.WriteString(" -> " + r.Fault)
	}
	return text.String()
}

type behaviour struct {
	name string
	do   http.HandlerFunc
}

// Target starts an HTTP target on a free loopback port.
func Target(tb testing.TB) *Receiver {
	tb.Helper()
	r := &Receiver{tb: tb, tape: newTape[Request](), quit: make(chan struct{})}
	r.Answer(http.StatusOK, "")
	srv := httptest.NewServer(r)
	r.URL = srv.URL
	tb.Cleanup(func() {
		close(r.quit)
		srv.CloseClientConnections()
		srv.Close()
	})
	return r
}

// Answer is the status and body for requests that no fault is planned for.
func (r *Receiver) Answer(status int, body string) {
	r.AnswerWith(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body) // the client may be gone
	})
}

// AnswerWith handles requests that no fault is planned for. The body can be read again.
func (r *Receiver) AnswerWith(h http.HandlerFunc) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer = h
}

// Fail answers the next n requests with a status.
func (r *Receiver) Fail(n, status int) {
	r.plan(n, fmt.Sprintf("status %d", status), func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, http.StatusText(status), status)
	})
}

// Busy answers the next n requests with a status and a Retry-After of whole seconds.
func (r *Receiver) Busy(n, status int, after time.Duration) {
	r.plan(n, fmt.Sprintf("status %d, retry after %s", status, after), func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", strconv.Itoa(int(after.Seconds())))
		http.Error(w, http.StatusText(status), status)
	})
}

// Hang leaves the next n requests without an answer until their client gives up.
func (r *Receiver) Hang(n int) {
	r.plan(n, "hang", func(_ http.ResponseWriter, req *http.Request) {
		select {
		case <-req.Context().Done():
		case <-r.quit:
		}
		panic(http.ErrAbortHandler)
	})
}

// Drop cuts the connection of the next n requests instead of answering.
func (r *Receiver) Drop(n int) {
	r.plan(n, "drop", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
}

func (r *Receiver) plan(n int, name string, do http.HandlerFunc) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for range n {
		r.script = append(r.script, behaviour{name, do})
	}
}

// ServeHTTP records a request and does what is planned for it.
func (r *Receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		panic(http.ErrAbortHandler) // cut off by its client
	}
	got := Request{
		At: time.Now(), Method: req.Method, Path: req.URL.Path, Query: req.URL.Query(),
		Header: req.Header.Clone(), Body: body,
	}
	got.Signals, got.Err = codec.FromHTTP(req.Header, body)
	req.Body = io.NopCloser(strings.NewReader(string(body)))
	r.record(got)(w, req)
}

// record numbers the request and gives its behaviour, both in order of arrival.
func (r *Receiver) record(got Request) http.HandlerFunc {
	r.mu.Lock()
	defer r.mu.Unlock()
	do := r.answer
	if len(r.script) > 0 {
		got.Fault, do = r.script[0].name, r.script[0].do
		r.script = r.script[1:]
	}
	before, _ := r.tape.look()
	got.Number = len(before) + 1
	r.tape.add(got)
	return do
}

// Requests are those that came so far.
func (r *Receiver) Requests() []Request {
	all, _ := r.tape.look()
	return all
}

// Wait returns all requests when there are at least n of them. It fails the test when they
// have not come in time.
func (r *Receiver) Wait(n int, within time.Duration) []Request {
	r.tb.Helper()
	return r.WaitFor(fmt.Sprintf("%d requests", n), func(got []Request) bool { return len(got) >= n }, within)
}

// WaitFor returns all requests when enough says so; what names the condition in the
// failure.
func (r *Receiver) WaitFor(what string, enough func([]Request) bool, within time.Duration) []Request {
	r.tb.Helper()
	got, ok := r.tape.until(enough, within)
	if !ok {
		r.tb.Fatalf("target %s: no %s within %s, got %d:%s", r.URL, what, within, len(got), lines(got))
	}
	return got
}

func lines[T fmt.Stringer](items []T) string {
	var b strings.Builder
	for _, i := range items {
		b.WriteString("\n\t" + i.String())
	}
	return b.String()
}

var _ http.Handler = (*Receiver)(nil)
