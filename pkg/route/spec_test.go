package route_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/internal/plug"
	"github.com/signalmesh/signalmesh/pkg/route"
)

func TestParse(t *testing.T) {
	t.Parallel()
	all := specs(t, `
routes:
  - name: big-orders
    description: those that matter
    on: order.**
    when: signal.subject != "" && data.amount > 1000
    priority: 75
    retry: {max_attempts: 3, min: 200ms, max: 10s}
    to:
      - fake: {url: "http://a", secret: "env:HOOK"}
      - {name: crm, retry: {max_attempts: 9}, other: {url: "http://b"}}
      - fake: {url: "http://c"}
      - bare:
      - bare
  - {name: rest, default: true, to: {bare: {}}}
  - {name: many, bus: shop, on: [a.*, b.**], disabled: true, to: [bare: {}]}
`)
	if got, want := all[0].TargetNames(), []string{"fake", "crm", "fake-2", "bare", "bare-2"}; !cmp.Equal(got, want) {
		t.Errorf("TargetNames() = %v, want %v", got, want)
	}
	if got, ok := all[0].Target("crm"); !ok || got.Adapter != "other" || got.Retry.MaxAttempts != 9 {
		t.Errorf("Target(crm) = %v, %t", got, ok)
	}
	if _, ok := all[0].Target("nope"); ok {
		t.Errorf("Target(nope) is there")
	}
	want := []string{
		`{"name":"big-orders","description":"those that matter","on":"order.**","when":"signal.subject != \"\" && data.amount > 1000","priority":75,` +
			`"retry":{"max_attempts":3,"min":"200ms","max":"10s"},"to":[{"fake":{"secret":"env:HOOK","url":"http://a"}},` +
			`{"name":"crm","other":{"url":"http://b"},"retry":{"max_attempts":9}},{"fake":{"url":"http://c"}},{"bare":{}},{"bare":{}}]}`,
		`{"name":"rest","to":[{"bare":{}}],"default":true}`,
		`{"name":"many","bus":"shop","on":["a.*","b.**"],"to":[{"bare":{}}],"disabled":true}`,
	}
	for i, s := range all {
		got, err := s.MarshalJSON()
		if err != nil || string(got) != want[i] {
			t.Errorf("Marshal(%s) = %s, %v\nwant %s", s.Name, got, err, want[i])
		}
		var back route.Spec
		if err := json.Unmarshal(got, &back); err != nil || !back.Equal(s) {
			t.Errorf("Unmarshal(%s) = %+v, %v, want the same", got, back, err)
		}
	}
}

func TestParseProblems(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`{name: a, on: ["x..y"], to: [bare: {}]}`:                          "r.yaml:1: on[0]: pattern \"x..y\": segment 2",
		`{name: a, on: "x..y", to: [bare: {}]}`:                            "r.yaml:1: on: pattern \"x..y\": segment 2",
		`{name: "a b", on: x, to: [bare: {}]}`:                             `r.yaml:1: name: route name "a b": only letters`,
		`{name: a, to: [bare: {}]}`:                                        "r.yaml:1: on: required, but missing: a pattern such as order.**",
		`{name: a, on: x}`:                                                 "r.yaml:1: to: required, but missing (where signals go",
		`{name: a, on: x, to: []}`:                                         "r.yaml:1: to: required, but empty",
		`{name: a, on: [x, x], to: [bare: {}]}`:                            `r.yaml:1: on[1]: "x" is empty or repeated`,
		`{name: a, on: x, priority: 101, to: [bare: {}]}`:                  "r.yaml:1: priority: 101 is out of bounds, expected -100 to 100",
		`{name: a, on: x, when: "dat.x", to: [bare: {}]}`:                  "r.yaml:1: when: 1:1: dat is not known here (did you mean 'data'?)\n | dat.x\n | ^",
		`{name: a, on: x, to: {fake: {ulr: "x"}}}`:                         `r.yaml:1: to.fake.ulr: unknown key, did you mean "url"?`,
		`{name: a, on: x, to: {bare: {}, fake: {}}}`:                       "r.yaml:1: to: ",
		`{name: a, on: x, to: [fake: {ulr: "x"}]}`:                         `r.yaml:1: to[0].fake.ulr: unknown key, did you mean "url"?`,
		`{name: a, on: x, to: [nope: {}]}`:                                 `r.yaml:1: to[0]: no adapter is named "nope"; the adapters are bare, fake, other`,
		`{name: a, on: x, to: [{bare: {}, fake: {}}]}`:                     "r.yaml:1: to[0]: expected a map with one key, found 2: bare, fake",
		`{name: a, on: x, to: [{name: q, bare: {}}, {name: q, bare: {}}]}`: `r.yaml:1: to[1]: two targets are named "q"`,
		`{name: a, on: x, to: [{name: "q q", bare: {}}]}`:                  `r.yaml:1: to[0]: target name "q q": only letters`,
		`{name: a, on: x, to: [{retry: {max_attempts: -1}, bare: {}}]}`:    "r.yaml:1: to[0].retry: max_attempts -1 is negative",
		`{name: a, on: x, to: [fake: {url: x, secret: hunter2}]}`:          "r.yaml:1: to[0].fake.secret: not a secret reference (the value is not shown)",
		`{name: a, on: x, tp: [bare: {}]}`:                                 `r.yaml:1: tp: unknown key, did you mean "to"?`,
	} {
		n, err := plug.Parse([]byte(text), "r.yaml")
		if err != nil {
			t.Fatal(err)
		}
		_, err = route.Parse(n)
		if err == nil || !strings.Contains(err.Error(), want) || !fault.Is(err, fault.Invalid) {
			t.Errorf("Parse(%s) = %v\nwant %s", text, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("Parse(%s) shows the secret: %v", text, err)
		}
	}
}

func TestParseText(t *testing.T) {
	t.Parallel()
	one := "name: a\non: a\nto: [bare: {}]\n"
	for text, want := range map[string]int{
		one: 1, "[{name: a, on: a, to: [bare: {}]}]": 1, one + "---\nnode: {}\nroutes: [{name: b, on: a, to: [bare: {}]}]": 2, "": 0, "[]": 0,
		`{"routes": [{"name": "a", "on": "a", "to": [{"bare": {}}]}]}`: 1,
	} {
		got, err := route.ParseText([]byte(text), "r.yaml")
		if err != nil || len(got) != want {
			t.Errorf("ParseText(%q) = %v, %v, want %d routes", text, got, err, want)
		}
	}
	_, err := route.ParseText([]byte(one+"---\n"+one+"---\nname: c\nom: x\n"), "r.yaml")
	want := "r.yaml:5: name: another route is named \"a\", at r.yaml:1\n" +
		"r.yaml:9: to: required, but missing (where signals go, each {adapter: {options}})\n" +
		"r.yaml:9: on: required, but missing: a pattern such as order.** (or set default: true)\n" +
		"r.yaml:10: om: unknown key, did you mean \"on\"?"
	if err == nil || err.Error() != want {
		t.Errorf("ParseText:\n%v\nwant:\n%s", err, want)
	}
}

func ExampleParse() {
	n, err := plug.Parse([]byte(`
name: big-orders
on: order.**
when: data.amount >
to:
  - fake: {ulr: "http://127.0.0.1"}
`), "routes.yaml")
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = route.Parse(n)
	fmt.Println(err)
	// Output:
	// routes.yaml:4: when: 1:14: Syntax error: the expression ends too early
	//  | data.amount >
	//  | .............^
	// routes.yaml:6: to[0].fake.ulr: unknown key, did you mean "url"?
	// routes.yaml:6: to[0].fake.url: required, but missing
}
