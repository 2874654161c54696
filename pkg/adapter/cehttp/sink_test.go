package cehttp_test

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	_ "github.com/signalmesh/signalmesh/pkg/adapter/cehttp"
	"github.com/signalmesh/signalmesh/pkg/codec"
	"github.com/signalmesh/signalmesh/pkg/dispatch"
	"github.com/signalmesh/signalmesh/pkg/dispatch/dispatchtest"
	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/netguard"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var loopback = dispatch.Env{
	Guard:        netguard.New(netip.MustParsePrefix("127.0.0.0/8")),
	Version:      "test",
	AllowSecrets: true,
}

// request is what an endpoint saw.
type request struct {
	method string
	header http.Header
	body   []byte
}

// serve starts an endpoint that hands over what it sees and then answers with h.
func serve(t *testing.T, h http.HandlerFunc) (url string, seen <-chan request) {
	t.Helper()
	requests := make(chan request, 256)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Errorf("read the request: %v", err)
		}
		requests <- request{r.Method, r.Header, body}
		h(w, r)
	}))
	t.Cleanup(srv.Close)
	return srv.URL, requests
}

func ok(http.ResponseWriter, *http.Request) {}

func open(t *testing.T, options string) dispatch.Adapter {
	t.Helper()
	a, err := dispatch.Open(t.Context(), "http", []byte(options), loopback)
	if err != nil {
		t.Fatalf("Open(%s) = %v", options, err)
	}
	t.Cleanup(func() {
		if err := dispatch.Close(a); err != nil {
			t.Error(err)
		}
	})
	return a
}

func newSignal(t *testing.T, data any, opts ...signal.Option) *signal.Signal {
	t.Helper()
	s, err := signal.New("order.created", data, append([]signal.Option{signal.From("/shop"), signal.About("o-1")}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestConformance(t *testing.T) {
	t.Setenv("CEHTTP_TOKEN", "hunter2-token")
	t.Setenv("CEHTTP_HEADER", "hunter2-header")
	for _, body := range []string{"structured", "binary", "msgpack"} {
		t.Run(body, func(t *testing.T) {
			dispatchtest.Run(t, func(t *testing.T) *dispatchtest.Subject { return subject(t, body) }, dispatchtest.Features{
				Signals: true, Keys: true, Hops: true, Outcomes: true, Waits: true, Hangs: true, Remote: true,
			})
		})
	}
}

func subject(t *testing.T, body string) *dispatchtest.Subject {
	arrivals := make(chan dispatchtest.Arrival)
	outcome := make(chan dispatchtest.Outcome, 1)
	outcome <- dispatchtest.OK
	end := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			return // the client went away
		}
		events, err := codec.FromHTTP(r.Header, b)
		if err != nil || len(events) != 1 {
			t.Errorf("FromHTTP(%v, %q) = %v, %v", r.Header, b, events, err)
			return
		}
		select {
		case arrivals <- dispatchtest.Arrival{Signal: events[0], Key: r.Header.Get("Idempotency-Key")}:
		case <-end:
		}
		o := <-outcome
		outcome <- o
		answer(w, r, o, end)
	}))
	t.Cleanup(func() { close(end); srv.Close() })
	return &dispatchtest.Subject{
		Adapter: "http",
		Options: `{"url":"` + srv.URL + `/in?token=hunter2-token","timeout":"30s","body":"` + body + `",
			"auth":{"bearer":"env:CEHTTP_TOKEN"},"headers":{"X-Api-Key":{"ref":"env:CEHTTP_HEADER"}}}`,
		Env:      loopback,
		Arrivals: arrivals,
		Answer:   func(o dispatchtest.Outcome) { <-outcome; outcome <- o },
		Secrets:  []string{"hunter2-token", "hunter2-header"},
	}
}

func answer(w http.ResponseWriter, r *http.Request, o dispatchtest.Outcome, end <-chan struct{}) {
	echo := []byte("you sent " + r.Header.Get("Authorization") + " and " + r.Header.Get("X-Api-Key") + strings.Repeat(".", 10000))
	switch o {
	case dispatchtest.Busy:
		w.WriteHeader(http.StatusInternalServerError)
	case dispatchtest.Wait:
		w.Header().Set("Retry-After", "7")
		w.WriteHeader(http.StatusServiceUnavailable)
	case dispatchtest.Never:
		w.WriteHeader(http.StatusBadRequest)
	case dispatchtest.Hang:
		select {
		case <-r.Context().Done():
		case <-end:
		}
		return
	default:
	}
	_, _ = w.Write(echo) // a client that hung up has lost nothing
}

