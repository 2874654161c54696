package dispatch_test

import (
	"testing"

	"github.com/signalmesh/signalmesh/pkg/dispatch"
	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

// What a signal carries comes from outside: it is read or refused, and what was read can
// be carried again.
func FuzzFromSignal(f *testing.F) {
	for _, seed := range []string{
		`{"test":{"url":"https://a"}}`, `[{"adapter":"test","opts":{"a":[1,2.5,"x",null]}},{"noop":{}}]`,
		`{"adapter":{}}`, `null`, `[]`, `{"a":{"b":1e400}}`, `{"a":{"a":1,"a":2}}`, `"x"`, `{"noop":null}`, `[[]]`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s := &signal.Signal{ID: "1", Source: "/", Type: "a", Extensions: map[string]any{signal.ExtDispatch: text}}
		targets, err := dispatch.FromSignal(s)
		if err != nil {
			if code := fault.CodeOf(err); code != fault.Invalid && code != fault.TooLarge {
				t.Fatalf("FromSignal(%q) = %v with code %q", text, err, code)
			}
			return
		}
		if err := dispatch.Attach(s, targets...); err != nil {
			if !fault.Is(err, fault.TooLarge) && !fault.Is(err, fault.Invalid) {
				t.Fatalf("Attach(%v) = %v", targets, err)
			}
			return
		}
		again, err := dispatch.FromSignal(s)
		if err != nil || len(again) != len(targets) {
			t.Fatalf("FromSignal(%q) = %v, %v, want %v", s.ExtString(signal.ExtDispatch), again, err, targets)
		}
		for i := range targets {
			if !targets[i].Equal(again[i]) {
				t.Fatalf("target %d is %s, want %s", i, again[i].Options, targets[i].Options)
			}
		}
	})
}
