package plug_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/internal/plug"
	"github.com/signalmesh/signalmesh/pkg/secret"
)

type base struct {
	Timeout time.Duration `json:"timeout" default:"5s" max:"1m" doc:"time for one attempt"`
}

type endpoint struct {
	base
	URL     string            `json:"url" required:"true" doc:"where to"`
	Method  string            `json:"method" default:"POST" enum:"GET|POST|PUT"`
	Headers map[string]string `json:"headers"`
	Retries int               `json:"retries" default:"3" min:"0" max:"10"`
	Ratio   float64           `json:"ratio" min:"0" max:"1"`
	Body    plug.Size         `json:"body" default:"1MiB" max:"10MiB"`
	Secret  secret.Ref        `json:"secret"`
	Allow   []netip.Prefix    `json:"allow"`
	Tags    []string          `json:"tags" single:"true" max:"3"`
	Steps   []string          `json:"steps" single:"read"`
	On      bool              `json:"on"`
	TLS     *tlsOptions       `json:"tls"`
	Limits  limits            `json:"limits"`
	Raw     plug.Node         `json:"raw"`
	Any     any               `json:"any"`
	Modes   []string          `json:"modes" enum:"a|b" default:"[a]"`
	Port    uint16            `json:"port"`
}

type tlsOptions struct {
	CA string `json:"ca" required:"true"`
}

type limits struct {
	Low  int `json:"low" default:"1"`
	High int `json:"high" default:"9"`
}

func (l limits) Validate() error {
	if l.Low > l.High {
		return errors.Join(plug.At(errLow, "low"), fmt.Errorf("low is above high"))
	}
	return nil
}

var errLow = errors.New("too high")

func decode(t *testing.T, doc string) (endpoint, error) {
	t.Helper()
	n, err := plug.Parse([]byte(doc), "x.yaml")
	if err != nil {
		return endpoint{}, err
	}
	var e endpoint
	err = n.Decode(&e)
	return e, err
}

func TestDecode(t *testing.T) {
	t.Parallel()
	got, err := decode(t, `
url: http://a/b
timeout: 1m
headers: {X-Team: ops}
ratio: 1e-1
body: 2MB
secret: env:HOOK
allow: [10.0.0.0/8]
tags: one
on: true
tls: {ca: /ca.pem}
limits: {low: 2}
steps: one
any: {a: [1, 2.5, x, null, true]}
port: 0x1F90
`)
	if err != nil {
		t.Fatal(err)
	}
	want := endpoint{
		base: base{Timeout: time.Minute}, URL: "http://a/b", Method: "POST", Headers: map[string]string{"X-Team": "ops"},
		Retries: 3, Ratio: 0.1, Body: 2_000_000, Secret: "env:HOOK", Allow: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")},
		Tags: []string{"one"}, Steps: []string{"one"}, On: true, TLS: &tlsOptions{CA: "/ca.pem"}, Limits: limits{2, 9},
		Any: map[string]any{"a": []any{int64(1), 2.5, "x", nil, true}}, Modes: []string{"a"}, Port: 8080,
	}
	opts := cmp.Options{
		cmp.AllowUnexported(endpoint{}), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
		cmp.Comparer(func(a, b plug.Node) bool { return a.IsZero() == b.IsZero() }),
	}
	if diff := cmp.Diff(want, got, opts); diff != "" {
		t.Errorf("Decode (-want +got):\n%s", diff)
	}
}

