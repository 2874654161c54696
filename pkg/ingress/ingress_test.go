package ingress_test

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/ingress"
	"github.com/signalmesh/signalmesh/pkg/ingress/ingresstest"
	"github.com/signalmesh/signalmesh/pkg/internal/plug"
	"github.com/signalmesh/signalmesh/pkg/secret"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

// tokenOptions are those of a source made for these tests: a password in a header.
type tokenOptions struct {
	Secret secret.Ref `json:"secret" required:"true"`
}

func (tokenOptions) CheckMapping(m ingress.Mapping) error {
	if m.Type == "?" {
		return plug.At(fault.Newf(fault.Invalid, "not an expression"), "type")
	}
	return nil
}

func init() { ingress.Register("token", openToken) }

func openToken(_ context.Context, o tokenOptions, env ingress.Env) (ingress.Receiver, error) {
	token, err := o.Secret.Resolve()
	if err != nil {
		return nil, err
	}
	return ingress.ReceiverFunc(func(_ context.Context, r *ingress.Request) (ingress.Result, error) {
		if got := r.Header.Values("X-Token"); len(got) != 1 || subtle.ConstantTimeCompare([]byte(got[0]), []byte(token)) == 0 {
			return ingress.Result{}, fault.Newf(fault.Unauthenticated, "wrong token")
		}
		if err := signal.ValidJSON(r.Body); err != nil {
			return ingress.Result{}, err
		}
		s, err := signal.New(env.Name+".came", json.RawMessage(r.Body), signal.WithID(r.Header.Get("X-Id")))
		if err != nil {
			return ingress.Result{}, &ingress.Unmappable{ID: r.Header.Get("X-Id"), Err: err}
		}
		return ingress.Result{Signals: []*signal.Signal{s}}, nil
	}), nil
}

func TestSuite(t *testing.T) {
	t.Setenv("INGRESS_TEST_TOKEN", "open-sesame")
	request := func(id string) func([]byte, time.Time) *ingress.Request {
		return func(body []byte, at time.Time) *ingress.Request {
			return &ingress.Request{
				Header: http.Header{"X-Token": {"open-sesame"}, "X-Id": {id}}, Body: body, At: at,
			}
		}
	}
	ingresstest.Run(t, ingresstest.Suite{
		Spec:         ingress.Spec{Name: "door", Adapter: "token", Options: json.RawMessage(`{"secret":"env:INGRESS_TEST_TOKEN"}`)},
		Request:      request("d-1"),
		Body:         []byte(`{"a":1}`),
		Proof:        []string{"X-Token"},
		Secrets:      []string{"open-sesame"},
		BodyUnsigned: true,
		Unmappable: func(at time.Time) *ingress.Request {
			return request("line\nbreak")([]byte(`{}`), at)
		},
	})
}

func decode(t *testing.T, text string) ([]ingress.Spec, error) {
	t.Helper()
	n, err := plug.Parse([]byte(text), "s.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Sources []ingress.Spec `json:"sources"`
	}
	err = n.Decode(&file)
	return file.Sources, err
}

func TestSpecDecode(t *testing.T) {
	t.Parallel()
	got, err := decode(t, `
sources:
  - name: door
    token: {secret: "env:DOOR"}
    bus: shop
    type: "'a.b'"
    subject: body.x
`)
	if err != nil {
		t.Fatal(err)
	}
	want := []ingress.Spec{{
		Name: "door", Bus: "shop", Adapter: "token", Options: json.RawMessage(`{"secret":"env:DOOR"}`),
		Mapping: ingress.Mapping{Type: "'a.b'", Subject: "body.x"},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Decode differs (-want +got):\n%s", diff)
	}
}

func TestSpecDecodeProblems(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ text, want string }{
		"no adapter":         {"sources: [{name: a}]", "expected one source of"},
		"unknown adapter":    {"sources: [{name: a, tokn: {}}]", "s.yaml:1: sources[0].tokn: unknown key"},
		"unknown key beside": {"sources:\n- name: a\n  sorce: x\n  token: {secret: env:A}", "s.yaml:3: sources[0].sorce: unknown key"},
		"unknown option":     {"sources: [{name: a, token: {secret: env:A, sekret: 1}}]", `sources[0].token.sekret: unknown key, did you mean "secret"?`},
		"missing option":     {"sources: [{name: a, token: {}}]", "sources[0].token.secret"},
		"bad mapping":        {"sources:\n- name: a\n  token: {secret: env:A}\n  type: '?'", "s.yaml:4: sources[0].type: not an expression"},
		"bad name":           {"sources: [{name: a b, token: {secret: env:A}}]", "must be 1 to 64 of"},
		"no name":            {"sources: [{token: {secret: env:A}}]", "must be 1 to 64 of"},
		"bad bus":            {"sources: [{name: a, bus: '*', token: {secret: env:A}}]", "bus name"},
		"a misplaced secret": {"sources: [{name: a, token: {secret: hunter2}}]", "not a secret reference"},
		"not a map":          {"sources: [door]", "expected a map"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := decode(t, tt.text)
			if err == nil || !strings.Contains(err.Error(), tt.want) || !fault.Is(err, fault.Invalid) {
				t.Errorf("Decode = %v, want invalid with %q", err, tt.want)
			}
			if err != nil && strings.Contains(err.Error(), "hunter2") {
				t.Error("the error shows the secret")
			}
		})
	}
}

