package outhttp_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/internal/outhttp"
	"github.com/signalmesh/signalmesh/pkg/internal/plug"
	"github.com/signalmesh/signalmesh/pkg/netguard"
	"github.com/signalmesh/signalmesh/pkg/secret"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var loopback = netguard.New(netip.MustParsePrefix("127.0.0.0/8"))

// decode reads options as a route file would hold them.
func decode(doc string) (outhttp.Options, error) {
	n, err := plug.Parse([]byte(doc), "")
	if err != nil {
		return outhttp.Options{}, err
	}
	var o outhttp.Options
	return o, n.Decode(&o)
}

func open(t *testing.T, doc string) *outhttp.Client {
	t.Helper()
	o, err := decode(doc)
	if err != nil {
		t.Fatalf("Decode(%s) = %v", doc, err)
	}
	c, err := outhttp.Open(o, loopback, "signald/test")
	if err != nil {
		t.Fatalf("Open(%s) = %v", doc, err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func serve(t *testing.T, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return srv
}

func TestOptions(t *testing.T) {
	t.Parallel()
	tests := []struct{ doc, want string }{
		{`{url: "https://a.example/x?y=1"}`, ""},
		{`{url: "http://a", headers: {X-Team: ops, Authorization: {ref: "env:A"}}, success: 204, timeout: 1h}`, ""},
		{`{url: "http://a", auth: {bearer: "env:A"}, success: [2xx, 409, 300-304], tls: {ca: "file:/ca.pem"}}`, ""},
		{`{url: "http://a", auth: {basic: {username: u, password: "env:A"}}}`, ""},
		{`{}`, "url: required"},
		{`{url: "ftp://a"}`, `url: scheme "ftp"`},
		{`{url: "http:///x"}`, "url: no host"},
		{`{url: "http://u:hunter2@a"}`, "use auth"},
		{`{url: "http://a b hunter2/"}`, "url: not a URL"},
		{`{url: "http://a/#f"}`, "fragment"},
		{`{url: "http://a", headers: {"X Y": b}}`, "not a header name"},
		{`{url: "http://a", headers: {X-A: "b\nc"}}`, "control character"},
		{`{url: "http://a", headers: {content-length: "3"}}`, "follows from the request"},
		{`{url: "http://a", headers: {authorization: "Bearer hunter2"}}`, "ref: env:NAME"},
		{`{url: "http://a", headers: {X-A: {ref: hunter2}}}`, "not a secret reference"},
		{`{url: "http://a", headers: {X-A: a, x-a: b}}`, "given twice"},
		{`{url: "http://a", headers: {Authorization: {ref: "env:A"}}, auth: {bearer: "env:A"}}`, "given too"},
		{`{url: "http://a", auth: {}}`, "one of bearer, basic"},
		{`{url: "http://a", auth: {bearer: "env:A", basic: {username: u, password: "env:A"}}}`, "one of bearer, basic"},
		{`{url: "http://a", tls: {cert: "env:A"}}`, "belong together"},
		{`{url: "http://a", timeout: 0s}`, "out of bounds"},
		{`{url: "http://a", timeout: 25h}`, "out of bounds"},
		{`{url: "http://a", success: 99}`, "not a status"},
		{`{url: "http://a", success: [300-200]}`, "not a status"},
	}
	for _, tt := range tests {
		_, err := decode(tt.doc)
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("Decode(%s) = %v, want %q", tt.doc, err, tt.want)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("Decode(%s) repeats the secret: %v", tt.doc, err)
		}
	}
}

func TestOptionsRoundTrip(t *testing.T) {
	t.Parallel()
	const doc = `{"url":"http://a","headers":{"X-A":"b","X-B":{"ref":"env:B"}},"timeout":"1m","success":["204","3xx","410-412"]}`
	o, err := decode(doc)
	if err != nil {
		t.Fatal(err)
	}
	if out, err := plug.Encode(o); err != nil || string(out) != doc {
		t.Errorf("Encode() = %s, %v, want %s", out, err, doc)
	}
}

func TestStatuses(t *testing.T) {
	t.Parallel()
	status, retry := 0, ""
	srv := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", "http://169.254.169.254/?token=hunter2")
		if retry != "" {
			w.Header().Set("Retry-After", retry)
		}
		w.WriteHeader(status)
	})
	c := open(t, `{url: "`+srv.URL+`", success: [200-203, 205-299, 418]}`)
	tests := []struct {
		status    int
		retry     string
		permanent bool
		wait      time.Duration
		code      fault.Code
	}{
		{status: 200},
		{status: 299},
		{status: 418},
		{status: 204, permanent: true, code: fault.Invalid},
		{status: 302, permanent: true, code: fault.Invalid},
		{status: 304, permanent: true, code: fault.Invalid},
		{status: 400, permanent: true, code: fault.Invalid},
		{status: 401, permanent: true, code: fault.Unauthenticated},
		{status: 403, permanent: true, code: fault.Denied},
		{status: 404, permanent: true, code: fault.NotFound},
		{status: 409, permanent: true, code: fault.Conflict},
		{status: 410, permanent: true, code: fault.NotFound},
		{status: 413, permanent: true, code: fault.TooLarge},
		{status: 422, retry: "5", permanent: true, code: fault.Invalid},
		{status: 408, code: fault.Unavailable},
		{status: 425, code: fault.Unavailable},
		{status: 429, code: fault.Exhausted},
		{status: 429, retry: "120", wait: 2 * time.Minute, code: fault.Exhausted},
		{status: 503, retry: "99999999999", wait: 24 * time.Hour, code: fault.Unavailable},
		{status: 503, retry: "-3", code: fault.Unavailable},
		{status: 503, retry: "soon", code: fault.Unavailable},
		{status: 500, code: fault.Unavailable},
		{status: 501, code: fault.Unavailable},
		{status: 599, code: fault.Unavailable},
	}
	for _, tt := range tests {
		status, retry = tt.status, tt.retry
		r, err := c.Do(t.Context(), http.MethodPost, nil, []byte("x"), 100)
		if err != nil {
			t.Fatalf("%d: Do() = %v", tt.status, err)
		}
		wait, _ := fault.Delay(r.Err)
		if r.Status != tt.status || fault.CodeOf(r.Err) != tt.code || fault.IsPermanent(r.Err) != tt.permanent || wait != tt.wait {
			t.Errorf("%d (Retry-After %q): %v, code %q, permanent %t, wait %s; want %q, %t, %s", tt.status, tt.retry,
				r.Err, fault.CodeOf(r.Err), fault.IsPermanent(r.Err), wait, tt.code, tt.permanent, tt.wait)
		}
		if strings.Contains(fault.HintOf(r.Err), "hunter2") {
			t.Errorf("%d: the hint shows a token", tt.status)
		}
	}
	status, retry = 503, time.Now().Add(time.Hour).UTC().Format(http.TimeFormat)
	r, err := c.Do(t.Context(), http.MethodPost, nil, nil, 100)
	if err != nil {
		t.Fatal(err)
	}
	if wait, ok := fault.Delay(r.Err); !ok || wait < 59*time.Minute || wait > time.Hour {
		t.Errorf("Retry-After as a date gives %s, want about an hour", wait)
	}
}

