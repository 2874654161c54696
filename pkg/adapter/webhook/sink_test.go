package webhook_test

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/signalmesh/signalmesh/pkg/adapter/webhook"
	"github.com/signalmesh/signalmesh/pkg/codec"
	"github.com/signalmesh/signalmesh/pkg/dispatch"
	"github.com/signalmesh/signalmesh/pkg/dispatch/dispatchtest"
	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/netguard"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

var sinkEnv = dispatch.Env{Guard: netguard.New(netip.MustParsePrefix("127.0.0.0/8")), AllowSecrets: true}

// hook is one request as a receiver saw it.
type hook struct {
	header http.Header
	body   []byte
}

// receive starts a receiver that answers with the statuses given, the last one for ever.
func receive(t *testing.T, statuses ...int) (url string, hooks <-chan hook) {
	t.Helper()
	seen := make(chan hook, 64)
	next := make(chan int, len(statuses)+1)
	for _, status := range statuses {
		next <- status
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Errorf("read the request: %v", err)
		}
		seen <- hook{r.Header, body}
		select {
		case status := <-next:
			w.WriteHeader(status)
		default:
		}
	}))
	t.Cleanup(srv.Close)
	return srv.URL, seen
}

func openSink(t *testing.T, options string) dispatch.Adapter {
	t.Helper()
	a, err := dispatch.Open(t.Context(), "webhook", []byte(options), sinkEnv)
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

func order(t *testing.T, data any, opts ...signal.Option) *signal.Signal {
	t.Helper()
	s, err := signal.New("order.created", data, append([]signal.Option{signal.From("/shop"), signal.At(time.Unix(1700000000, 0))}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSinkConformance(t *testing.T) {
	t.Setenv("SINK_SECRET", "whsec_aHVudGVyMi1odW50ZXIyLWh1bnRlcjI=")
	t.Setenv("SINK_TOKEN", "hunter2-token")
	dispatchtest.Run(t, sinkSubject, dispatchtest.Features{
		Signals: true, Keys: true, Hops: true, Outcomes: true, Waits: true, Hangs: true, Remote: true,
	})
}

func sinkSubject(t *testing.T) *dispatchtest.Subject {
	arrivals := make(chan dispatchtest.Arrival)
	outcome := make(chan dispatchtest.Outcome, 1)
	outcome <- dispatchtest.OK
	end := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // the client went away
		}
		events, err := codec.FromHTTP(r.Header, body)
		if err != nil {
			t.Errorf("FromHTTP(%s) = %v", body, err)
			return
		}
		select {
		case arrivals <- dispatchtest.Arrival{Signal: events[0], Key: r.Header.Get(webhook.HeaderID)}:
		case <-end:
		}
		o := <-outcome
		outcome <- o
		status := map[dispatchtest.Outcome]int{dispatchtest.OK: 200, dispatchtest.Busy: 429, dispatchtest.Wait: 503, dispatchtest.Never: 410}[o]
		switch o {
		case dispatchtest.Hang:
			select {
			case <-r.Context().Done():
			case <-end:
			}
			return
		case dispatchtest.Wait:
			w.Header().Set("Retry-After", "7")
		default:
		}
		w.WriteHeader(status)
		_, _ = w.Write([]byte("your secret is whsec_aHVudGVyMi1odW50ZXIyLWh1bnRlcjI= and " + r.Header.Get("Authorization"))) // a client that hung up has lost nothing
	}))
	t.Cleanup(func() { close(end); srv.Close() })
	return &dispatchtest.Subject{
		Adapter:  "webhook",
		Options:  `{"url":"` + srv.URL + `","timeout":"30s","secret":"env:SINK_SECRET","auth":{"bearer":"env:SINK_TOKEN"}}`,
		Env:      sinkEnv,
		Arrivals: arrivals,
		Answer:   func(o dispatchtest.Outcome) { <-outcome; outcome <- o },
		Secrets:  []string{"aHVudGVyMi1odW50ZXIyLWh1bnRlcjI=", "hunter2-token"},
	}
}

