package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/signalmesh/signalmesh/pkg/api"
	"github.com/signalmesh/signalmesh/pkg/bus"
	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/ingress"
	"github.com/signalmesh/signalmesh/pkg/internal/plug"
	"github.com/signalmesh/signalmesh/pkg/journal"
	"github.com/signalmesh/signalmesh/pkg/observe"
	"github.com/signalmesh/signalmesh/pkg/signal"
	"github.com/signalmesh/signalmesh/pkg/testkit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is an API over a real bus and journal, on a real server.
type world struct {
	t       *testing.T
	bus     *bus.Bus
	journal *journal.Journal
	api     *api.API
	url     string
	client  *http.Client
	log     *logBuffer
}

// logBuffer is a log that a test may read while it is written.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// serve starts a world; change may change its configuration.
func serve(t *testing.T, change func(*api.Config, *world)) *world {
	t.Helper()
	nc := testkit.Conn(t)
	b, err := bus.Open(t.Context(), nc)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	j, err := journal.Open(t.Context(), nc)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(j.Close)
	follow, err := j.Follow(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { follow.Stop(); <-follow.Done() })

	w := &world{t: t, bus: b, journal: j, log: &logBuffer{}}
	cfg := api.Config{
		Buses: map[string]api.Bus{bus.DefaultName: {
			Publisher: b, History: b, Journal: j, Quarantine: b.DeadLetters(), Explain: explain,
		}},
		Node:    "n1",
		Metrics: observe.New("test"),
		Log:     slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	if change != nil {
		change(&cfg, w)
	}
	w.api = api.New(cfg)
	w.listen()
	return w
}

// explain stands where the node's own explanation goes.
func explain(_ context.Context, id string, _ ...journal.LookupOption) (any, error) {
	if id == "unknown" {
		return nil, journal.ErrNotFound
	}
	return map[string]string{"explained": id}, nil
}

func (w *world) listen() {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	server := api.NewServer(w.api)
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	transport := &http.Transport{}
	w.client = &http.Client{Transport: transport}
	w.url = "http://" + l.Addr().String()
	w.t.Cleanup(func() {
		transport.CloseIdleConnections()
		ctx, cancel := context.WithTimeout(context.Background(), testkit.Patience)
		defer cancel()
		if err := server.Shutdown(ctx); err != nil {
			w.t.Errorf("Shutdown = %v", err)
		}
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			w.t.Errorf("Serve = %v", err)
		}
	})
}

// reply is an answer, read whole.
type reply struct {
	status int
	header http.Header
	body   string
}

// do sends a request with the headers given in pairs.
func (w *world) do(method, path, body string, headers ...string) reply {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), method, w.url+path, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Add(headers[i], headers[i+1])
	}
	resp, err := w.client.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return reply{resp.StatusCode, resp.Header, string(b)}
}

// accepted reads a 202 for one signal.
func (w *world) accepted(r reply) api.Accepted {
	w.t.Helper()
	var a api.Accepted
	if err := json.Unmarshal([]byte(r.body), &a); err != nil || r.status != http.StatusAccepted {
		w.t.Fatalf("answer is %d %s, want 202 and one signal", r.status, r.body)
	}
	return a
}

// problem reads a problem and checks what all of them promise.
func (w *world) problem(r reply, status int, code fault.Code) api.Problem {
	w.t.Helper()
	var p api.Problem
	if err := json.Unmarshal([]byte(r.body), &p); err != nil {
		w.t.Fatalf("answer is %d %q, want a problem", r.status, r.body)
	}
	if r.status != status || p.Status != status || p.Code != code {
		w.t.Errorf("answer is %d %s, want %d %s", r.status, r.body, status, code)
	}
	if r.header.Get("Content-Type") != "application/problem+json" || p.Title == "" || p.Type != "urn:signalmesh:problem:"+string(code) {
		w.t.Errorf("answer is %s %+v, want a problem of RFC 9457", r.header.Get("Content-Type"), p)
	}
	if p.RequestID == "" || p.RequestID != r.header.Get("X-Request-Id") {
		w.t.Errorf("request id is %q in the body and %q in the header", p.RequestID, r.header.Get("X-Request-Id"))
	}
	if wait := r.header.Get("Retry-After"); (wait != "") != (status == 429 || status == 503) {
		w.t.Errorf("%d with Retry-After %q", status, wait)
	}
	return p
}