func TestRequest(t *testing.T) {
	t.Setenv("OUTHTTP_TOKEN", "hunter2")
	t.Setenv("OUTHTTP_CONTROL", "a\nb")
	got := make(chan *http.Request, 1)
	srv := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		got <- r
	})
	c := open(t, `{url: "`+srv.URL+`/p?q=1", headers: {X-Team: ops, X-Key: {ref: "env:OUTHTTP_TOKEN"}}, auth: {basic: {username: u, password: "env:OUTHTTP_TOKEN"}}}`)
	if _, err := c.Do(t.Context(), "PROPFIND", http.Header{"X-Team": {"dev"}}, []byte("body"), 100); err != nil {
		t.Fatal(err)
	}
	r := <-got
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	user, password, _ := r.BasicAuth()
	if r.Method != "PROPFIND" || r.URL.String() != "/p?q=1" || string(body) != "body" || user != "u" || password != "hunter2" ||
		r.Header.Get("X-Team") != "dev" || r.Header.Get("X-Key") != "hunter2" || r.UserAgent() != "signald/test" || r.Header.Get("Accept-Encoding") != "" {
		t.Errorf("request = %s %s %v %q", r.Method, r.URL, r.Header, body)
	}
	for _, ref := range []string{"env:OUTHTTP_NONE", "env:OUTHTTP_CONTROL"} {
		o, err := decode(`{url: "http://127.0.0.1", auth: {bearer: "` + ref + `"}}`)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := outhttp.Open(o, loopback, ""); err == nil || !strings.Contains(err.Error(), ref) {
			t.Errorf("Open(%s) = %v, want an error that names the reference", ref, err)
		}
	}
}

func TestNoAnswer(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	srv := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	})
	defer close(release)

	c := open(t, `{url: "`+srv.URL+`/?token=hunter2", timeout: 20ms}`)
	_, err := c.Do(t.Context(), http.MethodGet, nil, nil, 100)
	if !fault.Is(err, fault.Unavailable) || fault.IsPermanent(err) || errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "20ms") {
		t.Errorf("Do(slow endpoint) = %v, want a temporary Unavailable", err)
	}
	if strings.Contains(err.Error(), "hunter2") || strings.Contains(c.Endpoint(), "hunter2") {
		t.Errorf("Do(slow endpoint) shows the token: %v", err)
	}

	ctx, cancel := context.WithCancel(t.Context())
	patient := open(t, `{url: "`+srv.URL+`", timeout: 1h}`)
	time.AfterFunc(10*time.Millisecond, cancel)
	if _, err := patient.Do(ctx, http.MethodGet, nil, nil, 100); !errors.Is(err, context.Canceled) || fault.IsPermanent(err) {
		t.Errorf("Do(cancelled) = %v, want the context's error", err)
	}
	if patient.Timeout() != time.Hour {
		t.Errorf("Timeout() = %s, want 1h", patient.Timeout())
	}

	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	if _, err := open(t, `{url: "`+gone.URL+`"}`).Do(t.Context(), http.MethodGet, nil, nil, 100); !fault.Is(err, fault.Unavailable) || fault.IsPermanent(err) {
		t.Errorf("Do(refused) = %v, want a temporary Unavailable", err)
	}
}