func TestDecodeProblems(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, doc, want string }{
		{"unknown key", "url: a\ntimeuot: 1s", `x.yaml:2: timeuot: unknown key, did you mean "timeout"?`},
		{"unknown key, other spelling", "url: a\nT-i-m-e-o-u-t: 1s", `x.yaml:2: T-i-m-e-o-u-t: unknown key, did you mean "timeout"?`},
		{"unknown key, nothing close", "url: a\ntls: {ca: x, zzz: 1}", "x.yaml:2: tls.zzz: unknown key; the keys here are ca"},
		{"repeated key", "url: a\nurl: b", "x.yaml:2: url: the key is repeated, first on line 1"},
		{"missing", "timeout: 1s", "x.yaml:1: url: required, but missing (where to)"},
		{"null", "url:", "x.yaml:1: url: required, but missing (where to)"},
		{"empty", `url: ""`, "x.yaml:1: url: required, but empty"},
		{"missing below", "url: a\ntls: {}", "x.yaml:2: tls.ca: required, but missing"},
		{"enum", "url: a\nmethod: PSOT", `x.yaml:2: method: "PSOT" is not one of GET, POST, PUT; did you mean "POST"?`},
		{"enum in list", "url: a\nmodes: [a, zz]", `x.yaml:2: modes[1]: "zz" is not one of a, b`},
		{"number for text", "url: 5", "x.yaml:1: url: expected a string, found the number 5; put it in quotes"},
		{"bool for text", "url: a\nheaders: {a: true}", "x.yaml:2: headers.a: expected a string, found true; put it in quotes"},
		{"odd map key", "url: a\nheaders: {a.b: 1}", `x.yaml:2: headers["a.b"]: expected a string, found the number 1; put it in quotes`},
		{"text for number", "url: a\nretries: many", "x.yaml:2: retries: expected a whole number, found a string"},
		{"fraction", "url: a\nretries: 1.5", "x.yaml:2: retries: expected a whole number, found the number 1.5"},
		{"bounds", "url: a\nretries: 11", "x.yaml:2: retries: 11 is out of bounds, expected 0 to 10"},
		{"bounds of the type", "url: a\nport: 65536", "x.yaml:2: port: 65536 is out of bounds, expected 0 to 65535"},
		{"huge number", "url: a\nport: 99999999999999999999999", "x.yaml:2: port: 99999999999999999999999 is out of bounds, expected 0 to 65535"},
		{"bounds of a fraction", "url: a\nratio: 1.5", "x.yaml:2: ratio: 1.5 is out of bounds, expected at most 1"},
		{"not a number", "url: a\nratio: .nan", "x.yaml:2: ratio: expected a finite number, found .nan"},
		{"duration without unit", "url: a\ntimeout: 5", "x.yaml:2: timeout: expected a duration, found the number 5; write the unit, such as 5s"},
		{"duration", "url: a\ntimeout: soon", `x.yaml:2: timeout: expected a duration such as 500ms, 5s or 7d, found "soon"`},
		{"negative duration", "url: a\ntimeout: -1s", "x.yaml:2: timeout: -1s is out of bounds, expected at least 0s"},
		{"long duration", "url: a\ntimeout: 2m", "x.yaml:2: timeout: 2m is out of bounds, expected at most 1m"},
		{"size", "url: a\nbody: 1XB", `x.yaml:2: body: expected a size such as 512KiB or 10MB, found "1XB"`},
		{"large size", "url: a\nbody: 1GB", "x.yaml:2: body: 1GB is out of bounds, expected at most 10MiB"},
		{"prefix", "url: a\nallow: [10.0.0.0]", `x.yaml:2: allow[0]: expected a range of addresses such as 10.0.0.0/8 or ::1/128, found "10.0.0.0"`},
		{"secret", "url: a\nsecret: hunter2", "x.yaml:2: secret: not a secret reference (the value is not shown); name the place of the secret, env:NAME or file:/path, not the secret"},
		{"number as secret", "url: a\nsecret: 424242", "x.yaml:2: secret: expected env:NAME or file:/path, found a number"},
		{"list for map", "url: a\nheaders: [a]", "x.yaml:2: headers: expected a map, found a list"},
		{"scalar for list", "url: a\nallow: a", "x.yaml:2: allow: expected a list, found a string"},
		{"scalar for struct", "url: a\ntls: a", "x.yaml:2: tls: expected a map, found a string"},
		{"long list", "url: a\ntags: [a, b, c, d]", "x.yaml:2: tags: expected at most 3, found 4"},
		{"hole in a list", "url: a\ntags: [a, ]\nallow:\n-\n", "x.yaml:4: allow[0]: an empty list element"},
		{"bool", "url: a\non: yes", "x.yaml:2: on: expected true or false, found a string"},
		{"validate", "url: a\nlimits: {low: 10}", "x.yaml:2: limits.low: too high\nx.yaml:2: limits: low is above high"},
		{"validate beside others", "url: 5\nlimits: {low: 10, high: x}\n", "x.yaml:1: url: expected a string, found the number 5; put it in quotes\n" +
			"x.yaml:2: limits.high: expected a whole number, found a string\nx.yaml:2: limits.low: too high"},
		{"several documents", "url: a\n---\nurl: b", "x.yaml:3: expected one document, found 2 separated by ---"},
		{"syntax", "url: a\n  b: c", "x.yaml:2: mapping values are not allowed in this context"},
		{"tab", "url: a\ntls:\n\tca: b", "x.yaml:3: found character that cannot start any token (indent with spaces, not tabs; put text that begins with @, ` or % in quotes)"},
		{"tag", "url: !x a", "x.yaml:1: url: the tag !x is not supported"},
		{"several", "timeout: 1\nmethod: X\nzzzzz: 1", "x.yaml:1: timeout: expected a duration, found the number 1; write the unit, such as 1s\n" +
			"x.yaml:1: url: required, but missing (where to)\n" +
			"x.yaml:2: method: \"X\" is not one of GET, POST, PUT\n" +
			"x.yaml:3: zzzzz: unknown key"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := decode(t, tt.doc)
			if err == nil {
				t.Fatalf("Decode(%q) = nil, want %s", tt.doc, tt.want)
			}
			if !fault.Is(err, fault.Invalid) {
				t.Errorf("code = %s, want invalid", fault.CodeOf(err))
			}
			if err.Error() != tt.want {
				t.Errorf("Decode(%q):\n%v\nwant:\n%s", tt.doc, err, tt.want)
			}
		})
	}
}