// stored is everything on the bus.
func (w *world) stored() []*signal.Signal {
	w.t.Helper()
	var all []*signal.Signal
	for s, err := range w.bus.Replay(w.t.Context(), "**") {
		if err != nil {
			w.t.Fatal(err)
		}
		all = append(all, s)
	}
	return all
}

func TestUnserved(t *testing.T) {
	t.Parallel()
	w := serve(t, nil)
	w.problem(w.do("GET", "/", ""), http.StatusNotFound, fault.NotFound)
	w.problem(w.do("GET", "/v1/nothing", ""), http.StatusNotFound, fault.NotFound)
	r := w.do("PUT", "/v1/signals", "")
	w.problem(r, http.StatusMethodNotAllowed, fault.Invalid)
	if got := r.header.Get("Allow"); got != "POST" {
		t.Errorf("Allow = %q, want POST", got)
	}
	w.problem(w.do("POST", "/v1/in/a?bus=nope", "{}"), http.StatusNotFound, fault.NotFound)
	w.problem(w.do("POST", "/v1/in/a?buss=x", "{}"), http.StatusBadRequest, fault.Invalid)
	w.problem(w.do("POST", "/v1/in/a?id=1&id=2", "{}"), http.StatusBadRequest, fault.Invalid)
	w.problem(w.do("POST", "/v1/hooks/nope", "{}"), http.StatusNotFound, fault.NotFound)
	if len(w.stored()) != 0 {
		t.Error("something was stored")
	}
}

func TestRequestID(t *testing.T) {
	t.Parallel()
	w := serve(t, nil)
	if got := w.do("GET", "/healthz", "", "X-Request-Id", "abc-1").header.Get("X-Request-Id"); got != "abc-1" {
		t.Errorf("X-Request-Id = %q, want abc-1", got)
	}
	for _, bad := range []string{"", "a b", "<script>", strings.Repeat("a", 129)} {
		got := w.do("GET", "/healthz", "", "X-Request-Id", bad).header.Get("X-Request-Id")
		if _, err := signal.ParseID(got); err != nil {
			t.Errorf("X-Request-Id for %.20q = %q, want a fresh id", bad, got)
		}
	}
}

func TestAccessLog(t *testing.T) {
	t.Parallel()
	w := serve(t, nil)
	w.do("POST", "/v1/in/a?nope=topsecret", "{}", "X-Request-Id", "r-1")
	log := w.log.String()
	for _, want := range []string{"http request", "status=400", "request_id=r-1", "path=/v1/in/a", "code=invalid"} {
		if !strings.Contains(log, want) {
			t.Errorf("log = %q, want %s", log, want)
		}
	}
	if strings.Contains(log, "topsecret") {
		t.Errorf("log = %q, want no query in it", log)
	}
}

func TestOtherOrigins(t *testing.T) {
	t.Parallel()
	w := serve(t, nil)
	r := w.do("POST", "/v1/in/a", "{}", "Content-Type", "text/plain", "Sec-Fetch-Site", "cross-site")
	w.problem(r, http.StatusForbidden, fault.Denied)
	r = w.do("POST", "/v1/in/a", "{}", "Origin", "https://evil.example")
	w.problem(r, http.StatusForbidden, fault.Denied)
	if len(w.stored()) != 0 {
		t.Error("something was stored")
	}
}

func TestPanics(t *testing.T) {
	t.Parallel()
	w := serve(t, func(cfg *api.Config, _ *world) {
		cfg.Hooks = func(string) (api.Hook, bool) { panic("at the disco") }
	})
	p := w.problem(w.do("POST", "/v1/hooks/a", "{}"), http.StatusInternalServerError, fault.Internal)
	if strings.Contains(p.Detail, "disco") || !strings.Contains(w.log.String(), "disco") {
		t.Errorf("problem = %+v, log = %s, want the panic in the log alone", p, w.log.String())
	}
	if r := w.do("GET", "/healthz", ""); r.status != http.StatusOK {
		t.Errorf("GET /healthz after a panic = %d", r.status)
	}
}