func TestGuard(t *testing.T) {
	t.Parallel()
	srv := serve(t, func(http.ResponseWriter, *http.Request) { t.Error("the request arrived") })
	o, err := decode(`{url: "` + srv.URL + `"}`)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := outhttp.Open(o, netguard.New(), ""); !fault.Is(err, fault.Denied) || !fault.IsPermanent(err) {
		t.Errorf("Open(loopback) = %v, want a permanent Denied", err)
	}
	// A name is only judged when it is dialed.
	o.URL = strings.Replace(srv.URL, "127.0.0.1", "localhost", 1)
	c, err := outhttp.Open(o, netguard.New(netip.MustParsePrefix("127.9.9.9/32")), "")
	if !fault.Is(err, fault.Denied) {
		t.Errorf("Open(localhost) = %v, %v, want Denied", c, err)
	}
}

func TestAnswerIsLimited(t *testing.T) {
	t.Parallel()
	srv := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/cut" {
			w.Header().Set("Content-Length", "100")
		}
		_, _ = w.Write([]byte("0123456789"))
	})
	c := open(t, `{url: "`+srv.URL+`"}`)
	r, err := c.Do(t.Context(), http.MethodGet, nil, nil, 10)
	if err != nil || string(r.Body) != "0123456789" || r.Partial != nil {
		t.Errorf("Do(10 of 10) = %q, %v, %v, want all of it", r.Body, r.Partial, err)
	}
	r, err = c.Do(t.Context(), http.MethodGet, nil, nil, 9)
	if err != nil || string(r.Body) != "012345678" || !fault.Is(r.Partial, fault.TooLarge) || r.Err != nil {
		t.Errorf("Do(9 of 10) = %q, %v, %v, want a part", r.Body, r.Partial, err)
	}
	r, err = open(t, `{url: "`+srv.URL+`/cut"}`).Do(t.Context(), http.MethodGet, nil, nil, 1000)
	if err != nil || r.Err != nil || r.Partial == nil {
		t.Errorf("Do(broken off) = %v, %v, %v, want a success with a part", r, r.Partial, err)
	}
}

func TestTLS(t *testing.T) {
	t.Parallel()
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	srv.Config.ErrorLog = nil
	srv.EnableHTTP2 = true
	srv.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	srv.StartTLS()
	defer srv.Close()
	file := filepath.Join(t.TempDir(), "ca.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})
	if err := os.WriteFile(file, block, 0o600); err != nil {
		t.Fatal(err)
	}
	trusting := open(t, `{url: "`+srv.URL+`", tls: {ca: "file:`+file+`"}}`)
	if r, err := trusting.Do(t.Context(), http.MethodGet, nil, nil, 10); err != nil || r.Err != nil {
		t.Errorf("Do(trusted) = %v, %v", r, err)
	}
	if _, err := open(t, `{url: "`+srv.URL+`"}`).Do(t.Context(), http.MethodGet, nil, nil, 10); !fault.Is(err, fault.Unavailable) {
		t.Errorf("Do(unknown certificate) = %v, want Unavailable", err)
	}
	for _, o := range []outhttp.TLS{{CA: secret.Ref("file:/nowhere")}, {Cert: secret.Ref("file:" + file), Key: secret.Ref("file:" + file)}} {
		options, err := decode(`{url: "` + srv.URL + `"}`)
		if err != nil {
			t.Fatal(err)
		}
		options.TLS = &o
		if _, err := outhttp.Open(options, loopback, ""); err == nil {
			t.Errorf("Open(%+v) = nil, want an error", o)
		}
	}
}

func TestMethodAndValues(t *testing.T) {
	t.Parallel()
	if m, err := outhttp.Method("post"); m != "POST" || err != nil {
		t.Errorf("Method(post) = %q, %v, want POST", m, err)
	}
	for _, m := range []string{"", "a b", "connect", "TRACE"} {
		if _, err := outhttp.Method(m); !fault.Is(err, fault.Invalid) {
			t.Errorf("Method(%q) = %v, want Invalid", m, err)
		}
	}
	if got, want := outhttp.EncodeValue("a b%é\n"), "a%20b%25%C3%A9%0A"; got != want {
		t.Errorf("EncodeValue() = %q, want %q", got, want)
	}
}