func TestRegistry(t *testing.T) {
	t.Parallel()
	r := new(ingress.Registry)
	ingress.RegisterIn(r, "token", openToken)
	if got := r.Names(); !slices.Equal(got, []string{"token"}) {
		t.Errorf("Names = %q, want token", got)
	}
	if fields, err := r.Fields("token"); err != nil || len(fields) != 1 || fields[0].Path != "secret" {
		t.Errorf("Fields(token) = %v, %v, want the secret", fields, err)
	}
	if _, err := r.Fields("nope"); !fault.Is(err, fault.Invalid) {
		t.Errorf("Fields(nope) = %v, want invalid", err)
	}
	tests := map[string]struct {
		spec ingress.Spec
		want fault.Code
	}{
		"unknown adapter":   {ingress.Spec{Name: "a", Adapter: "nope"}, fault.Invalid},
		"no name":           {ingress.Spec{Adapter: "token", Options: json.RawMessage(`{"secret":"env:A"}`)}, fault.Invalid},
		"options not JSON":  {ingress.Spec{Name: "a", Adapter: "token", Options: json.RawMessage(`{`)}, fault.Invalid},
		"bad mapping":       {ingress.Spec{Name: "a", Adapter: "token", Options: json.RawMessage(`{"secret":"env:A"}`), Mapping: ingress.Mapping{Type: "?"}}, fault.Invalid},
		"secret not in env": {ingress.Spec{Name: "a", Adapter: "token", Options: json.RawMessage(`{"secret":"env:NO_SUCH_VARIABLE_HERE"}`)}, fault.NotFound},
	}
	for name, tt := range tests {
		if _, err := r.Open(t.Context(), tt.spec, ingress.Env{}); !fault.Is(err, tt.want) {
			t.Errorf("%s: Open = %v (%s), want %s", name, err, fault.CodeOf(err), tt.want)
		}
	}
	if err := r.Check(tests["secret not in env"].spec); err != nil {
		t.Errorf("Check(well-formed spec) = %v, want nil: secrets are not looked up", err)
	}
}

func TestRegisterTwicePanics(t *testing.T) {
	t.Parallel()
	defer func() {
		if recover() == nil {
			t.Error("registering a name twice did not panic")
		}
	}()
	r := new(ingress.Registry)
	ingress.RegisterIn(r, "token", openToken)
	ingress.RegisterIn(r, "token", openToken)
}

func TestUnmappable(t *testing.T) {
	t.Parallel()
	cause := errors.New("no such key: action")
	err := error(&ingress.Unmappable{ID: "d-1", Err: cause})
	if !errors.Is(err, cause) || !fault.Is(err, fault.Invalid) {
		t.Errorf("Unmappable is %v (%s), want the cause, coded invalid", err, fault.CodeOf(err))
	}
	if got, want := err.Error(), `map delivery "d-1": no such key: action`; got != want {
		t.Errorf("Error = %q, want %q", got, want)
	}
	if got, want := (&ingress.Unmappable{Err: cause}).Error(), "map delivery: no such key: action"; got != want {
		t.Errorf("Error = %q, want %q", got, want)
	}
}

func TestIsPrivate(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]bool{
		"Authorization": true, "cookie": true, "X-Gitlab-Token": true, "X-Hub-Signature-256": true, "X-Api-Key": true,
		"Idempotency-Key": false, "X-GitHub-Event": false, "Content-Type": false, "webhook-id": false,
	} {
		if got := ingress.IsPrivate(name); got != want {
			t.Errorf("IsPrivate(%s) = %t, want %t", name, got, want)
		}
	}
}
