package signal_test

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

type order struct {
	ID    string `json:"id"`
	Cents int    `json:"cents"`
}

func TestKind(t *testing.T) {
	t.Parallel()
	kind := signal.Define[order]("order.placed", signal.From("/shop"), signal.About("default"))
	s, err := kind.New(order{"o-1", 4200}, signal.About("o-1"))
	if err != nil {
		t.Fatal(err)
	}
	if s.Type != "order.placed" || s.Source != "/shop" || s.Subject != "o-1" {
		t.Errorf("New = %+v", s)
	}
	if got, err := kind.Decode(s); err != nil || got != (order{"o-1", 4200}) {
		t.Errorf("Decode = %+v, %v", got, err)
	}
	var wrong *signal.TypeError
	if _, err := kind.Decode(mustNew(t, "order.paid", nil)); !errors.As(err, &wrong) || wrong.Got != "order.paid" || !fault.Is(err, fault.Invalid) {
		t.Errorf("Decode of another type = %v, want a TypeError coded invalid", err)
	}
	if _, err := kind.Decode(mustNew(t, "order.placed", "text")); !fault.Is(err, fault.Invalid) {
		t.Errorf("Decode of other data = %v, want code invalid", err)
	}
	raw := signal.Define[[]byte]("raw.bytes")
	s, err = raw.New([]byte{0xff})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := raw.Decode(s); err != nil || string(got) != "\xff" {
		t.Errorf("Decode of bytes = %q, %v", got, err)
	}
}

func TestDefinePanics(t *testing.T) {
	t.Parallel()
	defer func() {
		if recover() == nil {
			t.Error("Define with an empty segment did not panic")
		}
	}()
	signal.Define[order]("a..b")
}

func TestChain(t *testing.T) {
	t.Parallel()
	var got []string
	mark := func(name string) signal.Middleware {
		return func(next signal.Handler) signal.Handler {
			return func(ctx context.Context, s *signal.Signal) error {
				got = append(got, name)
				return next(ctx, s)
			}
		}
	}
	h := signal.Chain(func(context.Context, *signal.Signal) error { got = append(got, "handler"); return nil }, mark("first"), mark("second"))
	if err := h(t.Context(), mustNew(t, "a", nil)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"first", "second", "handler"}, got); diff != "" {
		t.Errorf("order of calls: %s", diff)
	}
}

func TestContext(t *testing.T) {
	t.Parallel()
	if s, ok := signal.FromContext(t.Context()); ok || s != nil {
		t.Errorf("FromContext of nothing = %v, %v", s, ok)
	}
	s := mustNew(t, "a", nil)
	if got, ok := signal.FromContext(signal.NewContext(t.Context(), s)); !ok || got != s {
		t.Errorf("FromContext = %v, %v", got, ok)
	}
}
