package config_test

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	_ "github.com/signalmesh/signalmesh/pkg/adapter/std"
	"github.com/signalmesh/signalmesh/pkg/config"
	"github.com/signalmesh/signalmesh/pkg/dispatch"
	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/ingress"
	"github.com/signalmesh/signalmesh/pkg/internal/plug"
)

var update = flag.Bool("update", false, "write the golden files")

// folder is where the files are, which are shared with the commands' tests.
const folder = "../../testdata/config"

func files(t *testing.T, glob string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(folder, glob))
	if err != nil || len(found) == 0 {
		t.Fatalf("no files in %s (%v)", glob, err)
	}
	return found
}

func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got), -update writes it:\n%s", path, diff)
	}
}

// Good files, and all that they mean.
func TestGoodFiles(t *testing.T) {
	t.Parallel()
	for _, path := range files(t, "*.yaml") {
		t.Run(filepath.Base(path), func(t *testing.T) {
			t.Parallel()
			c, err := config.Load(nil, path)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, strings.TrimSuffix(path, ".yaml")+".golden", show(t, c))
		})
	}
}

// show writes a configuration for people, with what is not at its default.
func show(t *testing.T, c *config.Config) string {
	t.Helper()
	b, err := plug.Encode(c)
	if err != nil {
		t.Fatal(err)
	}
	n, err := plug.FromJSON(b, "")
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	for _, key := range n.Keys() {
		section := n.Field(key)
		if !section.IsList() {
			section = plug.List("", section)
		}
		for _, item := range section.Items() {
			b, err := item.JSON()
			if err != nil {
				t.Fatal(err)
			}
			out.WriteString(key + ": " + string(b) + "\n")
		}
	}
	return out.String()
}

// Bad files, and every word that is said about them.
func TestBadFiles(t *testing.T) {
	t.Parallel()
	for _, path := range files(t, "bad/*.yaml") {
		t.Run(filepath.Base(path), func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			_, err = config.Parse(text, filepath.Base(path))
			if !fault.Is(err, fault.Invalid) {
				t.Fatalf("Parse = %v, want an invalid error", err)
			}
			for _, secret := range []string{"hunter2", "4242424242"} {
				if strings.Contains(err.Error(), secret) {
					t.Errorf("the errors show a secret:\n%v", err)
				}
			}
			golden(t, strings.TrimSuffix(path, ".yaml")+".golden", err.Error()+"\n")
		})
	}
}

func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestLoadMerges(t *testing.T) {
	t.Parallel()
	base := write(t, "base.yaml", `
node: {name: one, data: /data}
http: {listen: 127.0.0.1:1, max_body: 2MiB}
routes: [{name: a, on: a, to: [noop: {}]}]
network: {allow: [10.0.0.0/8]}
`)
	site := write(t, "site.yaml", `
node: {name: two}
routes: [{name: b, on: b, to: [noop: {}]}]
network: {allow: [127.0.0.0/8]}
`)
	c, err := config.Load([]string{
		"SIGNALD_HTTP_LISTEN=127.0.0.1:2", "SIGNALD_NODE_NAME=3", "SIGNALD_NETWORK_ALLOW=::1/128, 10.9.0.0/16", "SIGNALD_NETWORK_EXPOSE=true",
		"SIGNALD_HTTP_MAX_HEADERS=64KiB", "SIGNALD_NATS_TOKEN=env:TOKEN", "SIGNALD_LOG_LEVEL=", "OTHER=x",
	}, base, site)
	if err != nil {
		t.Fatal(err)
	}
	want := `node: {"data":"/data","name":"3"}
nats: {"token":"env:TOKEN"}
http: {"listen":"127.0.0.1:2","max_body":"2MiB","max_headers":"64KiB"}
routes: {"name":"a","on":"a","to":[{"noop":{}}]}
routes: {"name":"b","on":"b","to":[{"noop":{}}]}
network: {"allow":["10.0.0.0/8","127.0.0.0/8","::1/128","10.9.0.0/16"],"expose":true}
`
	if diff := cmp.Diff(want, show(t, c)); diff != "" {
		t.Errorf("Load (-want +got):\n%s", diff)
	}
}

func TestLoadNamesBothPlaces(t *testing.T) {
	t.Parallel()
	one := write(t, "one.yaml", "routes:\n- {name: a, on: a, to: [noop: {}]}\n")
	two := write(t, "two.yaml", "routes:\n- {name: b, on: b, to: [noop: {}]}\n- name: a\n  on: c\n  to: [noop: {}]\n")
	_, err := config.Load(nil, one, two)
	want := filepath.ToSlash(two) + `:3: routes[2].name: another route is named "a", at ` + filepath.ToSlash(one) + ":2"
	if err == nil || err.Error() != want {
		t.Errorf("Load = %v\nwant %s", err, want)
	}
}

