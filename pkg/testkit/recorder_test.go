package testkit_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/signalmesh/signalmesh/pkg/bus"
	"github.com/signalmesh/signalmesh/pkg/signal"
	"github.com/signalmesh/signalmesh/pkg/testkit"
)

func publish(t *testing.T, b *bus.Bus, types ...string) {
	t.Helper()
	for _, typ := range types {
		s, err := signal.New(typ, nil, signal.From("/test"), signal.About("o-1"))
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Publish(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
}

// A user's test: a real server, one line, gone when the test ends.
func TestBus(t *testing.T) {
	t.Parallel()
	shipped := make(chan string, 1)
	b := testkit.Bus(t)
	sub, err := b.Subscribe(t.Context(), "order.*.v1", func(_ context.Context, s *signal.Signal) error {
		shipped <- s.Subject
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Stop()
	publish(t, b, "order.created", "order.shipped.v1")
	if got := <-shipped; got != "o-1" {
		t.Errorf("shipped %q, want o-1", got)
	}
}

func TestBusesOfATestShareItsServer(t *testing.T) {
	t.Parallel()
	rec := testkit.Record(t, testkit.Bus(t, bus.Named("shop")), "**")
	publish(t, testkit.Bus(t, bus.Named("shop")), "order.created")
	publish(t, testkit.Bus(t), "order.elsewhere")
	rec.Expect("order.created")
	rec.Quiet(10 * time.Millisecond)
}

func TestRecorder(t *testing.T) {
	t.Parallel()
	b := testkit.Bus(t)
	publish(t, b, "order.early")
	all := testkit.Record(t, b, "**", bus.FromOrigin())
	rec := testkit.Record(t, b, "order.*")
	publish(t, b, "order.created", "audit.created", "order.paid", "order.shipped")
	if got := rec.Next().Type; got != "order.created" {
		t.Errorf("Next() = %s, want order.created", got)
	}
	if got := rec.Expect("order.paid", "order.shipped"); len(got) != 2 || got[1].Type != "order.shipped" {
		t.Errorf("Expect returned %v", got)
	}
	if got := rec.Wait(3, testkit.Patience); len(got) != 3 || len(rec.All()) != 3 {
		t.Errorf("Wait(3) returned %d of %d, want all of 3", len(got), len(rec.All()))
	}
	all.Expect("order.early", "order.created", "audit.created", "order.paid", "order.shipped")
}

func TestRecorderFailures(t *testing.T) {
	t.Parallel()
	s, err := signal.New("a.b", nil, signal.WithID("7"))
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		do   func(*testkit.Recorder)
		want string
	}{
		"wrong type": {func(r *testkit.Recorder) { r.Expect("a.c", "a.d") }, "recorder of x: got a.b(7), want a.c, a.d"},
		"too few":    {func(r *testkit.Recorder) { r.Wait(2, time.Millisecond) }, "1 signals within 1ms, want 2: a.b(7)"},
		"not quiet":  {func(r *testkit.Recorder) { r.Quiet(time.Hour) }, "got a.b(7), want nothing"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text := failing(t, func(tb testing.TB) {
				r := testkit.NewRecorder(tb, "x")
				if err := r.Handle(t.Context(), s); err != nil {
					t.Error(err)
				}
				tc.do(r)
			})
			if !strings.Contains(text, tc.want) {
				t.Errorf("failure = %q, want %q", text, tc.want)
			}
		})
	}
}
