package webhook_test

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/ingress"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

// receiveOne sends a request that must become one signal.
func receiveOne(t *testing.T, r ingress.Receiver, req *ingress.Request) *signal.Signal {
	t.Helper()
	res, err := r.Receive(t.Context(), req)
	if err != nil {
		t.Fatalf("Receive = %v", err)
	}
	if len(res.Signals) != 1 {
		t.Fatalf("Receive gave %d signals, want 1", len(res.Signals))
	}
	return res.Signals[0]
}

// TestPresets goes through every payload in testdata: each must be named here.
func TestPresets(t *testing.T) {
	t.Parallel()
	type want struct{ typ, source, subject, id string }
	const delivery = "72d3162e-cc78-11e3-81ab-4c9367dc0958"
	wants := map[string]want{
		"github/push.json":                            {"github.push", "/github/octo/repo", "octo/repo@heads/main", delivery},
		"github/create.json":                          {"github.create", "/github/octo/repo", "octo/repo@tags/v1.2", delivery},
		"github/pull_request.opened.json":             {"github.pull_request.opened", "/github/octo/repo", "octo/repo#12", delivery},
		"github/issue_comment.created.json":           {"github.issue_comment.created", "/github/octo/repo", "octo/repo#3", delivery},
		"github/check_run.completed.json":             {"github.check_run.completed", "/github/octo/repo", "octo/repo@c0ffee", delivery},
		"github/release.published.json":               {"github.release.published", "/github/octo/repo", "octo/repo@tags/v1.2", delivery},
		"github/watch.started.json":                   {"github.watch.started", "/github/octo/repo", "fan", delivery},
		"github/organization.member_added.json":       {"github.organization.member_added", "/github/octo", "mona", delivery},
		"github/enterprise.json":                      {"github.enterprise.created", "/github/enterprises/octo-corp", "mona", delivery},
		"github/installation.created.json":            {"github.installation.created", "/github/octo", "mona", delivery},
		"github/installation_repositories.added.json": {"github.installation_repositories.added", "/github/installations/957387", "mona", delivery},
		"github/security_advisory.published.json":     {"github.security_advisory.published", "/github", "", delivery},
		"github/ping.json":                            {"github.ping", "/github/octo/repo", "mona", delivery},

		"stripe/payment_intent.succeeded.json": {"stripe.payment_intent.succeeded", "/stripe", "pi_1", "evt_1"},
		"stripe/connect.json":                  {"stripe.account.updated", "/stripe/acct_9", "acct_9", "evt_2"},
		"stripe/thin.json":                     {"stripe.v1.billing.meter.no_meter_found", "/stripe", "mtr_1", "evt_3"},

		"slack/message.json":         {"slack.message", "/slack/T1", "C1", "Ev1"},
		"slack/channel_created.json": {"slack.channel_created", "/slack/T1", "C2", "Ev2"},
		"slack/block_actions.json":   {"slack.block_actions", "/slack/T1", "C1", "1.2.3"},

		"shopify/orders_create.json": {"shopify.orders.create", "/shopify/acme.myshopify.com", "gid://shopify/Order/820982911946154508", "b54557e4"},

		"gitlab/push.json":              {"gitlab.push", "/gitlab/group/sub/project", "group/sub/project@heads/main", "idem-1"},
		"gitlab/merge_request.json":     {"gitlab.merge_request.open", "/gitlab/group/project", "group/project!12", "idem-1"},
		"gitlab/note.json":              {"gitlab.note", "/gitlab/group/project", "group/project#3", "idem-1"},
		"gitlab/pipeline.json":          {"gitlab.pipeline", "/gitlab/group/project", "group/project@main", "idem-1"},
		"gitlab/user_add_to_group.json": {"gitlab.user_add_to_group", "/gitlab/octo", "mona", "idem-1"},
	}
	files, err := filepath.Glob("testdata/*/*.json")
	if err != nil || len(files) <= len(wants)-1 {
		t.Fatalf("found %d payloads, %v", len(files), err)
	}
	for _, file := range files {
		name := strings.TrimPrefix(filepath.ToSlash(file), "testdata/")
		if name == "slack/url_verification.json" {
			continue // a handshake, no signal: TestSlackHandshake
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, ok := wants[name]
			if !ok {
				t.Fatalf("nothing is said of %s", name)
			}
			sender, event, _ := strings.Cut(strings.TrimSuffix(name, ".json"), "/")
			body := payload(t, name)
			req := signers[sender](body, at)
			if sender == "github" {
				event, _, _ = strings.Cut(event, ".")
				req.Header.Set("X-GitHub-Event", event)
			}
			s := receiveOne(t, openVerify(t, sender), req)
			if got := (want{s.Type, s.Source, s.Subject, s.ID}); got != w {
				t.Errorf("Receive = %+v, want %+v", got, w)
			}
			if string(s.Data) != string(body) || s.DataContentType != "application/json" {
				t.Errorf("data is %.40q (%s), want the body as it came", s.Data, s.DataContentType)
			}
		})
	}
}

