package secret_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/secret"
)

func TestResolve(t *testing.T) {
	t.Setenv("SECRET_TEST_SET", "s3cr3t")
	t.Setenv("SECRET_TEST_EMPTY", "")
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for _, tt := range []struct {
		ref  string
		want string
		code fault.Code
	}{
		{"env:SECRET_TEST_SET", "s3cr3t", ""},
		{"env:SECRET_TEST_EMPTY", "", fault.Invalid},
		{"env:SECRET_TEST_UNSET", "", fault.NotFound},
		{"file:" + write("plain", "abc"), "abc", ""},
		{"file:" + write("newline", "abc\n"), "abc", ""},
		{"file:" + write("crlf", "abc\r\n"), "abc", ""},
		{"file:" + write("two", "abc\n\n"), "abc\n", ""},
		{"file:" + write("empty", "\n"), "", fault.Invalid},
		{"file:" + write("large", strings.Repeat("x", secret.MaxSize+1)), "", fault.TooLarge},
		{"file:" + filepath.Join(dir, "none"), "", fault.NotFound},
		{"file:" + dir, "", fault.Internal},
		{"", "", fault.Invalid},
		{"hunter2", "", fault.Invalid},
	} {
		got, err := secret.Ref(tt.ref).Resolve()
		if got != tt.want || fault.CodeOf(err) != tt.code {
			t.Errorf("Resolve(%s) = %q, %v, want %q and code %q", tt.ref, got, err, tt.want, tt.code)
		}
	}
}

func TestNoMisplacedSecretIsShown(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"hunter2", "hunter2:x", "vault:hunter2", "env:a=hunter2", "file:hunter2", "ENV:hunter2", "env: hunter2"} {
		r, err := secret.Parse(text)
		if !fault.Is(err, fault.Invalid) || fault.HintOf(err) == "" {
			t.Errorf("Parse(%s) = %v, want an invalid error with a hint", text, err)
		}
		_, resolved := r.Resolve()
		_, marshaled := json.Marshal(r)
		shown := fmt.Sprintf("%v %s %q %#v %x %d %+v %v %v %v %v %v", r, r, r, r, r, r, r, []secret.Ref{r}, struct{ R secret.Ref }{r}, err, resolved, marshaled)
		if strings.Contains(shown, "hunter2") || strings.Contains(shown, "68756e74") {
			t.Errorf("the text %q is shown: %s", text, shown)
		}
	}
}

func TestRefText(t *testing.T) {
	t.Parallel()
	var got struct{ A, B secret.Ref }
	if err := json.Unmarshal([]byte(`{"A":"env:HOOK","B":""}`), &got); err != nil || got.A != "env:HOOK" || !got.B.IsZero() {
		t.Errorf("Unmarshal = %v, %v", got, err)
	}
	if b, err := json.Marshal(got); err != nil || string(b) != `{"A":"env:HOOK","B":""}` {
		t.Errorf("Marshal = %s, %v", b, err)
	}
	if got := fmt.Sprintf("%v %q %#v", got.A, got.A, got.A); got != `env:HOOK "env:HOOK" secret.Ref("env:HOOK")` {
		t.Errorf("formatted: %s", got)
	}
}

func TestRedact(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		in      string
		secrets []string
		want    string
	}{
		{"token abc failed", []string{"abc"}, "token [redacted] failed"},
		{"abcdef abc", []string{"abc", "abcdef"}, "[redacted] [redacted]"},
		{"k=a%2Fb%3D+c", []string{"a/b= c"}, "k=[redacted]"},
		{"nothing", []string{""}, "nothing"},
		{"nothing", nil, "nothing"},
	} {
		if got := secret.Redact(tt.in, tt.secrets...); got != tt.want {
			t.Errorf("Redact(%q, %q) = %q, want %q", tt.in, tt.secrets, got, tt.want)
		}
	}
}

func TestURL(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"http://a/b?c=d#e":                          "http://a/b?c=d#e",
		"http://user:pw@a/b":                        "http://xxxxx@a/b",
		"http://token@a/b":                          "http://xxxxx@a/b",
		"nats://u:p@h:4222":                         "nats://xxxxx@h:4222",
		"http://a?x=1&access_token=t&y=%20":         "http://a?x=1&access_token=xxxxx&y=%20",
		"http://a?X-Amz-Signature=t&key=&tok%65n=x": "http://a?X-Amz-Signature=xxxxx&key=&tok%65n=xxxxx",
		"http://a?apiKey=t&monkeys=1":               "http://a?apiKey=xxxxx&monkeys=1",
		"http://a/#access_token=t":                  "http://a/#xxxxx",
		"http://a\x00:pw@b":                         "[redacted]",
	} {
		if got := secret.URL(in); got != want {
			t.Errorf("URL(%q) = %q, want %q", in, got, want)
		}
	}
}

func ExampleRef() {
	ref, err := secret.Parse("hunter2")
	fmt.Println(ref, "/", err)
	fmt.Println(fault.HintOf(err))
	// Output:
	// [redacted] / not a secret reference (the value is not shown)
	// name the place of the secret, env:NAME or file:/path, not the secret
}
