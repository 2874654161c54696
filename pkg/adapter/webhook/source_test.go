package webhook_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/signalmesh/signalmesh/pkg/adapter/webhook"
	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/ingress"
	"github.com/signalmesh/signalmesh/pkg/ingress/ingresstest"
)

// at is when requests of these tests are signed and received.
var at = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

const hookSecret = "open-sesame-4711"

// secretFile puts a secret where a reference can find it.
func secretFile(tb testing.TB, text string) string {
	tb.Helper()
	name := filepath.Join(tb.TempDir(), "secret")
	if err := os.WriteFile(name, []byte(text+"\n"), 0o600); err != nil {
		tb.Fatal(err)
	}
	return "file:" + name
}

// options is the JSON of source options.
func options(tb testing.TB, o map[string]any) json.RawMessage {
	tb.Helper()
	b, err := json.Marshal(o)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func open(tb testing.TB, s ingress.Spec) ingress.Receiver {
	tb.Helper()
	if s.Name == "" {
		s.Name = "hook"
	}
	s.Adapter = "webhook"
	r, err := ingress.Open(tb.Context(), s, ingress.Env{})
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

// openVerify opens a source that verifies with hookSecret.
func openVerify(tb testing.TB, verify string) ingress.Receiver {
	tb.Helper()
	return open(tb, ingress.Spec{Options: options(tb, map[string]any{"verify": verify, "secret": secretFile(tb, hookSecret)})})
}

func mac(newHash func() hash.Hash, key string, parts ...string) []byte {
	h := hmac.New(newHash, []byte(key))
	for _, p := range parts {
		h.Write([]byte(p))
	}
	return h.Sum(nil)
}

func hexMAC(key string, parts ...string) string {
	return hex.EncodeToString(mac(sha256.New, key, parts...))
}

func seconds(t time.Time) string { return fmt.Sprint(t.Unix()) }

// signers make the requests of real senders, by the name of their preset.
var signers = map[string]func(body []byte, at time.Time) *ingress.Request{
	"github": func(body []byte, at time.Time) *ingress.Request {
		return request(body, at, "X-GitHub-Event", "push", "X-GitHub-Delivery", "72d3162e-cc78-11e3-81ab-4c9367dc0958",
			"X-Hub-Signature-256", "sha256="+hexMAC(hookSecret, string(body)))
	},
	"stripe": func(body []byte, at time.Time) *ingress.Request {
		return request(body, at, "Stripe-Signature",
			fmt.Sprintf("t=%s,v0=beef,v1=%s,v1=%s", seconds(at), hexMAC("old", "x"), hexMAC(hookSecret, seconds(at), ".", string(body))))
	},
	"slack": func(body []byte, at time.Time) *ingress.Request {
		return request(body, at, "X-Slack-Request-Timestamp", seconds(at),
			"X-Slack-Signature", "v0="+hexMAC(hookSecret, "v0:", seconds(at), ":", string(body)))
	},
	"shopify": func(body []byte, at time.Time) *ingress.Request {
		return request(body, at, "X-Shopify-Topic", "orders/create", "X-Shopify-Webhook-Id", "b54557e4",
			"X-Shopify-Shop-Domain", "acme.myshopify.com", "X-Shopify-Triggered-At", "2026-11-23T11:59:58.5Z",
			"X-Shopify-Hmac-Sha256", base64.StdEncoding.EncodeToString(mac(sha256.New, hookSecret, string(body))))
	},
	"gitlab": func(body []byte, at time.Time) *ingress.Request {
		return request(body, at, "X-Gitlab-Event", "Push Hook", "X-Gitlab-Token", hookSecret,
			"Idempotency-Key", "idem-1", "X-Gitlab-Event-UUID", "uuid-1")
	},
	"standard": func(body []byte, at time.Time) *ingress.Request {
		return request(body, at, "webhook-id", "msg_1", "webhook-timestamp", seconds(at),
			"webhook-signature", "v9,x v1,bm90IHRoaXM= "+webhook.Sign([]byte(hookSecret), "msg_1", at, body))
	},
	"hmac": func(body []byte, at time.Time) *ingress.Request {
		return request(body, at, "X-Signature", hexMAC(hookSecret, string(body)))
	},
}

func request(body []byte, at time.Time, headers ...string) *ingress.Request {
	r := &ingress.Request{Header: http.Header{"Content-Type": {"application/json"}}, Body: body, At: at}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	return r
}

func TestConformance(t *testing.T) {
	t.Parallel()
	type sender struct {
		body   string
		proof  []string
		window time.Duration
		more   func(*ingresstest.Suite)
	}
	senders := map[string]sender{
		"github": {body: "github/push.json", proof: []string{"X-Hub-Signature-256"}, more: func(s *ingresstest.Suite) {
			s.Unmappable = func(at time.Time) *ingress.Request {
				r := signers["github"]([]byte(`{"action":"a..b"}`), at)
				return r
			}
		}},
		"stripe": {body: "stripe/payment_intent.succeeded.json", proof: []string{"Stripe-Signature"}, window: 5 * time.Minute, more: func(s *ingresstest.Suite) {
			s.Unmappable = func(at time.Time) *ingress.Request { return signers["stripe"]([]byte(`{"id":"evt_1"}`), at) }
		}},
		"slack": {body: "slack/message.json", proof: []string{"X-Slack-Signature", "X-Slack-Request-Timestamp"}, window: 5 * time.Minute, more: func(s *ingresstest.Suite) {
			s.Unmappable = func(at time.Time) *ingress.Request { return signers["slack"]([]byte(`[]`), at) }
		}},
		"shopify": {body: "shopify/orders_create.json", proof: []string{"X-Shopify-Hmac-Sha256"}, more: func(s *ingresstest.Suite) {
			s.Unmappable = func(at time.Time) *ingress.Request {
				r := signers["shopify"]([]byte(`{}`), at)
				r.Header.Del("X-Shopify-Topic")
				return r
			}
		}},
		"gitlab": {body: "gitlab/push.json", proof: []string{"X-Gitlab-Token"}, more: func(s *ingresstest.Suite) {
			s.BodyUnsigned = true
			s.Unmappable = func(at time.Time) *ingress.Request {
				r := signers["gitlab"]([]byte(`{}`), at)
				r.Header.Del("X-Gitlab-Event")
				return r
			}
		}},
		"standard": {body: "stripe/payment_intent.succeeded.json", proof: []string{"webhook-id", "webhook-timestamp", "webhook-signature"}, window: time.Minute, more: func(s *ingresstest.Suite) {
			s.Spec.Options = options(t, map[string]any{"verify": "standard", "replay_window": "1m", "secret": []string{secretFile(t, "other"), secretFile(t, hookSecret)}})
		}},
		"hmac": {body: "stripe/payment_intent.succeeded.json", proof: []string{"X-Signature"}},
	}
	for verify, s := range senders {
		t.Run(verify, func(t *testing.T) {
			t.Parallel()
			suite := ingresstest.Suite{
				Spec: ingress.Spec{Name: verify, Adapter: "webhook", Options: options(t, map[string]any{
					"verify": verify, "secret": secretFile(t, hookSecret),
				})},
				Request: signers[verify],
				Body:    payload(t, s.body),
				Proof:   s.proof,
				Window:  s.window,
				Secrets: []string{hookSecret},
			}
			if s.more != nil {
				s.more(&suite)
			}
			ingresstest.Run(t, suite)
		})
	}
	t.Run("hmac with everything", func(t *testing.T) {
		t.Parallel()
		ingresstest.Run(t, ingresstest.Suite{
			Spec: ingress.Spec{Name: "x", Adapter: "webhook", Options: options(t, map[string]any{
				"verify": "hmac", "secret": secretFile(t, hookSecret), "header": "X-Sig", "algorithm": "sha1", "encoding": "base64",
				"prefix": "sha1=", "timestamp_header": "X-Time", "id_header": "X-Id", "signed": "{id}:{timestamp}:{body}", "replay_window": "10s",
			})},
			Request: func(body []byte, at time.Time) *ingress.Request {
				sum := mac(sha1.New, hookSecret, "d-1:", seconds(at), ":", string(body))
				return request(body, at, "X-Id", "d-1", "X-Time", seconds(at), "X-Sig", "sha1="+base64.StdEncoding.EncodeToString(sum))
			},
			Body:    []byte(`{"type":"order.created"}`),
			Proof:   []string{"X-Sig", "X-Time", "X-Id"},
			Window:  10 * time.Second,
			Secrets: []string{hookSecret},
		})
	})
	t.Run("none", func(t *testing.T) {
		t.Parallel()
		ingresstest.Run(t, ingresstest.Suite{
			Spec: ingress.Spec{Name: "x", Adapter: "webhook", Options: json.RawMessage(`{"verify":"none"}`)},
			Request: func(body []byte, at time.Time) *ingress.Request {
				return request(body, at)
			},
			Body: []byte(`{"type":"order.created"}`),
		})
	})
}

func payload(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", filepath.FromSlash(name)))
	if err != nil {
		t.Fatal(err)
	}
	return bytes.TrimSpace(b)
}

// TestVectors holds the verifiers against what the senders document themselves. A request
// that passes verification is then refused for its body, which is not JSON.
func TestVectors(t *testing.T) {
	t.Parallel()
	t.Run("github", func(t *testing.T) {
		t.Parallel()
		r := open(t, ingress.Spec{Options: options(t, map[string]any{"verify": "github", "secret": secretFile(t, "It's a Secret to Everybody")})})
		_, err := r.Receive(t.Context(), request([]byte("Hello, World!"), at,
			"X-Hub-Signature-256", "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"))
		if !fault.Is(err, fault.Invalid) {
			t.Errorf("Receive = %v, want the signature accepted and the body refused", err)
		}
	})
	t.Run("slack", func(t *testing.T) {
		t.Parallel()
		r := open(t, ingress.Spec{Options: options(t, map[string]any{"verify": "slack", "secret": secretFile(t, "8f742231b10e8888abcd99yyyzzz85a5")})})
		body := "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar" +
			"&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=" +
			"&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN" +
			"&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c"
		req := request([]byte(body), time.Unix(1531420618, 0), "Content-Type", "application/x-www-form-urlencoded",
			"X-Slack-Request-Timestamp", "1531420618",
			"X-Slack-Signature", "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503")
		res, err := r.Receive(t.Context(), req)
		if err != nil {
			t.Fatalf("Receive = %v", err)
		}
		if s := res.Signals[0]; s.Type != "slack.command.webhook-collect" || s.Source != "/slack/T1DC2JH3J" || s.Subject != "G8PSS9T3V" {
			t.Errorf("Receive = %s %s %s", s.Type, s.Source, s.Subject)
		}
		if res.Reply == nil || res.Reply.Status != http.StatusOK || len(res.Reply.Body) != 0 {
			t.Errorf("Reply = %+v, want 200 and nothing that Slack would show", res.Reply)
		}
	})
}

// TestStandardLibrary takes what the reference implementation signs.
func TestStandardLibrary(t *testing.T) {
	t.Parallel()
	secret := "whsec_" + base64.StdEncoding.EncodeToString([]byte("a secret of twenty-four b"))
	lib, err := standardwebhooks.NewWebhook(secret)
	if err != nil {
		t.Fatal(err)
	}
	body := []byte(`{"type":"invoice.paid","timestamp":"2026-11-23T11:59:59Z","data":{}}`)
	signature, err := lib.Sign("msg_1", at, body)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{secret, strings.TrimPrefix(secret, "whsec_")} {
		r := open(t, ingress.Spec{Name: "billing", Options: options(t, map[string]any{"verify": "standard", "secret": secretFile(t, text)})})
		for _, prefix := range []string{"webhook", "svix"} {
			res, err := r.Receive(t.Context(), request(body, at, prefix+"-id", "msg_1", prefix+"-timestamp", seconds(at), prefix+"-signature", signature))
			if err != nil {
				t.Fatalf("Receive(%s-*) = %v", prefix, err)
			}
			s := res.Signals[0]
			if s.ID != "msg_1" || s.Type != "billing.invoice.paid" || s.Source != "/hooks/billing" || !s.Time.Equal(at.Add(-time.Second)) {
				t.Errorf("Receive = %s %s %s %s", s.ID, s.Type, s.Source, s.Time)
			}
		}
	}
}

func TestStandardPublicKey(t *testing.T) {
	t.Parallel()
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	_, stranger, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	ref := secretFile(t, "whpk_"+base64.StdEncoding.EncodeToString(public))
	r := open(t, ingress.Spec{Options: options(t, map[string]any{"verify": "standard", "secret": ref})})
	body := []byte(`{"type":"invoice.paid"}`)
	send := func(signature string) error {
		_, err := r.Receive(t.Context(), request(body, at, "webhook-id", "m", "webhook-timestamp", seconds(at), "webhook-signature", signature))
		return err
	}
	if err := send(webhook.SignEd25519(private, "m", at, body)); err != nil {
		t.Errorf("Receive(v1a) = %v", err)
	}
	if err := send(webhook.SignEd25519(stranger, "m", at, body)); !fault.Is(err, fault.Unauthenticated) {
		t.Errorf("Receive(v1a of a stranger) = %v, want unauthenticated", err)
	}
	// With the public key known, an HMAC made with it must not pass.
	if err := send(webhook.Sign(public, "m", at, body)); !fault.Is(err, fault.Unauthenticated) {
		t.Errorf("Receive(v1 keyed with the public key) = %v, want unauthenticated", err)
	}
	if err := send(strings.Repeat("v1,AA== ", 1000)); !fault.Is(err, fault.Unauthenticated) {
		t.Errorf("Receive(1000 signatures) = %v, want unauthenticated", err)
	}
}

func TestRotation(t *testing.T) {
	t.Parallel()
	for verify, sign := range signers {
		r := open(t, ingress.Spec{Options: options(t, map[string]any{
			"verify": verify, "secret": []string{secretFile(t, "the-new-one"), secretFile(t, hookSecret)},
		})})
		if _, err := r.Receive(t.Context(), sign([]byte(`{"type":"a","object_kind":"a"}`), at)); err != nil {
			t.Errorf("%s: Receive(signed with the second secret) = %v", verify, err)
		}
	}
}

func TestOptions(t *testing.T) {
	t.Parallel()
	ref := secretFile(t, hookSecret)
	tests := map[string]struct {
		options map[string]any
		mapping ingress.Mapping
		want    string
	}{
		"no verify":                 {map[string]any{"secret": ref}, ingress.Mapping{}, "verify"},
		"unknown verify":            {map[string]any{"verify": "gihub", "secret": ref}, ingress.Mapping{}, `"github"`},
		"no secret":                 {map[string]any{"verify": "github"}, ingress.Mapping{}, "required to verify github requests"},
		"empty list":                {map[string]any{"verify": "github", "secret": []string{}}, ingress.Mapping{}, "required"},
		"secret with none":          {map[string]any{"verify": "none", "secret": ref}, ingress.Mapping{}, "no use with verify: none"},
		"secret pasted":             {map[string]any{"verify": "github", "secret": hookSecret}, ingress.Mapping{}, "not a secret reference"},
		"secret empty":              {map[string]any{"verify": "github", "secret": secretFile(t, "")}, ingress.Mapping{}, "empty"},
		"window without time":       {map[string]any{"verify": "github", "secret": ref, "replay_window": "1m"}, ingress.Mapping{}, "no signed time"},
		"window too wide":           {map[string]any{"verify": "stripe", "secret": ref, "replay_window": "48h"}, ingress.Mapping{}, "replay_window"},
		"hmac option elsewhere":     {map[string]any{"verify": "github", "secret": ref, "header": "X"}, ingress.Mapping{}, "only for verify: hmac"},
		"algorithm":                 {map[string]any{"verify": "hmac", "secret": ref, "algorithm": "md5"}, ingress.Mapping{}, "sha256"},
		"body not signed":           {map[string]any{"verify": "hmac", "secret": ref, "signed": "x"}, ingress.Mapping{}, "{body} once"},
		"time not signed":           {map[string]any{"verify": "hmac", "secret": ref, "timestamp_header": "T", "signed": "{body}"}, ingress.Mapping{}, "not signed proves nothing"},
		"time not given":            {map[string]any{"verify": "hmac", "secret": ref, "signed": "{timestamp}{body}"}, ingress.Mapping{}, "timestamp_header is not given"},
		"id not given":              {map[string]any{"verify": "hmac", "secret": ref, "signed": "{id}{body}"}, ingress.Mapping{}, "id_header is not given"},
		"hmac window without time":  {map[string]any{"verify": "hmac", "secret": ref, "replay_window": "1m"}, ingress.Mapping{}, "needs timestamp_header"},
		"private key at a receiver": {map[string]any{"verify": "standard", "secret": secretFile(t, "whsk_AAAA")}, ingress.Mapping{}, "private key"},
		"bad public key":            {map[string]any{"verify": "standard", "secret": secretFile(t, "whpk_AAAA")}, ingress.Mapping{}, "secret 1"},
		"mapping":                   {map[string]any{"verify": "github", "secret": ref}, ingress.Mapping{Type: "'a' +"}, "type"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := ingress.Open(t.Context(), ingress.Spec{
				Name: "x", Adapter: "webhook", Options: options(t, tt.options), Mapping: tt.mapping,
			}, ingress.Env{})
			if err == nil || !strings.Contains(err.Error(), tt.want) || !fault.Is(err, fault.Invalid) {
				t.Errorf("Open = %v (%s), want invalid with %q", err, fault.CodeOf(err), tt.want)
			}
			if err != nil && strings.Contains(err.Error(), hookSecret) {
				t.Error("the error shows the secret")
			}
		})
	}
}

func TestNoneWarns(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	spec := ingress.Spec{Name: "open-door", Adapter: "webhook", Options: json.RawMessage(`{"verify":"none"}`)}
	if _, err := ingress.Open(t.Context(), spec, ingress.Env{Log: slog.New(slog.NewTextHandler(&log, nil))}); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(log.String(), "open-door") {
		t.Errorf("log = %q, want a warning that names the source", log.String())
	}
}

func TestMapping(t *testing.T) {
	t.Parallel()
	spec := ingress.Spec{
		Options: options(t, map[string]any{"verify": "github", "secret": secretFile(t, hookSecret)}),
		Mapping: ingress.Mapping{
			Type:    "'github.' + headers['x-github-event'] + (has(body.action) ? '.' + body.action : '')",
			Source:  "'/github/' + body.repository.full_name",
			Subject: "string(body.sender.login)",
			ID:      "query.team + '-' + headers['x-github-delivery']",
		},
	}
	r := open(t, spec)
	req := signers["github"](payload(t, "github/push.json"), at)
	req.Query = url.Values{"team": {"ops", "dev"}}
	res, err := r.Receive(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	s := res.Signals[0]
	got := [4]string{s.Type, s.Source, s.Subject, s.ID}
	want := [4]string{"github.push", "/github/octo/repo", "mona", "ops-72d3162e-cc78-11e3-81ab-4c9367dc0958"}
	if got != want {
		t.Errorf("Receive = %q, want %q", got, want)
	}
	req = signers["github"]([]byte(`{"action":"x"}`), at)
	req.Query = url.Values{"team": {"ops"}}
	_, err = r.Receive(t.Context(), req)
	if err == nil || !strings.Contains(err.Error(), "repository") || !strings.Contains(err.Error(), "source") {
		t.Errorf("Receive(no repository) = %v, want an error about the source and the missing key", err)
	}
}

// TestMappingSeesNoProof: an expression can't copy a password into a signal.
func TestMappingSeesNoProof(t *testing.T) {
	t.Parallel()
	r := open(t, ingress.Spec{
		Options: options(t, map[string]any{"verify": "gitlab", "secret": secretFile(t, hookSecret)}),
		Mapping: ingress.Mapping{Subject: "headers['x-gitlab-token']"},
	})
	res, err := r.Receive(t.Context(), signers["gitlab"](payload(t, "gitlab/push.json"), at))
	if err == nil || strings.Contains(err.Error(), hookSecret) {
		t.Errorf("Receive = %d signals, %v, want an error without the token", len(res.Signals), err)
	}
}