// An independent verifier accepts what is sent, for each of the secrets that are in use
// while receivers change over, and for the ed25519 key.
func TestSinkSignatures(t *testing.T) {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("SINK_NEW", "whsec_bmV3LW5ldy1uZXctbmV3LW5ldy1uZXc=")
	t.Setenv("SINK_OLD", "any text at all")
	t.Setenv("SINK_KEY", "whsk_"+base64.StdEncoding.EncodeToString(private))
	url, hooks := receive(t)
	a := openSink(t, `{"url":"`+url+`","secret":"env:SINK_NEW","secrets":["env:SINK_OLD"],"private_keys":["env:SINK_KEY"],"event_type_map":{"order.created":"order.new"}}`)
	s := order(t, map[string]int{"cents": 4200})
	if err := a.Deliver(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	h := <-hooks
	current, err := standardwebhooks.NewWebhook("whsec_bmV3LW5ldy1uZXctbmV3LW5ldy1uZXc=")
	if err != nil {
		t.Fatal(err)
	}
	old, err := standardwebhooks.NewWebhookRaw([]byte("any text at all"))
	if err != nil {
		t.Fatal(err)
	}
	for name, verifier := range map[string]*standardwebhooks.Webhook{"new": current, "old": old} {
		if err := verifier.Verify(h.body, h.header); err != nil {
			t.Errorf("the %s secret does not verify: %v", name, err)
		}
	}
	id, at, signature := h.header.Get(webhook.HeaderID), h.header.Get(webhook.HeaderTimestamp), h.header.Get(webhook.HeaderSignature)
	if !webhook.VerifySignature(signature, id, at, h.body, nil, []ed25519.PublicKey{public}) {
		t.Errorf("the ed25519 signature does not verify: %s", signature)
	}
	h.body[0] ^= 1
	if current.Verify(h.body, h.header) == nil {
		t.Error("a changed body verifies")
	}
	if got := h.header.Get("X-Webhook-Event"); got != "order.new" {
		t.Errorf("event type = %q, want the mapped one", got)
	}
}

// Over the attempts of a delivery the id stays and the time moves.
func TestSinkAttempts(t *testing.T) {
	t.Setenv("SINK_SECRET", "s3cret")
	url, hooks := receive(t, 503, 200)
	a := openSink(t, `{"url":"`+url+`","secret":"env:SINK_SECRET"}`)
	s := order(t, nil)
	ctx := dispatch.WithInfo(t.Context(), dispatch.Info{Key: "delivery-1"})
	if err := a.Deliver(ctx, s); err == nil || fault.IsPermanent(err) {
		t.Errorf("Deliver(503) = %v, want a temporary error", err)
	}
	if err := a.Deliver(ctx, s); err != nil {
		t.Errorf("Deliver() = %v", err)
	}
	for range 2 {
		h := <-hooks
		if h.header.Get(webhook.HeaderID) != "delivery-1" {
			t.Errorf("webhook-id = %q, want delivery-1", h.header.Get(webhook.HeaderID))
		}
		seconds, err := strconv.ParseInt(h.header.Get(webhook.HeaderTimestamp), 10, 64)
		if err != nil || time.Since(time.Unix(seconds, 0)).Abs() > time.Minute {
			t.Errorf("webhook-timestamp = %d, %v, want now", seconds, err)
		}
	}
}

func TestSinkLegacy(t *testing.T) {
	t.Setenv("SINK_SECRET", "webhook-secret-key")
	url, hooks := receive(t)
	a := openSink(t, `{"url":"`+url+`","secret":"env:SINK_SECRET","signing":"legacy","signature_header":"X-Sig","event_type_header":"X-Event","method":"put"}`)
	if err := a.Deliver(t.Context(), order(t, nil)); err != nil {
		t.Fatal(err)
	}
	h := <-hooks
	seconds, err := strconv.ParseInt(h.header.Get("X-Webhook-Timestamp"), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	want := webhook.LegacySignature([]byte("webhook-secret-key"), time.Unix(seconds, 0), h.body)
	if h.header.Get("X-Sig") != want || h.header.Get("X-Event") != "order.created" || h.header.Get(webhook.HeaderSignature) != "" {
		t.Errorf("headers = %v, want X-Sig %s and the type", h.header, want)
	}
}

func TestSinkBodies(t *testing.T) {
	t.Parallel()
	url, hooks := receive(t)
	tests := []struct {
		name, body  string
		data        any
		contentType string
		want, wantT string
	}{
		{"data", "data", json.RawMessage(`{"a": 1}`), "", `{"a": 1}`, "application/json"},
		{"no data", "data", nil, "", ``, ""},
		{"standard", "standard", json.RawMessage(`{"a":1}`), "", `{"type":"o.new","timestamp":"2023-11-14T22:13:20Z","data":{"a":1}}`, "application/json"},
		{"standard text", "standard", "hi", "text/plain", `{"type":"o.new","timestamp":"2023-11-14T22:13:20Z","data":"hi"}`, "application/json"},
		{"standard bytes", "standard", []byte{0xff}, "", `{"type":"o.new","timestamp":"2023-11-14T22:13:20Z","data":"/w=="}`, "application/json"},
		{"standard none", "standard", nil, "", `{"type":"o.new","timestamp":"2023-11-14T22:13:20Z","data":null}`, "application/json"},
	}
	for _, tt := range tests {
		a := openSink(t, `{"url":"`+url+`","body":"`+tt.body+`","event_type_map":{"order.created":"o.new"}}`)
		var opts []signal.Option
		if tt.contentType != "" {
			opts = append(opts, signal.ContentType(tt.contentType))
		}
		if err := a.Deliver(t.Context(), order(t, tt.data, opts...)); err != nil {
			t.Errorf("%s: Deliver() = %v", tt.name, err)
			continue
		}
		h := <-hooks
		if string(h.body) != tt.want || h.header.Get("Content-Type") != tt.wantT {
			t.Errorf("%s: %q %s, want %q %s", tt.name, h.header.Get("Content-Type"), h.body, tt.wantT, tt.want)
		}
		if h.header.Get(webhook.HeaderSignature) != "" || h.header.Get(webhook.HeaderID) == "" || h.header.Get("Ce-Meshhops") != "1" {
			t.Errorf("%s: headers = %v, want an id, the hops and no signature", tt.name, h.header)
		}
	}
}

func TestSinkOptions(t *testing.T) {
	t.Setenv("SINK_BAD", "whsec_hunter2!")
	tests := []struct{ options, want string }{
		{`{"url":"http://a","method":"GET"}`, "method"},
		{`{"url":"http://a","secret":"hunter2"}`, "secret"},
		{`{"url":"http://a","signature_header":"a b"}`, "signature_header"},
		{`{"url":"http://a","signature_header":"Webhook-Signature"}`, "another meaning"},
		{`{"url":"http://a","event_type_header":"X-Webhook-Signature"}`, "another meaning"},
		{`{"url":"http://a","event_type_header":"X-WEBHOOK-TIMESTAMP"}`, "another meaning"},
		{`{"url":"http://a","headers":{"X-Webhook-Event":"x"}}`, "part of the webhook"},
		{`{"url":"http://a","headers":{"Webhook-Id":"x"}}`, "part of the webhook"},
		{`{"url":"http://a","signing":"legacy"}`, "exactly one secret"},
		{`{"url":"http://a","signing":"legacy","secret":"env:A","secrets":["env:B"]}`, "exactly one secret"},
		{`{"url":"http://a","event_type_map":{"a":""}}`, "event_type_map"},
		{`{"url":"ftp://a"}`, "url"},
		{`{"url":"http://a","priority":"critical"}`, "unknown key"},
	}
	for _, tt := range tests {
		err := dispatch.Check("webhook", []byte(tt.options))
		if !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("Check(%s) = %v, want Invalid with %q", tt.options, err, tt.want)
		}
	}
	for _, options := range []string{`"secret":"env:SINK_BAD"`, `"private_keys":["env:SINK_BAD"]`, `"secret":"env:SINK_NONE"`} {
		_, err := dispatch.Open(t.Context(), "webhook", []byte(`{"url":"http://127.0.0.1:9",`+options+`}`), sinkEnv)
		if err == nil || !strings.Contains(err.Error(), "env:SINK_") || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("Open(%s) = %v, want an error that names the reference only", options, err)
		}
	}
}