func TestEnvironmentProblems(t *testing.T) {
	t.Parallel()
	for entry, want := range map[string]string{
		"SIGNALD_HTP_LISTEN=x":             "SIGNALD_HTP_LISTEN: there is no such setting, did you mean SIGNALD_HTTP_LISTEN?",
		"SIGNALD_ROUTES=x":                 "SIGNALD_ROUTES: there is no such setting",
		"SIGNALD_HTTP_MAX_BODY=lots":       `SIGNALD_HTTP_MAX_BODY: http.max_body: expected a size such as 512KiB or 10MB, found "lots"`,
		"SIGNALD_NETWORK_EXPOSE=yes":       "SIGNALD_NETWORK_EXPOSE: network.expose: expected true or false, found a string",
		"SIGNALD_NATS_TOKEN=hunter2":       "SIGNALD_NATS_TOKEN: nats.token: not a secret reference (the value is not shown)",
		"SIGNALD_NATS_DURABILITY=sometime": `SIGNALD_NATS_DURABILITY: nats.durability: "sometime" is not one of sync, fast`,
		"SIGNALD_HTTP_LISTEN=0.0.0.0:80":   "SIGNALD_HTTP_LISTEN: http.listen: 0.0.0.0:80 can be reached from other hosts",
		"SIGNALD_NETWORK_ALLOW=10.0.0.0":   "SIGNALD_NETWORK_ALLOW: network.allow[0]: ",
	} {
		_, err := config.Load([]string{entry})
		if err == nil || !strings.HasPrefix(err.Error(), want) || !fault.Is(err, fault.Invalid) {
			t.Errorf("Load with %s: %v\nwant %s", entry, err, want)
		}
	}
}

func TestLoadFiles(t *testing.T) {
	t.Parallel()
	missing := filepath.Join(t.TempDir(), "none.yaml")
	if _, err := config.Load(nil, missing); !fault.Is(err, fault.NotFound) || !strings.Contains(err.Error(), "none.yaml") {
		t.Errorf("Load of a missing file = %v, want not found", err)
	}
	bad := write(t, "bad.yaml", "nodes: 1")
	if _, err := config.Load(nil, bad, missing); err == nil || len(plug.Problems(err)) != 1 {
		t.Errorf("Load of a missing file and a bad one = %v", err)
	}
	if c, err := config.Load(nil); err != nil || c.NATS.Listen != "127.0.0.1:4222" || c.Log.Level != "info" {
		t.Errorf("Load of nothing = %+v, %v, want the defaults", c, err)
	}
	if c, err := config.Load(nil, write(t, "empty.yaml", "# nothing\n")); err != nil || c.NATS.Listen != "127.0.0.1:4222" {
		t.Errorf("Load of an empty file = %+v, %v, want the defaults", c, err)
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"node: {data: /x}":                   "",
		"nats: {url: \"nats://a:4222\"}":     "",
		"http: {listen: 127.0.0.1:0}":        "node.data: required, but missing",
		"http: {listen: nonsense}":           "is not an address like 127.0.0.1:8080",
		"http: {listen: \"127.0.0.1:x\"}":    "is not an address like 127.0.0.1:8080",
		"http: {listen: \"localhost:8080\"}": "node.data: required, but missing",
		"http: {listen: \"[::1]:8080\"}":     "node.data: required, but missing",
	} {
		err := config.Check(nil, write(t, "c.yaml", text))
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("Check(%s) = %v, want %s", text, err, want)
		}
	}
}

func TestDev(t *testing.T) {
	t.Parallel()
	c, err := config.Load(nil)
	if err != nil {
		t.Fatal(err)
	}
	config.Dev(c)
	if err := c.Validate(); err != nil {
		t.Errorf("Validate = %v", err)
	}
	for _, r := range c.Routes {
		if err := r.Validate(); err != nil {
			t.Errorf("route %s: %v", r.Name, err)
		}
	}
}

// The reference names every key, so it can't fall behind.
func TestReference(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	if err := config.Reference(&b); err != nil {
		t.Fatal(err)
	}
	for _, name := range append(dispatch.Names(), ingress.Default.Names()...) {
		if !strings.Contains(b.String(), "\n### "+name+"\n") {
			t.Errorf("the reference lacks %s", name)
		}
	}
	for _, f := range plug.Fields(config.Config{}) {
		if f.Doc == "" {
			t.Errorf("the key %s is not explained", f.Path)
		}
		if !strings.Contains(b.String(), "| `"+f.Path+"` |") {
			t.Errorf("the reference lacks %s", f.Path)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, glob := range []string{"*.yaml", "bad/*.yaml"} {
		paths, err := filepath.Glob(filepath.Join(folder, glob))
		if err != nil || len(paths) == 0 {
			f.Fatalf("no files in %s (%v)", glob, err)
		}
		for _, path := range paths {
			text, err := os.ReadFile(path)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(text)
		}
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := config.Parse(text, "f.yaml")
		if err != nil || len(c.Sources) > 0 { // a source is only read
			return
		}
		b, err := plug.Encode(c)
		if err != nil {
			t.Fatalf("Encode: %v", err)
		}
		if _, err := config.Parse(b, "again"); err != nil {
			t.Errorf("Parse(%s) of what was encoded: %v", b, err)
		}
	})
}
