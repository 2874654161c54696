package api_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	_ "github.com/signalmesh/signalmesh/pkg/adapter/webhook"
	"github.com/signalmesh/signalmesh/pkg/api"
	"github.com/signalmesh/signalmesh/pkg/bus"
	"github.com/signalmesh/signalmesh/pkg/delivery"
	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/ingress"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

const hookSecret = "open-sesame-4711"

// constant is a source that makes the same signals of everything.
func constant(signals []*signal.Signal) ingress.Receiver {
	return ingress.ReceiverFunc(func(context.Context, *ingress.Request) (ingress.Result, error) {
		return ingress.Result{Signals: signals}, nil
	})
}

// webhook opens a webhook source that verifies as the preset does.
func webhook(t *testing.T, verify string, m ingress.Mapping) api.Hook {
	t.Helper()
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte(hookSecret), 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := ingress.Open(t.Context(), ingress.Spec{
		Name: verify, Adapter: "webhook", Mapping: m,
		Options: json.RawMessage(fmt.Sprintf(`{"verify":%q,"secret":"file:%s"}`, verify, filepath.ToSlash(file))),
	}, ingress.Env{})
	if err != nil {
		t.Fatal(err)
	}
	return api.Hook{Receiver: r, Adapter: "webhook"}
}

// serveHooks serves sources by name.
func serveHooks(t *testing.T, hooks map[string]api.Hook) *world {
	t.Helper()
	return serve(t, func(cfg *api.Config, _ *world) {
		cfg.Hooks = func(name string) (api.Hook, bool) {
			h, ok := hooks[name]
			return h, ok
		}
	})
}

func sign(parts ...string) string {
	h := hmac.New(sha256.New, []byte(hookSecret))
	for _, p := range parts {
		h.Write([]byte(p))
	}
	return hex.EncodeToString(h.Sum(nil))
}

const pushBody = `{"ref":"refs/heads/main","repository":{"full_name":"octo/repo"},"sender":{"login":"mona"}}`

func githubHeaders(body string) []string {
	return []string{
		"Content-Type", "application/json", "X-GitHub-Event", "push", "X-GitHub-Delivery", "d-1",
		"X-Hub-Signature-256", "sha256=" + sign(body),
	}
}

func TestPostHook(t *testing.T) {
	t.Parallel()
	w := serveHooks(t, map[string]api.Hook{"github": webhook(t, "github", ingress.Mapping{})})
	headers := append(githubHeaders(pushBody), "Traceparent", parent)
	first := w.accepted(w.do("POST", "/v1/hooks/github", pushBody, headers...))
	if first.ID != "d-1" || first.Duplicate {
		t.Errorf("POST = %+v", first)
	}
	if again := w.accepted(w.do("POST", "/v1/hooks/github", pushBody, headers...)); !again.Duplicate || again.Sequence != first.Sequence {
		t.Errorf("POST of a repeat = %+v, want a duplicate", again)
	}
	all := w.stored()
	if len(all) != 1 || all[0].Type != "github.push" || all[0].Source != "/github/octo/repo" || all[0].TraceParent() != parent {
		t.Errorf("stored is %v", all)
	}
}

func TestPostHookRefused(t *testing.T) {
	t.Parallel()
	w := serveHooks(t, map[string]api.Hook{"github": webhook(t, "github", ingress.Mapping{})})
	r := w.do("POST", "/v1/hooks/github", pushBody, "X-GitHub-Event", "push")
	w.problem(r, http.StatusUnauthorized, fault.Unauthenticated)
	if r.header.Get("WWW-Authenticate") == "" {
		t.Error("401 without WWW-Authenticate")
	}
	w.problem(w.do("POST", "/v1/hooks/github", pushBody+" ", githubHeaders(pushBody)...), http.StatusUnauthorized, fault.Unauthenticated)
	w.problem(w.do("POST", "/v1/hooks/github", `{`, githubHeaders(`{`)...), http.StatusBadRequest, fault.Invalid)
	if len(w.stored()) != 0 || len(letters(t, w)) != 0 {
		t.Error("something was stored")
	}
	if strings.Contains(w.log.String(), hookSecret) {
		t.Error("the log shows the secret")
	}
}

