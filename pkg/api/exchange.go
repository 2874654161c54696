package api

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

// An exchange is one request and its answer, as the access log tells it.
type exchange struct {
	id     string
	route  string // pattern that served it, "" when none did
	stream bool   // open until somebody leaves
	err    error  // what was answered with a problem

	status  int
	written int64
}

type exchangeKey struct{}

func exchangeOf(r *http.Request) *exchange {
	if x, ok := r.Context().Value(exchangeKey{}).(*exchange); ok {
		return x
	}
	return &exchange{} // a handler called on its own
}

// recorder notes what is answered.
type recorder struct {
	http.ResponseWriter
	x *exchange
}

// Unwrap is for http.ResponseController.
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *recorder) WriteHeader(status int) {
	if w.x.status == 0 {
		w.x.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *recorder) Write(b []byte) (int, error) {
	if w.x.status == 0 {
		w.x.status = http.StatusOK
	}
	n, err := w.ResponseWriter.Write(b)
	w.x.written += int64(n)
	return n, err
}

// ServeHTTP serves one request: it is given an id, guarded, routed, logged and counted.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	x := &exchange{id: requestID(r)}
	r = r.WithContext(context.WithValue(r.Context(), exchangeKey{}, x))
	dropNATSHeaders(r.Header)
	w = &recorder{w, x}
	w.Header().Set("X-Request-Id", x.id)
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-store")
	defer func() {
		a.finish(w, r, x, began, recover())
	}()
	if err := a.origin.Check(r); err != nil {
		fail(w, r, fault.Hint(fault.Newf(fault.Denied, "a page of another origin may not send this: %w", err),
			"browsers are kept from sending signals for pages that are not served from here"))
		return
	}
	a.route(w, r, x)
}

// route hands the request to its handler. What no pattern serves is answered as a
// problem, like everything else.
func (a *API) route(w http.ResponseWriter, r *http.Request, x *exchange) {
	refusal, pattern := a.mux.Handler(r)
	if pattern != "" {
		x.route = pattern
		a.mux.ServeHTTP(w, r)
		return
	}
	unserved := &header{fields: http.Header{}}
	refusal.ServeHTTP(unserved, r)
	if allow := unserved.fields.Get("Allow"); allow != "" {
		w.Header().Set("Allow", allow)
		fail(w, r, withStatus(http.StatusMethodNotAllowed, fault.Newf(fault.Invalid, "%s is not served here, only %s", r.Method, allow)))
		return
	}
	fail(w, r, fault.Hint(fault.Newf(fault.NotFound, "nothing is served at %.128q", r.URL.Path), "GET /openapi.yaml lists what is"))
}

// header is a response of which only the header counts.
type header struct{ fields http.Header }

func (h *header) Header() http.Header         { return h.fields }
func (h *header) Write(b []byte) (int, error) { return len(b), nil }
func (h *header) WriteHeader(int)             {}

// finish turns a panic into a problem, and logs and counts the exchange.
func (a *API) finish(w http.ResponseWriter, r *http.Request, x *exchange, began time.Time, panicked any) {
	if panicked == http.ErrAbortHandler { //nolint:errorlint // a value thrown by hand, as net/http documents
		panic(panicked)
	}
	if panicked != nil {
		a.log.Error("request panicked", "request_id", x.id, "panic", panicked, "stack", string(debug.Stack()))
		if x.status == 0 {
			fail(w, r, fault.Newf(fault.Internal, "panic: %v", panicked))
		}
	}
	if x.status == 0 {
		x.status = http.StatusOK
	}
	took := time.Since(began)
	a.logExchange(r, x, took)
	if x.stream {
		took = 0
	}
	a.metrics.Request(x.route, strconv.Itoa(x.status), took)
}

// logExchange writes the access log. The query is left out: it may hold tokens.
func (a *API) logExchange(r *http.Request, x *exchange, took time.Duration) {
	level := slog.LevelInfo
	switch {
	case x.status >= http.StatusInternalServerError && !errors.Is(x.err, context.Canceled):
		level = slog.LevelError
	case quiet[x.route]:
		level = slog.LevelDebug
	}
	attrs := []slog.Attr{
		slog.String("method", r.Method), slog.String("path", r.URL.Path), slog.Int("status", x.status),
		slog.Int64("bytes", x.written), slog.Duration("took", took), slog.String("remote", r.RemoteAddr), slog.String("request_id", x.id),
	}
	if x.err != nil {
		attrs = append(attrs, slog.String("code", string(fault.CodeOf(x.err))), slog.Any("error", x.err))
	}
	a.log.LogAttrs(r.Context(), level, "http request", attrs...)
}

// quiet are the routes that are asked every few seconds.
var quiet = map[string]bool{"GET /healthz": true, "GET /readyz": true, "GET /metrics": true}

// requestID is the id that the sender gave the request, if it is short and plain, else a
// new one.
func requestID(r *http.Request) string {
	id := r.Header.Get("X-Request-Id")
	if id == "" || len(id) > 128 || strings.ContainsFunc(id, func(c rune) bool {
		return c != '-' && c != '_' && c != '.' && c != ':' && (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z')
	}) {
		return signal.NewID().String()
	}
	return id
}

// dropNATSHeaders keeps headers that would change what the NATS server does from getting
// anywhere near it.
func dropNATSHeaders(h http.Header) {
	for name := range h {
		if strings.HasPrefix(name, "Nats-") {
			delete(h, name)
		}
	}
}
