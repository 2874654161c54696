package expr_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/signalmesh/signalmesh/pkg/expr"
	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

func order(tb testing.TB, opts ...signal.Option) *signal.Signal {
	tb.Helper()
	s, err := signal.New("order.created", map[string]any{
		"amount": 1500.5, "count": 3, "price": 10, "big": uint64(1) << 63, "id": 9007199254740993,
		"user": map[string]any{"login": "bob"}, "tags": []string{"a", "b"}, "nothing": nil,
		"loop": make([]int, 200),
	}, append([]signal.Option{signal.From("/shop"), signal.Ext("tenant", "acme"), signal.Ext("tries", 3)}, opts...)...)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

func TestPredicate(t *testing.T) {
	t.Parallel()
	s := order(t, signal.At(time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)))
	for src, want := range map[string]bool{
		// numbers
		`data.amount > 1000`:                                true,
		`data.count == 3`:                                   true,
		`data.count == 3.0`:                                 true,
		`data.count < 3.5`:                                  true,
		`data.id == 9007199254740993`:                       true,
		`data.big == 9223372036854775808u`:                  true,
		`data.big > 9223372036854775807`:                    true,
		`data.price * 1.5 == 15.0`:                          true,
		`1.5 * data.price - data.count / 2 == 14`:           true,
		`1 + 1.5 == 2.5 && 3 / 1.5 == 2`:                    true,
		`data.count / 2 == 1`:                               true,
		`data.count / 2.0 == 1.5`:                           true,
		`data.amount + data.count == 1503.5`:                true,
		`data.count + data.amount > 1503`:                   true,
		`data.price in [10, 20]`:                            true,
		`-data.price == -10`:                                true,
		`data.count % 2 == 1`:                               true,
		`string(data.id) == '9007199254740993'`:             true,
		`data.user.login + '!' == 'bob!'`:                   true,
		`data.tags + ['c'] == ['a', 'b', 'c']`:              true,
		`duration('1m') + duration('1m') > duration('90s')`: true,
		// attributes
		`signal.type.startsWith('order.')`:                        true,
		`signal.source == '/shop' && signal.specversion == '1.0'`: true,
		`signal.subject == ''`:                                    true,
		`has(signal.subject)`:                                     false,
		`has(signal.type) && has(signal.time)`:                    true,
		`signal.tenant == 'acme' && signal.tries == 3`:            true,
		`has(signal.nothere)`:                                     false,
		`has(signal.nothere) && signal.nothere == 'x'`:            false,
		`signal.time > timestamp('2026-01-01T00:00:00Z')`:         true,
		`signal.time.getMonth() == 4`:                             true,
		`signal.datacontenttype == '' || signal.dataschema == ''`: true,
		`signal.id.size() > 10`:                                   true,
		// presence and shapes
		`has(data.user.name)`:                         false,
		`has(data.user) && data.user.login == 'bob'`:  true,
		`data.?user.?name.orValue('none') == 'none'`:  true,
		`'user' in data && 'a' in data.tags`:          true,
		`data.nothing == null`:                        true,
		`data.tags[1] == 'b' && size(data.tags) == 2`: true,
		`data.tags.exists(t, t == 'b')`:               true,
		`data.tags.all(t, t.matches('^[ab]$'))`:       true,
		`data.user.login.upperAscii() == 'BOB'`:       true,
		`data.zzz || signal.id != ''`:                 true, // one side settles it
		`signal.id == '' && data.zzz`:                 false,
	} {
		p, err := expr.CompilePredicate(src)
		if err != nil {
			t.Errorf("CompilePredicate(%s): %v", src, err)
			continue
		}
		if got, err := p.Eval(s); got != want || err != nil {
			t.Errorf("Eval(%s) = %t, %v, want %t", src, got, err, want)
		}
	}
}

func TestPredicateData(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		contentType, data, src string
		want                   bool
	}{
		{"text/plain", "hello", `data == 'hello'`, true},
		{"application/octet-stream", "\x00\x01", `data == b'\x00\x01'`, true},
		{"application/json", "5", `data == 5`, true},
		{"application/vnd.x+json", `[1]`, `data[0] == 1`, true},
		{"application/json", "", `data == null`, true},
	} {
		s := &signal.Signal{ID: "1", Source: "/", Type: "a", DataContentType: tt.contentType}
		if tt.data != "" {
			s.Data = []byte(tt.data)
		}
		p, err := expr.CompilePredicate(tt.src)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := p.Eval(s); got != tt.want || err != nil {
			t.Errorf("Eval(%s) of %s %q = %t, %v, want %t", tt.src, tt.contentType, tt.data, got, err, tt.want)
		}
	}
}

