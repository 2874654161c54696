package dispatch_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/signalmesh/signalmesh/pkg/dispatch"
	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/secret"
)

type testConfig struct {
	URL   string                `json:"url" required:"true" doc:"where to"`
	Level string                `json:"level" default:"info" enum:"info|debug" doc:"how much"`
	Keys  map[string]secret.Ref `json:"keys" doc:"secrets"`
	Auth  *struct {
		Tokens []secret.Ref `json:"tokens"`
	} `json:"auth" doc:"more secrets"`
}

func (c testConfig) Validate() error {
	if !strings.HasPrefix(c.URL, "https://") {
		return errors.New("url is not https")
	}
	return nil
}

func (c testConfig) Endpoint() string { return secret.URL(c.URL) }

func (c testConfig) Hosts() []string {
	host, _, _ := strings.Cut(strings.TrimPrefix(c.URL, "https://"), "/")
	return []string{host}
}

func openTest(_ context.Context, c testConfig, _ dispatch.Env) (dispatch.Adapter, error) {
	if c.URL == "https://broken" {
		return nil, fault.Newf(fault.Unavailable, "broken")
	}
	return replier{}, nil
}

// The tests of targets need one adapter in the registry that targets use.
func TestMain(m *testing.M) {
	dispatch.Register("test", openTest)
	dispatch.Register("test_noop", func(context.Context, struct{}, dispatch.Env) (dispatch.Adapter, error) { return replier{}, nil })
	os.Exit(m.Run())
}

func TestRegistryCheck(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, adapter, options string
		code                   fault.Code
		text                   string
	}{
		{"good", "test", `{"url":"https://a","level":"debug"}`, "", ""},
		{"no options", "test_noop", ``, "", ""},
		{"empty options", "test_noop", `{}`, "", ""},
		{"unknown adapter", "tset", `{}`, fault.NotFound, `no adapter is named "tset"`},
		{"missing", "test", `{}`, fault.Invalid, "test.url: required"},
		{"misspelt", "test", `{"url":"https://a","levle":"debug"}`, fault.Invalid, `did you mean "level"`},
		{"validate", "test", `{"url":"http://a"}`, fault.Invalid, "url is not https"},
		{"enum", "test", `{"url":"https://a","level":"loud"}`, fault.Invalid, "loud"},
		{"not an object", "test", `[1]`, fault.Invalid, "expected a map"},
		{"not JSON", "test", `{`, fault.Invalid, "options of test"},
		{"repeated key", "test", `{"url":"https://a","url":"https://b"}`, fault.Invalid, "repeated"},
		{"secret in the wrong place", "test", `{"url":"https://a","keys":{"x":"hunter2"}}`, fault.Invalid, "not a secret reference"},
	}
	for _, tt := range tests {
		err := dispatch.Check(tt.adapter, []byte(tt.options))
		if fault.CodeOf(err) != tt.code || err != nil && !strings.Contains(err.Error(), tt.text) {
			t.Errorf("%s: Check(%s, %s) = %v, want %q with %q", tt.name, tt.adapter, tt.options, err, tt.code, tt.text)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: the error shows the secret: %v", tt.name, err)
		}
	}
	err := dispatch.Check("tset", nil)
	if !strings.Contains(fault.HintOf(err), "test_noop") {
		t.Errorf("hint = %q, want the names of the adapters", fault.HintOf(err))
	}
}

func TestOpenRefusesReferencesOfCarriedTargets(t *testing.T) {
	t.Parallel()
	withRefs := []string{
		`{"url":"https://a","keys":{"x":"env:HOME"}}`,
		`{"url":"https://a","auth":{"tokens":["file:/etc/passwd"]}}`,
	}
	for _, options := range withRefs {
		if _, err := dispatch.Open(t.Context(), "test", []byte(options), dispatch.Env{}); !fault.Is(err, fault.Denied) || !fault.IsPermanent(err) {
			t.Errorf("Open(%s) = %v, want a permanent Denied", options, err)
		}
		if _, err := dispatch.Open(t.Context(), "test", []byte(options), dispatch.Env{AllowSecrets: true}); err != nil {
			t.Errorf("Open(%s, secrets allowed) = %v", options, err)
		}
	}
	if _, err := dispatch.Open(t.Context(), "test", []byte(`{"url":"https://a"}`), dispatch.Env{}); err != nil {
		t.Errorf("Open(no references) = %v", err)
	}
	if _, err := dispatch.Open(t.Context(), "test", []byte(`{"url":"https://broken"}`), dispatch.Env{}); !fault.Is(err, fault.Unavailable) || !strings.Contains(err.Error(), "open target test") {
		t.Errorf("Open(broken) = %v, want what open returned", err)
	}
}

func TestRegistryOfOnesOwn(t *testing.T) {
	t.Parallel()
	var r dispatch.Registry
	if len(r.Names()) != 0 {
		t.Error("the zero Registry is not empty")
	}
	dispatch.RegisterIn(&r, "b", openTest)
	dispatch.RegisterIn(&r, "a", openTest)
	if got := r.Names(); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("Names() = %v, want a, b", got)
	}
	fields, err := r.Fields("a")
	if err != nil || fields[0].Path != "url" || fields[0].Doc != "where to" || !fields[0].Required {
		t.Errorf("Fields(a) = %+v, %v, want url first", fields, err)
	}
	if _, err := r.Fields("c"); !fault.Is(err, fault.NotFound) {
		t.Errorf("Fields(c) = %v, want NotFound", err)
	}
	for _, name := range []string{"a", "", "A", "a-b", "9"} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("RegisterIn(%q) did not panic", name)
				}
			}()
			dispatch.RegisterIn(&r, name, openTest)
		}()
	}
}

func TestEnvDefaults(t *testing.T) {
	t.Parallel()
	var e dispatch.Env
	e.Logger().Info("dropped")
	if e.Out() != io.Writer(os.Stdout) {
		t.Error("Out() of the zero Env is not the standard output")
	}
	var b bytes.Buffer
	if (dispatch.Env{Stdout: &b}).Out() != io.Writer(&b) {
		t.Error("Out() is not Stdout")
	}
	if _, err := e.Connection(); !fault.Is(err, fault.Unavailable) {
		t.Errorf("Connection() = %v, want Unavailable", err)
	}
}