func TestTimes(t *testing.T) {
	t.Parallel()
	created := time.Unix(1795435200, 0)
	tests := map[string]struct {
		file string
		want time.Time
	}{
		"github":  {"github/push.json", at},
		"stripe":  {"stripe/payment_intent.succeeded.json", created},
		"slack":   {"slack/message.json", created},
		"shopify": {"shopify/orders_create.json", at.Add(-1500 * time.Millisecond)},
		"gitlab":  {"gitlab/push.json", at},
	}
	for sender, tt := range tests {
		s := receiveOne(t, openVerify(t, sender), signers[sender](payload(t, tt.file), at))
		if !s.Time.Equal(tt.want) {
			t.Errorf("%s: time = %s, want %s", sender, s.Time, tt.want)
		}
	}
}

func TestGitHubForm(t *testing.T) {
	t.Parallel()
	body := payload(t, "github/push.json")
	req := signers["github"]([]byte(url.Values{"payload": {string(body)}}.Encode()), at)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	s := receiveOne(t, openVerify(t, "github"), req)
	if s.Type != "github.push" || string(s.Data) != string(body) || s.DataContentType != "application/json" {
		t.Errorf("Receive = %s %.40s (%s), want the payload as JSON", s.Type, s.Data, s.DataContentType)
	}
}

func TestGitHubWithoutDeliveryID(t *testing.T) {
	t.Parallel()
	r := openVerify(t, "github")
	id := func(body string) string {
		req := signers["github"]([]byte(body), at)
		req.Header.Del("X-GitHub-Delivery")
		return receiveOne(t, r, req).ID
	}
	if a, b := id(`{"a":1}`), id(`{"a":1}`); a != b || a == "" {
		t.Errorf("ids of the same body are %q and %q", a, b)
	}
	if a, b := id(`{"a":1}`), id(`{"a":2}`); a == b {
		t.Errorf("ids of two bodies are both %q", a)
	}
}

// TestGitHubFreeAction: the action of a repository_dispatch is whatever its author wrote.
func TestGitHubFreeAction(t *testing.T) {
	t.Parallel()
	req := signers["github"]([]byte(`{"action":"deploy prod/eu","repository":{"full_name":"octo/repo"}}`), at)
	req.Header.Set("X-GitHub-Event", "repository_dispatch")
	if s := receiveOne(t, openVerify(t, "github"), req); s.Type != "github.repository_dispatch.deploy prod/eu" {
		t.Errorf("type = %q", s.Type)
	}
}

func TestGitLabOlderServers(t *testing.T) {
	t.Parallel()
	r := openVerify(t, "gitlab")
	id := func(body string) string {
		req := signers["gitlab"]([]byte(body), at)
		req.Header.Del("Idempotency-Key")
		return receiveOne(t, r, req).ID
	}
	a, b := id(`{"object_kind":"push"}`), id(`{"object_kind":"push"}`)
	if a != b || !strings.HasPrefix(a, "uuid-1-") {
		t.Errorf("ids of a repeat are %q and %q, want both the UUID and a hash", a, b)
	}
	if c := id(`{"object_kind":"tag_push"}`); c == a {
		t.Errorf("two deliveries with one event UUID are both %q", c)
	}
	req := signers["gitlab"]([]byte(`{"x":1}`), at)
	req.Header.Set("X-Gitlab-Event", "Feature Flag Hook")
	if s := receiveOne(t, r, req); s.Type != "gitlab.feature_flag" {
		t.Errorf("type = %q, want it from the header", s.Type)
	}
}