func TestPredicateErrors(t *testing.T) {
	t.Parallel()
	s := order(t)
	for src, want := range map[string]string{
		`data.user.name == 'x'`:       "there is no data.user.name; guard it with has(data.user.name)",
		`data['user']['name'] == 'x'`: "there is no data.user.name; guard it with has(data.user.name)",
		`data.x.y == 1`:               "there is no data.x; guard it with has(data.x)",
		`data.nothing.x == 1`:         "there is no data.nothing.x; guard it with has(data.nothing.x)",
		`data[signal.source] == 1`:    `there is no key "/shop"`,
		`signal.other == 'x'`:         "there is no signal.other; guard it with has(signal.other)",
		`data.tags[5] == 'x'`:         "1:10: index out of bounds: 5",
		`data.amount`:                 "the expression gives a double, want a bool",
		`data.nothing`:                "the expression gives null, want a bool",
		`data.user.login + 1 == 2`:    "1:17: a string + an int is not possible",
		`data.big - 1 > 3`:            "1:10: an uint - an int is not possible",
		`data.count / 0 == 1`:         "1:12: division by zero",
		`data.amount > 'x'`:           "1:13: the values don't go together",
		`int(data.user.login) == 1`:   "1:4: type conversion error from 'string' to 'int'",
		`signal == signal`:            "a signal is not a value of its own, name one of its attributes",
		`data.loop.all(a, data.loop.all(b, data.loop.all(c, a == b || b == c)))`: "the expression costs too much to evaluate for this input",
		`data.user.login.matches(data.user.login + '(')`:                         "error parsing regexp: missing closing ): `bob(`",
	} {
		p, err := expr.CompilePredicate(src)
		if err != nil {
			t.Errorf("CompilePredicate(%s): %v", src, err)
			continue
		}
		got, err := p.Eval(s)
		if got || err == nil || err.Error() != want {
			t.Errorf("Eval(%s) = %t, %v, want %s", src, got, err, want)
		}
	}
}

func TestBrokenData(t *testing.T) {
	t.Parallel()
	for data, want := range map[string]string{
		`{"a":`:       "1:5: data: malformed JSON: it ends too early, at byte 5",
		`{"a":1} 2`:   "1:5: data: malformed JSON at byte 8: more text after the value",
		`{"a":1e999}`: "the number 1e999 is too large",
	} {
		s := &signal.Signal{ID: "1", Source: "/", Type: "a", Data: []byte(data)}
		p, err := expr.CompilePredicate("data.a == 1")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.Eval(s); err == nil || err.Error() != want {
			t.Errorf("Eval with data %s: %v, want %s", data, err, want)
		}
		// What the data holds does not matter to who doesn't ask.
		p, err = expr.CompilePredicate("signal.type == 'a'")
		if err != nil {
			t.Fatal(err)
		}
		if ok, err := p.Eval(s); !ok || err != nil {
			t.Errorf("Eval(signal.type == 'a') = %t, %v, want true", ok, err)
		}
	}
}

func TestCompileErrors(t *testing.T) {
	t.Parallel()
	for src, want := range map[string]string{
		"":                        "the expression is empty",
		"signal.Type == 'x'":      "1:7: a signal has no attribute \"Type\", did you mean type?\n | signal.Type == 'x'\n | ......^",
		"signal.my_ext == 'x'":    "1:7: a signal has no attribute \"my_ext\"; the names are lower-case letters and digits\n | signal.my_ext == 'x'\n | ......^",
		"subject == 'x'":          "1:1: subject is not known here, did you mean signal.subject?\n | subject == 'x'\n | ^",
		"amount > 3":              "1:1: amount is not known here; what was sent is data.amount\n | amount > 3\n | ^",
		"dat.x == 1":              "1:1: dat is not known here (did you mean 'data'?)\n | dat.x == 1\n | ^",
		"type.startsWith('x')":    "1:16: found no matching overload for 'startsWith' applied to 'type(type).(string)', did you mean signal.type?\n | type.startsWith('x')\n | ...............^",
		"signal.id > 5":           "1:11: found no matching overload for '_>_' applied to '(string, int)'\n | signal.id > 5\n | ..........^",
		"1 + 2":                   "the expression gives an int, want a bool",
		"data.a >":                "1:9: Syntax error: the expression ends too early\n | data.a >\n | ........^",
		"data.a == 1 &&\n\t foo(": "2:7: Syntax error: the expression ends too early\n |   foo(\n | ......^",
		"signal.id.matches('(')":  "the expression can't be evaluated: error parsing regexp: missing closing ): `(`",
	} {
		_, err := expr.CompilePredicate(src)
		if err == nil || err.Error() != want {
			t.Errorf("CompilePredicate(%q):\n%v\nwant:\n%s", src, err, want)
		}
		if !fault.Is(err, fault.Invalid) {
			t.Errorf("CompilePredicate(%q): code %s, want invalid", src, fault.CodeOf(err))
		}
	}
	if _, err := expr.CompilePredicate("true || " + strings.Repeat("(", 4000)); err == nil {
		t.Error("CompilePredicate of 4000 parentheses = nil, want an error")
	}
	if _, err := expr.CompilePredicate(strings.Repeat("true || ", 2000) + "true"); err == nil {
		t.Error("CompilePredicate of 16 kB = nil, want an error")
	}
}

