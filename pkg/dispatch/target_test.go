package dispatch_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/signalmesh/signalmesh/pkg/dispatch"
	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/internal/plug"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

func TestTargetFromDocument(t *testing.T) {
	t.Parallel()
	n, err := plug.Parse([]byte(`
to:
  - test: {url: "https://a/b?token=x", level: debug}
  - test_noop: {}
  - test_noop:
  - test_noop
  - later: {any: [1, two]}
`), "routes.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		To []dispatch.Target `json:"to"`
	}
	if err := n.Decode(&doc); err != nil {
		t.Fatal(err)
	}
	want := []dispatch.Target{
		{Adapter: "test", Options: []byte(`{"level":"debug","url":"https://a/b?token=x"}`)},
		{Adapter: "test_noop"},
		{Adapter: "test_noop"},
		{Adapter: "test_noop"},
		{Adapter: "later", Options: []byte(`{"any":[1,"two"]}`)},
	}
	if diff := cmp.Diff(want, doc.To); diff != "" {
		t.Errorf("targets (-want +got):\n%s", diff)
	}
	if got := doc.To[0].String(); got != "test https://a/b?token=xxxxx" {
		t.Errorf("String() = %q, want the redacted destination", got)
	}
	if got := doc.To[4].String(); got != "later" {
		t.Errorf("String(unknown adapter) = %q, want its name", got)
	}
	if err := doc.To[4].Check(); !fault.Is(err, fault.NotFound) {
		t.Errorf("Check(unknown adapter) = %v, want NotFound", err)
	}
	a, err := doc.To[0].Open(t.Context(), dispatch.Env{})
	if err != nil || dispatch.Endpoint(a) != "somewhere" {
		t.Errorf("Open() = %v, %v, want the adapter", a, err)
	}
}

func TestTargetProblemsAreLocated(t *testing.T) {
	t.Parallel()
	tests := []struct{ doc, want string }{
		{"to:\n- test: {url: \"https://a\",\n    levle: debug}", "r.yaml:3: to[0].test.levle"},
		{"to:\n- test: {}", "to[0].test.url: required"},
		{"to:\n- test", "required"},
		{"to:\n- test:", "required"},
		{"to:\n- {test: {}, noop: {}}", "one key"},
		{"to:\n- {}", "one key"},
		{"to:\n- test_noop: 5", "expected the options of test_noop as a map, found a number"},
		{"to:\n- [a]", "one key"},
	}
	for _, tt := range tests {
		n, err := plug.Parse([]byte(tt.doc), "r.yaml")
		if err != nil {
			t.Fatal(err)
		}
		var doc struct {
			To []dispatch.Target `json:"to"`
		}
		if err := n.Decode(&doc); !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("Decode(%q) = %v, want Invalid with %q", tt.doc, err, tt.want)
		}
	}
}

func TestTargetJSON(t *testing.T) {
	t.Parallel()
	for _, text := range []string{`{"test":{"url":"https://a"}}`, `{"test_noop":{}}`} {
		var target dispatch.Target
		if err := json.Unmarshal([]byte(text), &target); err != nil {
			t.Fatalf("Unmarshal(%s) = %v", text, err)
		}
		if out, err := json.Marshal(target); err != nil || string(out) != text {
			t.Errorf("Marshal() = %s, %v, want %s", out, err, text)
		}
	}
	for _, text := range []string{`null`, `[]`, `{}`, `{"A b":{}}`, `{"a":{},"b":{}}`, `{"a":{},"a":{}}`, `7`} {
		var target dispatch.Target
		if err := target.UnmarshalJSON([]byte(text)); err == nil {
			t.Errorf("UnmarshalJSON(%s) = nil, want an error", text)
		}
	}
	made, err := dispatch.NewTarget("test", testConfig{URL: "https://a", Level: "info"})
	if err != nil || string(made.Options) != `{"url":"https://a"}` {
		t.Errorf("NewTarget() = %s, %v, want only what is not default", made.Options, err)
	}
	if _, err := dispatch.NewTarget("test", map[string]string{"url": "https://a"}); err != nil {
		t.Errorf("NewTarget(map) = %v", err)
	}
	if !made.Equal(dispatch.Target{Adapter: "test", Options: []byte(` { "url" : "https://a" } `)}) {
		t.Error("Equal() = false for the same options in other words")
	}
	if made.Equal(dispatch.Target{Adapter: "test"}) || !(dispatch.Target{Options: []byte("{}")}).Equal(dispatch.Target{}) {
		t.Error("Equal() is wrong about empty options")
	}
}