func TestBodies(t *testing.T) {
	t.Parallel()
	url, seen := serve(t, ok)
	order := map[string]any{"id": "o-1", "amount": 85.5, "big": 4200000000, "items": []string{"a", "b"}}
	tests := []struct {
		name, options string
		data          any
		opts          []signal.Option
		contentType   string
		body          string
	}{
		{"data", `"body":"data"`, json.RawMessage(`{"a": 1}`), nil, "application/json", `{"a": 1}`},
		{"data of text", `"body":"data"`, "hi", []signal.Option{signal.ContentType("text/plain")}, "text/plain", `hi`},
		{"data of none", `"body":"data"`, nil, nil, "", ``},
		{"binary", `"body":"binary"`, json.RawMessage(`{"a": 1}`), nil, "application/json", `{"a": 1}`},
		{
			"template", `"template":"{\"text\": {{json .data.id}}, \"n\": {{.data.big}}, \"hot\": {{gt .data.amount 85.0}}, \"from\": {{json .signal.source}}, \"all\": {{json .data.items}}}"`,
			order, nil, "application/json", `{"text": "o-1", "n": 4200000000, "hot": true, "from": "/shop", "all": ["a","b"]}`,
		},
		{
			"template of text", `"template":"{{.data}} {{.signal.subject}} {{.signal.tenant}}","content_type":"text/plain"`,
			"hi",
			[]signal.Option{signal.ContentType("text/plain"), signal.Ext("tenant", "a")},
			"text/plain", `hi o-1 a`,
		},
		{"template without data", `"template":"{{if .data}}some{{else}}none{{end}}"`, nil, nil, "application/json", `none`},
		{"get", `"method":"get"`, order, nil, "", ``},
		{"head", `"method":"HEAD"`, order, nil, "", ``},
		{"delete", `"method":"DELETE","body":"data"`, "x", []signal.Option{signal.ContentType("text/plain")}, "text/plain", `x`},
	}
	for _, tt := range tests {
		a := open(t, `{"url":"`+url+`",`+tt.options+`}`)
		s := newSignal(t, tt.data, append(tt.opts, signal.Trace("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "k=v"))...)
		if err := a.Deliver(t.Context(), s); err != nil {
			t.Errorf("%s: Deliver() = %v", tt.name, err)
			continue
		}
		r := <-seen
		if got := r.header.Get("Content-Type"); got != tt.contentType || string(r.body) != tt.body {
			t.Errorf("%s: %q %s, want %q %s", tt.name, got, r.body, tt.contentType, tt.body)
		}
		if r.header.Get("Ce-Meshhops") != "1" || !strings.HasPrefix(r.header.Get("Traceparent"), "00-0af7") || r.header.Get("Tracestate") != "k=v" || r.header.Get("User-Agent") != "signald/test" {
			t.Errorf("%s: headers are %v, want the hops, the trace and the agent", tt.name, r.header)
		}
		if got, want := r.header.Get("Idempotency-Key"), dispatch.Key("/shop", s.ID); got != want {
			t.Errorf("%s: Idempotency-Key = %q, want %q", tt.name, got, want)
		}
	}
}

func TestTemplateFailuresArePermanent(t *testing.T) {
	t.Parallel()
	url, _ := serve(t, func(http.ResponseWriter, *http.Request) { t.Error("a request was made") })
	for _, template := range []string{`{{.data.missing}}`, `{{.signal.missing}}`, `{{gt .data.a \"x\"}}`, `{{range $x := .data.list}}{{printf \"%999999d\" 1}}{{end}}`} {
		a := open(t, `{"url":"`+url+`","template":"`+template+`"}`)
		s := newSignal(t, map[string]any{"a": 1, "list": make([]int, 20)})
		if err := a.Deliver(t.Context(), s); !fault.IsPermanent(err) {
			t.Errorf("Deliver(%s) = %v, want a permanent error", template, err)
		}
	}
	_, err := dispatch.Open(t.Context(), "http", []byte(`{"url":"`+url+`","template":"x"}`), dispatch.Env{Guard: loopback.Guard})
	if !fault.Is(err, fault.Denied) {
		t.Errorf("Open(template carried by a signal) = %v, want Denied", err)
	}
}

func TestOptions(t *testing.T) {
	t.Parallel()
	tests := []struct{ options, want string }{
		{`{"url":"http://a","method":"CONNECT"}`, "method"},
		{`{"url":"http://a","method":"a b"}`, "method"},
		{`{"url":"http://a","template":"{{"}`, "template"},
		{`{"url":"http://a","template":"x","body":"data"}`, "exclude each other"},
		{`{"url":"http://a","content_type":"text/plain"}`, "content_type"},
		{`{"url":"http://a","idempotency_header":"a b"}`, "idempotency_header"},
		{`{"url":"http://a","headers":{"idempotency-key":"x"}}`, "carries the idempotency key"},
		{`{"url":"http://a","body":"xml"}`, "xml"},
		{`{"url":"http://a","headers":{"Content-Type":"text/plain"}}`, "follows from the request"},
		{`{"url":"http://a","reply":{"type":"a..b"}}`, "reply.type"},
		{`{"url":"http://a","reply":{"source":"a\u0000b"}}`, "reply.source"},
		{`{"url":"http://a","tiemout":"5s"}`, `did you mean "timeout"`},
	}
	for _, tt := range tests {
		if err := dispatch.Check("http", []byte(tt.options)); !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("Check(%s) = %v, want Invalid with %q", tt.options, err, tt.want)
		}
	}
	if err := dispatch.Check("http", []byte(`{"url":"http://a","method":"post","reply":{},"success":["2xx",409]}`)); err != nil {
		t.Errorf("Check(good) = %v", err)
	}
}

func TestReply(t *testing.T) {
	t.Parallel()
	const seatEvent = `{"specversion":"1.0","id":"s-1","source":"/air","type":"seat.taken","data":{"seat":"2A"}}`
	tests := []struct {
		name, reply   string
		status        int
		contentType   string
		body          string
		typ, data, ct string // of the reply; no reply when typ is empty
	}{
		{"json", `{"type":"flight.reserved"}`, 200, "application/json", `{"seat":"2A"}`, "flight.reserved", `{"seat":"2A"}`, "application/json"},
		{"text", `{"type":"flight.reserved"}`, 201, "text/plain", `2A`, "flight.reserved", `2A`, "text/plain"},
		{"empty", `{"type":"flight.reserved"}`, 204, "", ``, "flight.reserved", ``, ""},
		{"json that says nothing", `{"type":"flight.reserved"}`, 200, "-", `[1]`, "flight.reserved", `[1]`, "application/json"},
		{"not the json it says", `{"type":"flight.reserved"}`, 200, "application/json", `oops`, "flight.reserved", `oops`, "text/plain; charset=utf-8"},
		{"bytes", `{"type":"flight.reserved"}`, 200, "nonsense;;", "\xff\x00", "flight.reserved", "\xff\x00", "application/octet-stream"},
		{"an event", `{}`, 200, "application/cloudevents+json", seatEvent, "seat.taken", `{"seat":"2A"}`, ""},
		{"no event", `{}`, 200, "application/json", `{"a":1}`, "", "", ""},
		{"nothing", `{}`, 202, "", "", "", "", ""},
		{"failure", `{"type":"a","failure_type":"flight.failed"}`, 409, "text/plain", "sold out", "flight.failed", "", "application/json"},
	}
	for _, tt := range tests {
		url, _ := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", tt.contentType)
			if tt.contentType == "-" {
				w.Header()["Content-Type"] = nil
			}
			w.WriteHeader(tt.status)
			if tt.status != http.StatusNoContent {
				_, _ = w.Write([]byte(tt.body))
			}
		})
		a := open(t, `{"url":"`+url+`/reserve?token=x","reply":`+tt.reply+`}`)
		s := newSignal(t, nil)
		ctx := dispatch.WithInfo(t.Context(), dispatch.Info{Key: "k1"})
		got, err := dispatch.Send(ctx, a, s)
		if err != nil || (got == nil) != (tt.typ == "") {
			t.Errorf("%s: Send() = %+v, %v", tt.name, got, err)
			continue
		}
		if got == nil {
			continue
		}
		if got.Type != tt.typ || tt.data != "" && string(got.Data) != tt.data || got.DataContentType != tt.ct {
			t.Errorf("%s: reply is %s %q %s, want %s %q %s", tt.name, got.Type, got.DataContentType, got.Data, tt.typ, tt.ct, tt.data)
		}
		if tt.reply == `{}` {
			continue
		}
		if got.ID != "reply-k1" || got.Causation() != s.ID || got.Correlation() != s.ID || got.Subject != "o-1" || got.Hops() != 1 || got.Source != url+"/reserve?token=xxxxx" {
			t.Errorf("%s: reply is %+v, want one that the signal caused", tt.name, got)
		}
	}
}