func TestConcurrentPredicates(t *testing.T) {
	t.Parallel()
	var ps []*expr.Predicate
	for _, src := range []string{"data.amount > 1000", "data.tags.exists(t, t == 'b')", "data.user.login == 'bob'"} {
		p, err := expr.CompilePredicate(src)
		if err != nil {
			t.Fatal(err)
		}
		ps = append(ps, p)
	}
	e := expr.Of(order(t))
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 200 {
				for _, p := range ps {
					if ok, err := p.EvalEvent(e); !ok || err != nil {
						t.Errorf("EvalEvent(%s) = %t, %v, want true", p, ok, err)
					}
				}
			}
		})
	}
	wg.Wait()
}

// No expression and no data makes it panic or hang.
func FuzzPredicate(f *testing.F) {
	for _, src := range []string{
		"data.a > 1", "data.a + 1.5 == 2", "signal.type.startsWith(data)", "data.all(x, x.matches(x))", "signal.time.getHours() == 1",
		"'%s'.format([data]) == ''", "data.map(x, x + x) == []", "math.greatest(data) > 1", "sets.contains(data, [1])", "data.?a[?0].hasValue()",
	} {
		f.Add(src, []byte(`{"a":1}`))
	}
	f.Fuzz(func(t *testing.T, src string, data []byte) {
		p, err := expr.CompilePredicate(src)
		if err != nil {
			return
		}
		s := &signal.Signal{ID: "1", Source: "/", Type: "a", Data: data}
		if _, err := p.Eval(s); fault.Is(err, fault.Internal) {
			t.Errorf("Eval(%s) of %s: %v", src, data, err)
		}
	})
}

func BenchmarkPredicate(b *testing.B) {
	s := order(b)
	for _, src := range []string{"signal.type.startsWith('order.')", "data.amount > 1000", "data.tags.exists(t, t == 'b')"} {
		p, err := expr.CompilePredicate(src)
		if err != nil {
			b.Fatal(err)
		}
		b.Run("decoded/"+src, func(b *testing.B) {
			e := expr.Of(s)
			b.ReportAllocs()
			for b.Loop() {
				_, err = p.EvalEvent(e)
			}
		})
		b.Run("whole/"+src, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, err = p.Eval(s)
			}
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}

func ExamplePredicate() {
	p, err := expr.CompilePredicate(`signal.subject != "" && data.amount > 1000`)
	if err != nil {
		fmt.Println(err)
		return
	}
	s, err := signal.New("order.created", map[string]any{"amount": 4200}, signal.About("o-1"))
	fmt.Println(err)
	fmt.Println(p.Eval(s))
	s, err = signal.New("order.created", map[string]any{"total": 4200}, signal.About("o-1"))
	fmt.Println(err)
	fmt.Println(p.Eval(s))
	// Output:
	// <nil>
	// true <nil>
	// <nil>
	// false there is no data.amount; guard it with has(data.amount)
}

func ExampleCompilePredicate() {
	_, err := expr.CompilePredicate(`signal.type == "order" && amount > 1000`)
	fmt.Println(err)
	fmt.Println(errors.Is(err, nil), fault.CodeOf(err))
	// Output:
	// 1:27: amount is not known here; what was sent is data.amount
	//  | signal.type == "order" && amount > 1000
	//  | ..........................^
	// false invalid
}