func TestProblemsKeepCauses(t *testing.T) {
	t.Parallel()
	_, err := decode(t, "url: a\nlimits: {low: 10}")
	if !errors.Is(err, errLow) {
		t.Errorf("errors.Is(err, errLow) = false, want true")
	}
	ps := plug.Problems(err)
	if len(ps) != 2 || ps[0].Path != "limits.low" || ps[0].Line != 2 || ps[0].File != "x.yaml" {
		t.Errorf("Problems = %+v", ps)
	}
	if got := plug.Problems(io.EOF); len(got) != 1 || got[0].Text != "EOF" {
		t.Errorf("Problems(EOF) = %+v", got)
	}
	if err := plug.Join(nil, nil); err != nil {
		t.Errorf("Join(nil, nil) = %v, want nil", err)
	}
}

// described is a struct that is decoded by its fields although it has UnmarshalJSON, which
// is written with Decode.
type described struct {
	A int `json:"a" doc:"a number"`
}

func (d *described) UnmarshalJSON(data []byte) error {
	n, err := plug.FromJSON(data, "")
	if err != nil {
		return err
	}
	return n.Decode(d)
}

func TestStructsWithUnmarshalJSON(t *testing.T) {
	t.Parallel()
	var outer struct {
		List []described `json:"list"`
	}
	n, err := plug.Parse([]byte("list:\n- {a: 1}\n- {b: 1}"), "x.yaml")
	if err != nil {
		t.Fatal(err)
	}
	want := "x.yaml:3: list[1].b: unknown key, did you mean \"a\"?"
	if err := n.Decode(&outer); err == nil || err.Error() != want {
		t.Errorf("Decode = %v, want %s", err, want)
	}
	if err := json.Unmarshal([]byte(`[{"a":2}]`), &outer.List); err != nil || outer.List[0].A != 2 {
		t.Errorf("Unmarshal = %v, %v", outer.List, err)
	}
	if got := plug.Fields(outer); len(got) != 2 || got[1].Path != "list[].a" {
		t.Errorf("Fields = %+v", got)
	}
}

// What a Decoder or Validate reports is located, however it is wrapped.
func TestWrap(t *testing.T) {
	t.Parallel()
	n, err := plug.Parse([]byte("a:\n  b:\n  - x\n  - y\n"), "x.yaml")
	if err != nil {
		t.Fatal(err)
	}
	inner, err := plug.FromJSON([]byte(`{"c":1}`), "")
	if err != nil {
		t.Fatal(err)
	}
	joined := errors.Join(plug.At(errLow, "a", "b", "1"), plug.At(io.EOF, "a", "zz"), inner.Field("c").Errorf("odd"))
	for _, err := range []error{joined, fault.Wrap(fault.Invalid, joined), fault.Permanent(fault.Wrap(fault.Invalid, joined))} {
		got := n.Wrap(err)
		want := "x.yaml:1: c: odd\nx.yaml:2: a.zz: EOF\nx.yaml:4: a.b[1]: too high"
		if got == nil || got.Error() != want || !errors.Is(got, errLow) || !errors.Is(got, io.EOF) {
			t.Errorf("Wrap(%v):\n%v\nwant:\n%s", err, got, want)
		}
	}
	got := n.Field("a").Wrap(fault.Hint(io.EOF, "read on"))
	if want := "x.yaml:2: a: EOF; read on"; got == nil || got.Error() != want {
		t.Errorf("Wrap = %v, want %s", got, want)
	}
	if n.Wrap(nil) != nil {
		t.Error("Wrap(nil) is an error")
	}
}