func TestFailureReply(t *testing.T) {
	t.Parallel()
	url, _ := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = w.Write([]byte("database is down"))
	})
	type outcome struct {
		Status          int
		Error, Response string
	}
	probe := func(url string) outcome {
		a := open(t, `{"url":"`+url+`","method":"GET","timeout":"1s","reply":{"type":"health.ok","failure_type":"health.failed"}}`)
		got, err := dispatch.Send(t.Context(), a, newSignal(t, nil))
		if err != nil || got == nil || got.Type != "health.failed" {
			t.Fatalf("Send() = %+v, %v, want health.failed", got, err)
		}
		var o outcome
		if err := got.Decode(&o); err != nil {
			t.Fatal(err)
		}
		return o
	}
	if o := probe(url); o.Status != 503 || o.Response != "database is down" || !strings.Contains(o.Error, "503") {
		t.Errorf("data = %+v, want what the endpoint answered", o)
	}
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	if o := probe(gone.URL); o.Status != 0 || o.Error == "" {
		t.Errorf("data = %+v, want why the endpoint was not reached", o)
	}
}

func TestReplyLimit(t *testing.T) {
	t.Parallel()
	url, _ := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(make([]byte, 1<<20+1)) // the client hangs up
	})
	a := open(t, `{"url":"`+url+`","reply":{"type":"a"}}`)
	if _, err := dispatch.Send(t.Context(), a, newSignal(t, nil)); !fault.Is(err, fault.TooLarge) || !fault.IsPermanent(err) {
		t.Errorf("Send(large reply) = %v, want a permanent TooLarge", err)
	}
}