func TestSlackHandshake(t *testing.T) {
	t.Parallel()
	r := openVerify(t, "slack")
	req := signers["slack"](payload(t, "slack/url_verification.json"), at)
	res, err := r.Receive(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"challenge":"3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P"}`
	if res.Reply == nil || string(res.Reply.Body) != want || res.Reply.Status != http.StatusOK || len(res.Signals) != 0 {
		t.Errorf("Receive = %+v with %d signals, want the challenge and none", res.Reply, len(res.Signals))
	}
	req.Header.Set("X-Slack-Signature", "v0="+strings.Repeat("00", 32))
	if res, err := r.Receive(t.Context(), req); !fault.Is(err, fault.Unauthenticated) || res.Reply != nil {
		t.Errorf("Receive(unsigned handshake) = %v, %v, want unauthenticated and no reply", res.Reply, err)
	}
}

func TestSlackInteraction(t *testing.T) {
	t.Parallel()
	body := payload(t, "slack/block_actions.json")
	req := signers["slack"]([]byte(url.Values{"payload": {string(body)}}.Encode()), at)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	s := receiveOne(t, openVerify(t, "slack"), req)
	if s.Type != "slack.block_actions" || string(s.Data) != string(body) {
		t.Errorf("Receive = %s %.40s", s.Type, s.Data)
	}
}

func TestGenericBodies(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		contentType, body string
		wantType, wantCT  string
		wantData          string
	}{
		"json":         {"application/json; charset=utf-8", `{"type":"a.b"}`, "shop.a.b", "application/json; charset=utf-8", `{"type":"a.b"}`},
		"vendor json":  {"application/vnd.shop+json", `{"type":"a.b"}`, "shop.a.b", "application/vnd.shop+json", `{"type":"a.b"}`},
		"no type":      {"application/json", `[1]`, "shop", "application/json", `[1]`},
		"unsaid json":  {"", `{"type":"a"}`, "shop.a", "application/json", `{"type":"a"}`},
		"unsaid text":  {"", `hello`, "shop", "application/octet-stream", `hello`},
		"xml":          {"application/xml", `<a/>`, "shop", "application/xml", `<a/>`},
		"bytes":        {"image/png", "\x89PNG\xff", "shop", "image/png", "\x89PNG\xff"},
		"form":         {"application/x-www-form-urlencoded", `type=a&x=1&x=2`, "shop.a", "application/json", `{"type":"a","x":["1","2"]}`},
		"nothing":      {"", ``, "shop", "", ``},
		"form payload": {"application/x-www-form-urlencoded", `payload=%7B%22type%22%3A%22p%22%7D`, "shop.p", "application/json", `{"type":"p"}`},
	}
	r := open(t, ingress.Spec{Name: "shop", Options: options(t, map[string]any{"verify": "hmac", "secret": secretFile(t, hookSecret)})})
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			req := signers["hmac"]([]byte(tt.body), at)
			req.Header.Del("Content-Type")
			if tt.contentType != "" {
				req.Header.Set("Content-Type", tt.contentType)
			}
			s := receiveOne(t, r, req)
			if s.Type != tt.wantType || s.DataContentType != tt.wantCT || string(s.Data) != tt.wantData {
				t.Errorf("Receive = %s %q (%s), want %s %q (%s)", s.Type, s.Data, s.DataContentType, tt.wantType, tt.wantData, tt.wantCT)
			}
			if s.Source != "/hooks/shop" || s.ID == "" {
				t.Errorf("Receive = source %q, id %q", s.Source, s.ID)
			}
		})
	}
}

// TestEvents: a signed CloudEvent is the signal it says it is.
func TestEvents(t *testing.T) {
	t.Parallel()
	r := open(t, ingress.Spec{Options: options(t, map[string]any{"verify": "hmac", "secret": secretFile(t, hookSecret), "encoding": "base64"})})
	sign := func(body string, headers ...string) *ingress.Request {
		req := request([]byte(body), at, headers...)
		req.Header.Set("X-Signature", base64.StdEncoding.EncodeToString(mac(sha256.New, hookSecret, body)))
		return req
	}
	structured := sign(`{"specversion":"1.0","id":"e-1","source":"/shop","type":"order.created","data":{"n":1}}`, "Content-Type", "application/cloudevents+json")
	binary := sign(`{"n":1}`, "ce-specversion", "1.0", "ce-id", "e-1", "ce-source", "/shop", "ce-type", "order.created")
	for _, req := range []*ingress.Request{structured, binary} {
		if s := receiveOne(t, r, req); s.ID != "e-1" || s.Source != "/shop" || s.Type != "order.created" || string(s.Data) != `{"n":1}` {
			t.Errorf("Receive = %s %s %s %s", s.ID, s.Source, s.Type, s.Data)
		}
	}
	bad := sign(`{"specversion":"1.0"}`, "Content-Type", "application/cloudevents+json")
	if _, err := r.Receive(t.Context(), bad); !fault.Is(err, fault.Invalid) {
		t.Errorf("Receive(half an event) = %v, want invalid", err)
	}
	mapped := open(t, ingress.Spec{
		Options: options(t, map[string]any{"verify": "hmac", "secret": secretFile(t, hookSecret), "encoding": "base64"}),
		Mapping: ingress.Mapping{Type: "'wrapped.' + body.type"},
	})
	if s := receiveOne(t, mapped, structured); s.Type != "wrapped.order.created" || !slices.Contains([]string{"/hooks/hook"}, s.Source) {
		t.Errorf("Receive(with a mapping) = %s %s, want the mapping to decide", s.Type, s.Source)
	}
}

// BenchmarkReceive is what it costs to verify, decode and map a delivery of 24 KB.
func BenchmarkReceive(b *testing.B) {
	body := []byte(`{"action":"opened","number":12,"pull_request":{"number":12},"repository":{"full_name":"octo/repo"},"files":[` +
		strings.Repeat(`{"name":"a file of some length","additions":12,"patch":"@@ -1 +1 @@"},`, 300) + `{}]}`)
	r := openVerify(b, "github")
	req := signers["github"](body, at)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.Receive(b.Context(), req); err != nil {
			b.Fatal(err)
		}
	}
}
