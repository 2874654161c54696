package expr_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/signalmesh/signalmesh/pkg/expr"
)

func input(tb testing.TB, body string) expr.Input {
	tb.Helper()
	v, err := expr.DecodeJSON([]byte(body))
	if err != nil {
		tb.Fatal(err)
	}
	return expr.Input{Body: v, Headers: map[string]string{"x-github-event": "issues"}, Query: map[string]string{"q": "1"}}
}

func TestMappingString(t *testing.T) {
	t.Parallel()
	in := input(t, `{"action":"opened","id":9007199254740993,"ok":true,"f":1.5,"sender":{"login":"bob"},"repository":{"full_name":"a/b"},"nothing":null}`)
	const event = `'github.' + headers['x-github-event'] + (has(body.action) ? '.' + body.action : '')`
	for _, tt := range []struct {
		src  string
		in   expr.Input
		want string
		err  string
	}{
		{event, in, "github.issues.opened", ""},
		{event, input(t, `{}`), "github.issues", ""},
		{`'/github/' + body.repository.full_name`, in, "/github/a/b", ""},
		{`string(body.sender.login)`, in, "bob", ""},
		{`string(body.id)`, in, "9007199254740993", ""},
		{`body.id`, in, "9007199254740993", ""},
		{`body.ok`, in, "true", ""},
		{`query.q + headers['x-github-event']`, in, "1issues", ""},
		{`string(body.id)`, expr.Input{Body: map[string]any{"id": float64(1234567890)}}, "1234567890", ""},
		{`body`, expr.Input{Body: "plain"}, "plain", ""},
		{`body.f`, in, "", "the expression gives a double, want a string"},
		{`body.sender`, in, "", "the expression gives a map, want a string"},
		{`body.nothing`, in, "", "the expression gives null, want a string"},
		{`body`, expr.Input{}, "", "the expression gives null, want a string"},
		{`body.nope`, in, "", "there is no body.nope; guard it with has(body.nope)"},
		{`headers['x-none']`, in, "", `there is no headers.x-none; guard it with "x-none" in headers`},
		{`query.none`, in, "", `there is no query.none; guard it with "none" in query`},
	} {
		m, err := expr.CompileMapping(tt.src)
		if err != nil {
			t.Errorf("CompileMapping(%s): %v", tt.src, err)
			continue
		}
		got, err := m.String(tt.in)
		text := ""
		if err != nil {
			text = err.Error()
		}
		if got != tt.want || text != tt.err {
			t.Errorf("String(%s) = %q, %v, want %q, %s", tt.src, got, err, tt.want, tt.err)
		}
		if m.Source() != tt.src {
			t.Errorf("Source() = %q, want %q", m.Source(), tt.src)
		}
	}
}

func TestMappingValue(t *testing.T) {
	t.Parallel()
	m, err := expr.CompileMapping(`{'id': body.id, 'list': [1, 2.5, true, null, 'x', body.big], 'at': timestamp('2026-01-02T03:04:05Z'), 'for': duration('5s'), 'none': optional.none(), 'b': b'x'}`)
	if err != nil {
		t.Fatal(err)
	}
	got, err := m.Value(input(t, `{"id":7,"big":18446744073709551615}`))
	want := map[string]any{
		"id": int64(7), "list": []any{int64(1), 2.5, true, nil, "x", uint64(18446744073709551615)},
		"at": time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), "for": 5 * time.Second, "none": nil, "b": []byte("x"),
	}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("Value: %v (-want +got):\n%s", err, diff)
	}
	for src, want := range map[string]string{
		`{1: 2}`: "the expression gives a map with an int as a key",
		`int`:    "the expression gives a type, which is not a plain value",
	} {
		m, err := expr.CompileMapping(src)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := m.Value(expr.Input{}); err == nil || err.Error() != want {
			t.Errorf("Value(%s) = %v, want %s", src, err, want)
		}
	}
}

func TestMappingHasNoSignal(t *testing.T) {
	t.Parallel()
	_, err := expr.CompileMapping("signal.type")
	want := "1:1: signal is not known here; what was sent is body.signal\n | signal.type\n | ^"
	if err == nil || err.Error() != want {
		t.Errorf("CompileMapping(signal.type) = %v, want %s", err, want)
	}
}

func ExampleMapping() {
	m, err := expr.CompileMapping(`'github.' + headers['x-github-event'] + (has(body.action) ? '.' + body.action : '')`)
	if err != nil {
		fmt.Println(err)
		return
	}
	body, err := expr.DecodeJSON([]byte(`{"action": "opened"}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(m.String(expr.Input{Body: body, Headers: map[string]string{"x-github-event": "issues"}}))
	// Output: github.issues.opened <nil>
}