func TestCarriedTargets(t *testing.T) {
	t.Parallel()
	s := newSignal(t)
	if got, err := dispatch.FromSignal(s); got != nil || err != nil {
		t.Errorf("FromSignal(none) = %v, %v, want nothing", got, err)
	}
	want := []dispatch.Target{{Adapter: "test", Options: []byte(`{"url":"https://a"}`)}, {Adapter: "test_noop"}}
	if err := dispatch.Attach(s, want...); err != nil {
		t.Fatal(err)
	}
	got, err := dispatch.FromSignal(s)
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("FromSignal() = %v (-want +got):\n%s", err, diff)
	}
	if err := s.Validate(); err != nil {
		t.Errorf("Validate() = %v", err)
	}
	if err := dispatch.Attach(s); err != nil || s.ExtString(signal.ExtDispatch) != "" {
		t.Errorf("Attach(none) = %v and leaves %q", err, s.ExtString(signal.ExtDispatch))
	}
	if err := dispatch.Attach(s, make([]dispatch.Target, dispatch.MaxCarried+1)...); !fault.Is(err, fault.TooLarge) {
		t.Errorf("Attach(too many) = %v, want TooLarge", err)
	}
}

func TestCarriedForms(t *testing.T) {
	t.Parallel()
	tests := []struct {
		text string
		want string
		code fault.Code
	}{
		{text: `{"test":{"url":"https://a"}}`, want: `[{"test":{"url":"https://a"}}]`},
		{text: `{"adapter":"test","opts":{"url":"https://a"}}`, want: `[{"test":{"url":"https://a"}}]`},
		{text: `[{"adapter":"test_noop"},{"test_noop":{}}]`, want: `[{"test_noop":{}},{"test_noop":{}}]`},
		{text: `{"adapter":{}}`, want: `[{"adapter":{}}]`}, // an adapter of that name
		{text: `[]`, want: `[]`},
		{text: `{"adapter":"test","options":{}}`, code: fault.Invalid},
		{text: `{"test":3}`, code: fault.Invalid},
		{text: `nonsense`, code: fault.Invalid},
		{text: `null`, code: fault.Invalid},
		{text: `["test"]`, code: fault.Invalid},
		{text: "[" + strings.Repeat(`{"a":{}},`, dispatch.MaxCarried) + `{"a":{}}]`, code: fault.TooLarge},
	}
	for _, tt := range tests {
		s := newSignal(t, signal.Ext(signal.ExtDispatch, tt.text))
		targets, err := dispatch.FromSignal(s)
		if fault.CodeOf(err) != tt.code {
			t.Errorf("FromSignal(%s) = %v, want code %q", tt.text, err, tt.code)
		}
		if err != nil {
			continue
		}
		if out, err := json.Marshal(targets); err != nil || string(out) != tt.want {
			t.Errorf("FromSignal(%s) = %s, want %s", tt.text, out, tt.want)
		}
	}
}

func TestPolicy(t *testing.T) {
	t.Parallel()
	at := func(url string) dispatch.Target {
		return dispatch.Target{Adapter: "test", Options: []byte(`{"url":"` + url + `"}`)}
	}
	hosts := dispatch.Policy{Allow: []string{"test", "test_noop"}, Hosts: []string{"*.Example.com", "hooks.test"}}
	tests := []struct {
		policy dispatch.Policy
		target dispatch.Target
		want   fault.Code
	}{
		{dispatch.Policy{}, dispatch.Target{Adapter: "test_noop"}, fault.Denied},
		{dispatch.Policy{Hosts: []string{"*"}}, at("https://a"), fault.Denied},
		{dispatch.Policy{Allow: []string{"test"}}, at("https://a"), ""},
		{dispatch.Policy{Allow: []string{"test"}}, at("http://a"), fault.Invalid},
		{dispatch.Policy{Allow: []string{"gone"}}, dispatch.Target{Adapter: "gone"}, fault.NotFound},
		{hosts, at("https://a.b.example.COM/x"), ""},
		{hosts, at("https://hooks.test./x"), ""},
		{hosts, at("https://example.com"), fault.Denied},
		{hosts, at("https://evil.test"), fault.Denied},
		{hosts, dispatch.Target{Adapter: "test_noop"}, ""},
	}
	for _, tt := range tests {
		err := tt.policy.Check(tt.target)
		if fault.CodeOf(err) != tt.want || err != nil && !fault.IsPermanent(err) {
			t.Errorf("%+v.Check(%s) = %v, want a permanent %q", tt.policy, tt.target, err, tt.want)
		}
	}
	if err := hosts.Validate(); err != nil {
		t.Errorf("Validate() = %v", err)
	}
	if err := (dispatch.Policy{Hosts: []string{"["}}).Validate(); !fault.Is(err, fault.Invalid) {
		t.Errorf("Validate([) = %v, want Invalid", err)
	}
}