func TestTooBusy(t *testing.T) {
	t.Parallel()
	entered, leave := make(chan struct{}), make(chan struct{})
	w := serve(t, func(cfg *api.Config, _ *world) {
		cfg.MaxConcurrent = 1
		cfg.Hooks = func(string) (api.Hook, bool) {
			return api.Hook{Receiver: ingress.ReceiverFunc(func(context.Context, *ingress.Request) (ingress.Result, error) {
				close(entered)
				<-leave
				return ingress.Result{}, nil
			})}, true
		}
	})
	answered := make(chan int)
	go func() {
		defer close(answered) // also when the request fails the test
		answered <- w.do("POST", "/v1/hooks/slow", "").status
	}()
	<-entered
	w.problem(w.do("POST", "/v1/in/quick", "{}"), http.StatusTooManyRequests, fault.Exhausted)
	close(leave)
	if got := <-answered; got != http.StatusAccepted {
		t.Errorf("the slow request was answered %d, want 202", got)
	}
	w.accepted(w.do("POST", "/v1/in/quick", "{}"))
}

func TestStoreGone(t *testing.T) {
	t.Parallel()
	w := serve(t, func(cfg *api.Config, _ *world) { cfg.Timeout = 500 * time.Millisecond })
	testkit.Server(t).Shutdown()
	w.problem(w.do("POST", "/v1/in/a", "{}"), http.StatusServiceUnavailable, fault.Unavailable)
	w.problem(w.do("GET", "/v1/signals/x", ""), http.StatusServiceUnavailable, fault.Unavailable)
	w.problem(w.do("GET", "/v1/stream", ""), http.StatusServiceUnavailable, fault.Unavailable)
}

// TestOpenAPI holds the document and what is served together.
func TestOpenAPI(t *testing.T) {
	t.Parallel()
	w := serve(t, nil)
	r := w.do("GET", "/openapi.yaml", "")
	doc, err := plug.Parse([]byte(r.body), "openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var described []string
	for _, path := range doc.Field("paths").Keys() {
		for _, method := range doc.Field("paths").Field(path).Keys() {
			described = append(described, strings.ToUpper(method)+" "+path)
		}
	}
	slices.Sort(described)
	if served := api.Patterns(w.api); !slices.Equal(served, described) {
		t.Errorf("served are\n%q\nand described are\n%q", served, described)
	}
}

func TestHealth(t *testing.T) {
	t.Parallel()
	var broken error
	w := serve(t, func(cfg *api.Config, _ *world) {
		cfg.Checks = []api.Check{
			{Name: "nats", Check: func(context.Context) error { return nil }},
			{Name: "streams", Check: func(context.Context) error { return broken }},
		}
		cfg.Facts = map[string]string{"durability": "sync"}
	})
	if r := w.do("GET", "/healthz", ""); r.status != 200 || r.body != "ok\n" {
		t.Errorf("GET /healthz = %d %q", r.status, r.body)
	}
	if r := w.do("GET", "/readyz", ""); r.status != 200 || r.body != "ok\n" {
		t.Errorf("GET /readyz = %d %q", r.status, r.body)
	}
	broken = errors.New("stream SIG_default is missing")
	if r := w.do("GET", "/readyz", ""); r.status != 503 || r.body != "not ready\n" || r.header.Get("Retry-After") == "" {
		t.Errorf("GET /readyz = %d %q", r.status, r.body)
	}
	want := "[+] nats: ok\n[-] streams: stream SIG_default is missing\n    durability: sync\nnot ready\n"
	if r := w.do("GET", "/readyz?verbose", ""); r.status != 503 || r.body != want {
		t.Errorf("GET /readyz?verbose = %d %q, want %q", r.status, r.body, want)
	}
	w.do("POST", "/v1/in/a", "{}")
	w.do("POST", "/v1/signals", "{}")
	metrics := w.do("GET", "/metrics", "").body
	for _, want := range []string{
		`signald_signals_ingested_total{entry="in",outcome="stored"} 1`,
		`signald_signals_ingested_total{entry="signals",outcome="invalid"} 1`,
		`signald_http_requests_total{code="202",route="POST /v1/in/{type}"} 1`,
	} {
		if !strings.Contains(metrics, want) {
			t.Errorf("metrics lack %s", want)
		}
	}
}