func TestRawNodeKeepsItsPath(t *testing.T) {
	t.Parallel()
	e, err := decode(t, "url: a\nraw:\n  list:\n  - http: {url: 5, timeout: 9}")
	if err != nil {
		t.Fatal(err)
	}
	key, options, err := e.Raw.Field("list").Items()[0].Single()
	if err != nil || key != "http" {
		t.Fatalf("Single() = %q, %v", key, err)
	}
	var inner endpoint
	want := "x.yaml:4: raw.list[0].http.timeout: expected a duration, found the number 9; write the unit, such as 9s\n" +
		"x.yaml:4: raw.list[0].http.url: expected a string, found the number 5; put it in quotes"
	if err := options.Decode(&inner); err == nil || err.Error() != want {
		t.Errorf("Decode:\n%v\nwant:\n%s", err, want)
	}
}

func TestSingle(t *testing.T) {
	t.Parallel()
	for doc, want := range map[string]string{
		"http:\nurl: x":   `x.yaml:1: expected a map with one key, found 2: http, url; indent what belongs to "http"`,
		"{}":              "x.yaml:1: expected a map with one key, found an empty one",
		"http":            "x.yaml:1: expected a map with one key, found a string",
		"{a: 1, b: 2}":    "x.yaml:1: expected a map with one key, found 2: a, b",
		"console: {}":     "",
		"console:":        "",
		`{"console": {}}`: "",
	} {
		n, err := plug.Parse([]byte(doc), "x.yaml")
		if err != nil {
			t.Fatal(err)
		}
		key, _, err := n.Single()
		if want == "" && (err != nil || key != "console") || want != "" && (err == nil || err.Error() != want) {
			t.Errorf("Single(%q) = %q, %v, want %q", doc, key, err, want)
		}
	}
}

func TestAliasesAndMerges(t *testing.T) {
	t.Parallel()
	n, err := plug.Parse([]byte("a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\nc: *a\nd: {<<: [{z: 1}, *a]}"), "x.yaml")
	if err != nil {
		t.Fatal(err)
	}
	got, err := n.JSON()
	want := `{"a":{"x":1,"y":2},"b":{"x":1,"y":3},"c":{"x":1,"y":2},"d":{"x":1,"y":2,"z":1}}`
	if err != nil || string(got) != want {
		t.Errorf("JSON() = %s, %v, want %s", got, err, want)
	}
}

func TestHostileDocuments(t *testing.T) {
	t.Parallel()
	bomb := "a0: &a0 [x, x, x, x, x, x, x, x, x]\n"
	for i := range 9 {
		bomb += fmt.Sprintf("a%d: &a%d [%s]\n", i+1, i+1, strings.Repeat(fmt.Sprintf("*a%d, ", i), 9))
	}
	for name, doc := range map[string]string{
		"aliases of aliases": bomb,
		"a cycle":            "a: &a [*a, *a]",
		"a cycle of merges":  "a: &a {<<: *a}",
		"deep lists":         strings.Repeat("[", 5000) + strings.Repeat("]", 5000),
		"deep JSON":          strings.Repeat("[", 500) + strings.Repeat("]", 500),
		"bytes":              "\xff\xfe\x00",
	} {
		if _, err := plug.Parse([]byte(doc), "x"); !fault.Is(err, fault.Invalid) {
			t.Errorf("Parse(%s) = %v, want an invalid error", name, err)
		} else if len(err.Error()) > 10_000 {
			t.Errorf("Parse(%s): an error of %d bytes", name, len(err.Error()))
		}
	}
}