func TestTimeoutAndGuard(t *testing.T) {
	t.Parallel()
	a := open(t, `{"url":"http://127.0.0.1:9/x","timeout":"2h"}`)
	if l, ok := a.(dispatch.Limiter); !ok || l.Timeout() != 2*time.Hour {
		t.Error("Timeout() is not what the options say")
	}
	_, err := dispatch.Open(t.Context(), "http", []byte(`{"url":"http://127.0.0.1:9/x"}`), dispatch.Env{})
	if !fault.Is(err, fault.Denied) || fault.HintOf(err) == "" {
		t.Errorf("Open(loopback) = %v, want Denied with a hint", err)
	}
	p := dispatch.Policy{Allow: []string{"http"}, Hosts: []string{"*.example.com"}}
	if err := p.Check(dispatch.Target{Adapter: "http", Options: []byte(`{"url":"https://evil.test/"}`)}); !fault.Is(err, fault.Denied) {
		t.Errorf("Check(other host) = %v, want Denied", err)
	}
	var f *dispatch.Failure
	url, _ := serve(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
	if err := open(t, `{"url":"`+url+`"}`).Deliver(t.Context(), newSignal(t, nil)); !errors.As(err, &f) || f.Status != http.StatusTeapot {
		t.Errorf("Deliver() = %v, want a Failure with the status", err)
	}
}

func BenchmarkDeliver(b *testing.B) {
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // what the client sent does not matter
	}))
	defer srv.Close()
	a, err := dispatch.Open(b.Context(), "http", []byte(`{"url":"`+srv.URL+`"}`), loopback)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = dispatch.Close(a) }()
	s, err := signal.New("order.created", map[string]string{"note": strings.Repeat("x", 200)})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := a.Deliver(b.Context(), s); err != nil {
				b.Error(err)
				return
			}
		}
	})
}
