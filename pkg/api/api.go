// Package api is what a node serves over HTTP: signals in, questions about them, a live
// stream, health and metrics.
//
// It promises:
//
//   - 202 is answered only after the store has acknowledged. Before that nothing is
//     promised, and with any other answer nothing was stored, except that after a 503 a
//     publish may have happened: send it again, under the same id, and it is stored once.
//   - A batch is stored whole or not at all, unless it is delayed: then it may be in part
//     after an error, and may be sent again.
//   - What cannot be served is answered as [Problem], with a stable code, a request id that
//     is also in the log, and Retry-After where waiting helps.
//   - Bodies, headers, batches, concurrent requests and open streams are bounded. A stream
//     whose reader is too slow is closed, and resumes where it ended.
//   - An authentic webhook of which no signal can be made is kept as a dead letter.
//   - Nats- headers of a request get nowhere. Neither secrets nor queries are logged.
//
// The document at /openapi.yaml describes every operation.
package api

import (
	"context"
	"io"
	"iter"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/signalmesh/signalmesh/pkg/bus"
	"github.com/signalmesh/signalmesh/pkg/codec"
	"github.com/signalmesh/signalmesh/pkg/delivery"
	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/ingress"
	"github.com/signalmesh/signalmesh/pkg/journal"
	"github.com/signalmesh/signalmesh/pkg/observe"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

// Publisher stores signals; *bus.Bus is one.
type Publisher interface {
	PublishAck(ctx context.Context, signals ...*signal.Signal) ([]bus.Ack, error)
	PublishAt(ctx context.Context, at time.Time, signals ...*signal.Signal) error
}

// History reads what a bus holds and what comes; *bus.Bus is one.
type History interface {
	Entries(ctx context.Context, pattern string, opts ...bus.ReplayOption) iter.Seq2[bus.Entry, error]
	Last(ctx context.Context) (uint64, error)
}

// Journal knows signals by id; *journal.Journal is one.
type Journal interface {
	Get(ctx context.Context, id string, opts ...journal.LookupOption) (*signal.Signal, error)
	Trace(ctx context.Context, id string, d journal.Direction, opts ...journal.TraceOption) (*journal.Trace, error)
	Wait(ctx context.Context) error
}

// Quarantine keeps what could not be turned into signals; the dead letters of a bus are one.
type Quarantine interface {
	Write(ctx context.Context, l delivery.Letter) error
}

// Explainer says what became of a signal, in a form that encodes as JSON.
type Explainer func(ctx context.Context, id string, opts ...journal.LookupOption) (any, error)

// Bus is one bus as the API needs it. What is nil is not served.
type Bus struct {
	Publisher  Publisher
	History    History
	Journal    Journal
	Explain    Explainer
	Quarantine Quarantine
}

// Hook is one source that takes webhooks.
type Hook struct {
	Receiver ingress.Receiver
	Adapter  string // for the dead letter
	Bus      string // "" is the default bus
}

// Hooks finds a source by its name, at each request, so that sources may change meanwhile.
type Hooks func(name string) (Hook, bool)

// Check is one condition of being ready.
type Check struct {
	Name  string
	Check func(ctx context.Context) error

	// Advisory checks are shown and do not make the node unready: what is wrong with one
	// route must not take every node of the mesh out of service.
	Advisory bool
}

// Config is what an API serves.
type Config struct {
	Buses      map[string]Bus
	DefaultBus string // the one that requests without ?bus= mean; bus.DefaultName if ""
	Hooks      Hooks  // nil: no webhooks

	Node    string            // its name, in dead letters
	Checks  []Check           // of /readyz
	Facts   map[string]string // shown by /readyz?verbose, such as durability: sync
	Metrics *observe.Metrics  // counts requests and is served at /metrics; nil: neither
	Log     *slog.Logger      // nil: slog.Default

	MaxBody       int64         // bytes of a request body; codec.MaxSize if 0
	MaxConcurrent int           // requests that bring signals at one time; 1024 if 0
	MaxStreams    int           // open streams; 128 if 0
	Timeout       time.Duration // to store or to look something up; 10s if 0
	Heartbeat     time.Duration // between comments on a silent stream; 15s if 0
	StreamTimeout time.Duration // for a stream's reader to make room for an event; 10s if 0
}

func (c Config) withDefaults() Config {
	if c.DefaultBus == "" {
		c.DefaultBus = bus.DefaultName
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if c.MaxBody == 0 {
		c.MaxBody = codec.MaxSize
	}
	if c.MaxConcurrent == 0 {
		c.MaxConcurrent = 1024
	}
	if c.MaxStreams == 0 {
		c.MaxStreams = 128
	}
	if c.Timeout == 0 {
		c.Timeout = bus.PublishTimeout
	}
	if c.Heartbeat == 0 {
		c.Heartbeat = 15 * time.Second
	}
	if c.StreamTimeout == 0 {
		c.StreamTimeout = 10 * time.Second
	}
	return c
}

// An API serves one node. It is an [http.Handler].
type API struct {
	cfg     Config
	log     *slog.Logger
	metrics *observe.Metrics
	mux     *http.ServeMux
	origin  *http.CrossOriginProtection
	busy    chan struct{} // one for each request that brings signals
	streams chan struct{} // one for each open stream

	closing   chan struct{}
	closeOnce sync.Once
}

var (
	_ http.Handler = (*API)(nil)
	_ io.Closer    = (*API)(nil)
)

// New returns the API of a node. It starts nothing.
func New(cfg Config) *API {
	cfg = cfg.withDefaults()
	a := &API{
		cfg: cfg, log: cfg.Log, metrics: cfg.Metrics,
		mux: http.NewServeMux(), origin: http.NewCrossOriginProtection(),
		busy: make(chan struct{}, cfg.MaxConcurrent), streams: make(chan struct{}, cfg.MaxStreams),
		closing: make(chan struct{}),
	}
	for pattern, handle := range a.operations() {
		a.mux.Handle(pattern, handle)
	}
	return a
}

// operation is a handler whose error is answered as a problem.
type operation func(w http.ResponseWriter, r *http.Request) error

// ServeHTTP calls o.
func (o operation) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if err := o(w, r); err != nil {
		fail(w, r, err)
	}
}

// operations is everything that is served, by pattern.
func (a *API) operations() map[string]http.Handler {
	all := map[string]http.Handler{
		"POST /v1/signals":           a.ingest(a.postSignals),
		"POST /v1/in/{type}":         a.ingest(a.postPlain),
		"POST /v1/hooks/{name}":      a.ingest(a.postHook),
		"GET /v1/signals/{id}":       a.lookup(a.getSignal),
		"GET /v1/signals/{id}/trace": a.lookup(a.getTrace),
		"GET /v1/signals/{id}/why":   a.lookup(a.getWhy),
		"GET /v1/stream":             operation(a.getStream),
		"GET /healthz":               operation(a.getHealth),
		"GET /readyz":                operation(a.getReady),
		"GET /openapi.yaml":          operation(getOpenAPI),
	}
	if a.metrics != nil {
		all["GET /metrics"] = a.metrics.Handler()
	}
	return all
}

// Close ends the open streams; their readers resume elsewhere. Other requests are not
// touched: that is for [http.Server.Shutdown], which calls Close by itself for servers made
// by [NewServer].
func (a *API) Close() error {
	a.closeOnce.Do(func() { close(a.closing) })
	return nil
}

// bus finds the bus that a request means.
func (a *API) bus(name string) (string, Bus, error) {
	if name == "" {
		name = a.cfg.DefaultBus
	}
	b, ok := a.cfg.Buses[name]
	if !ok {
		return "", Bus{}, fault.Newf(fault.NotFound, "no bus %.64q here", name)
	}
	return name, b, nil
}