func TestJSON(t *testing.T) {
	t.Parallel()
	for doc, want := range map[string]string{
		"b: 1\na: [x, 1.50, true, null, 0x10, 1_000, 123456789012345678901234567890]": `{"a":["x",1.5,true,null,16,1000,123456789012345678901234567890],"b":1}`,
		`{"s":"\ud83d\ude00 <&>"}`: `{"s":"😀 <&>"}`,
		"d: 2026-01-02":            `{"d":"2026-01-02"}`,
		"on: off":                  `{"on":"off"}`,
		"":                         "null",
		"a: *x":                    "",
		"a: .inf":                  "",
	} {
		n, err := plug.Parse([]byte(doc), "x")
		var got []byte
		if err == nil {
			got, err = n.JSON()
		}
		if string(got) != want || (err == nil) != (want != "") {
			t.Errorf("JSON(%q) = %s, %v, want %s", doc, got, err, want)
		}
	}
}

func TestFromJSON(t *testing.T) {
	t.Parallel()
	for doc, want := range map[string]string{
		`{"a":1,` + "\n" + `"a":2}`: "x:2: a: the key is repeated, first on line 1",
		`{"a":`:                     "x:1: the JSON text ends too early",
		`{"a":1} 2`:                 "x:1: not JSON: expected one JSON value, found more after it",
		`{"a" 1}`:                   "x:1: not JSON: ",
	} {
		_, err := plug.FromJSON([]byte(doc), "x")
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("FromJSON(%s) = %v, want %s", doc, err, want)
		}
	}
}

func TestEncode(t *testing.T) {
	t.Parallel()
	got, err := plug.Encode(endpoint{
		base: base{Timeout: time.Minute}, URL: "a&b", Method: "POST", Retries: 0, Body: 2 << 20, Secret: "env:X",
		Tags: []string{"one"}, Steps: []string{"one"}, Modes: []string{"a"}, Limits: limits{1, 9}, Headers: map[string]string{"b": "2", "a": "1"},
		Allow: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")},
	})
	want := `{"timeout":"1m","url":"a&b","headers":{"a":"1","b":"2"},"retries":0,"body":"2MiB","secret":"env:X","allow":["10.0.0.0/8"],"tags":"one","steps":["one"]}`
	if err != nil || string(got) != want {
		t.Errorf("Encode = %s, %v\nwant %s", got, err, want)
	}
	if _, err := plug.Encode(endpoint{Secret: "hunter2"}); err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("Encode of a misplaced secret = %v, want an error that does not show it", err)
	}
}

func TestFields(t *testing.T) {
	t.Parallel()
	var got []string
	for _, f := range plug.Fields(endpoint{}) {
		got = append(got, strings.TrimRight(strings.Join([]string{f.Path, f.Type, f.Default, strings.Join(f.Enum, "|")}, " "), " "))
	}
	want := []string{
		"timeout duration 5s", "url string", "method string POST GET|POST|PUT", "headers map of strings", "retries integer 3",
		"ratio number", "body size 1MiB", "secret secret", "allow list of strings", "tags list of strings", "steps list of strings", "on bool",
		"tls map", "tls.ca string", "limits map", "limits.low integer 1", "limits.high integer 9", "raw any", "any any",
		"modes list of strings [a] a|b", "port integer",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Fields (-want +got):\n%s", diff)
	}
}

func TestUnits(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Duration{
		"5s": 5 * time.Second, "0": 0, "7d": 168 * time.Hour, "1d12h": 36 * time.Hour, "1w1d": 192 * time.Hour, "1.5d": 36 * time.Hour,
		"-1d": -24 * time.Hour, "-5ms": -5 * time.Millisecond, "0d": 0, "2562047h47m16.854775807s": 1<<63 - 1,
	} {
		if got, err := plug.ParseDuration(text); err != nil || got != want {
			t.Errorf("ParseDuration(%q) = %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "5", "d", "1d-2h", "999999999w", "1dd", "--1s"} {
		if got, err := plug.ParseDuration(text); err == nil {
			t.Errorf("ParseDuration(%q) = %v, want an error", text, got)
		}
	}
	for text, want := range map[string]plug.Size{"0": 0, "10MB": 1e7, "512KiB": 512 << 10, "1.5kB": 1500, "9223372036854775807": 1<<63 - 1, "10 B": 10, "1_000": 1000} {
		if got, err := plug.ParseSize(text); err != nil || got != want {
			t.Errorf("ParseSize(%q) = %d, %v, want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "MB", "9e18kB", "1XB", "NaNB"} {
		if got, err := plug.ParseSize(text); err == nil {
			t.Errorf("ParseSize(%q) = %d, want an error", text, got)
		}
	}
}