func letters(t *testing.T, w *world) []delivery.Letter {
	t.Helper()
	var all []delivery.Letter
	for l, err := range w.bus.DeadLetters().List(t.Context(), bus.LetterFilter{}) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, l)
	}
	return all
}

func TestQuarantine(t *testing.T) {
	t.Parallel()
	w := serveHooks(t, map[string]api.Hook{"github": webhook(t, "github", ingress.Mapping{Subject: "body.sender.nickname"})})
	p := w.problem(w.do("POST", "/v1/hooks/github", pushBody, append(githubHeaders(pushBody), "Authorization", "Bearer hunter2")...), http.StatusBadRequest, fault.Invalid)
	if !strings.Contains(p.Detail, "nickname") || !strings.Contains(p.Hint, "dead letter") {
		t.Errorf("problem = %+v, want the missing key and where the delivery is kept", p)
	}
	kept := letters(t, w)
	if len(kept) != 1 {
		t.Fatalf("%d dead letters, want 1", len(kept))
	}
	l := kept[0]
	if l.Kind != delivery.KindSource || l.Name != "github" || l.Adapter != "webhook" || l.Node != "n1" || l.Bus != "default" ||
		l.Reason != delivery.ReasonMapping || string(l.Raw) != pushBody || l.Code != fault.Invalid || !strings.Contains(l.Error, "nickname") {
		t.Errorf("dead letter = %+v", l)
	}
	if h := http.Header(l.Header); h.Get("X-Github-Event") != "push" || strings.Contains(fmt.Sprint(h), "hunter2") {
		t.Errorf("dead letter has headers %v, want the event and no authorization", h)
	}
	if len(w.stored()) != 0 {
		t.Error("a signal was stored")
	}
}

func TestSlackChallenge(t *testing.T) {
	t.Parallel()
	w := serveHooks(t, map[string]api.Hook{"slack": webhook(t, "slack", ingress.Mapping{})})
	body := `{"type":"url_verification","challenge":"c-1"}`
	now := fmt.Sprint(time.Now().Unix())
	r := w.do("POST", "/v1/hooks/slack", body, "Content-Type", "application/json",
		"X-Slack-Request-Timestamp", now, "X-Slack-Signature", "v0="+sign("v0:", now, ":", body))
	if r.status != http.StatusOK || r.body != `{"challenge":"c-1"}` || r.header.Get("Content-Type") != "application/json" {
		t.Errorf("POST = %d %s %s", r.status, r.header.Get("Content-Type"), r.body)
	}
	if len(w.stored()) != 0 {
		t.Error("a signal was stored")
	}
}

func TestHookResults(t *testing.T) {
	t.Parallel()
	s := func(id string) *signal.Signal { return &signal.Signal{ID: id, Source: "/x", Type: "a.b"} }
	bad := &signal.Signal{ID: "bad", Source: "/x", Type: "a..b"}
	w := serveHooks(t, map[string]api.Hook{
		"none":  {Receiver: constant(nil)},
		"two":   {Receiver: constant([]*signal.Signal{s("1"), s("2")})},
		"bad":   {Receiver: constant([]*signal.Signal{s("3"), bad})},
		"other": {Receiver: constant([]*signal.Signal{s("4")}), Bus: "elsewhere"},
	})
	if r := w.do("POST", "/v1/hooks/none", ""); r.status != http.StatusAccepted || r.body != "[]\n" {
		t.Errorf("POST to a source without signals = %d %q", r.status, r.body)
	}
	if r := w.do("POST", "/v1/hooks/two", ""); r.status != http.StatusAccepted || !strings.HasPrefix(r.body, `[{"id":"1"`) {
		t.Errorf("POST to a source of two = %d %q", r.status, r.body)
	}
	w.problem(w.do("POST", "/v1/hooks/bad", ""), http.StatusBadRequest, fault.Invalid)
	w.problem(w.do("POST", "/v1/hooks/other", ""), http.StatusNotFound, fault.NotFound)
	if n := len(w.stored()); n != 2 {
		t.Errorf("%d signals are stored, want 2", n)
	}
}
