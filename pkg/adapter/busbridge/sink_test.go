package busbridge_test

import (
	"context"
	"errors"
	"testing"

	"go.uber.org/goleak"

	_ "github.com/signalmesh/signalmesh/pkg/adapter/busbridge"
	"github.com/signalmesh/signalmesh/pkg/dispatch"
	"github.com/signalmesh/signalmesh/pkg/dispatch/dispatchtest"
	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConformance(t *testing.T) {
	dispatchtest.Run(t, func(*testing.T) *dispatchtest.Subject {
		arrivals := make(chan dispatchtest.Arrival)
		outcome := make(chan dispatchtest.Outcome, 1)
		outcome <- dispatchtest.OK
		publish := func(ctx context.Context, bus string, s *signal.Signal) error {
			select {
			case arrivals <- dispatchtest.Arrival{Signal: s}:
			case <-ctx.Done():
				return ctx.Err()
			}
			o := <-outcome
			outcome <- o
			if o == dispatchtest.Hang {
				<-ctx.Done()
				return ctx.Err()
			}
			return nil
		}
		return &dispatchtest.Subject{
			Adapter: "bus", Options: `{"name":"audit"}`, Env: dispatch.Env{Bus: "default", Publish: publish},
			Arrivals: arrivals, Answer: func(o dispatchtest.Outcome) { <-outcome; outcome <- o },
		}
	}, dispatchtest.Features{Signals: true, Hops: true, Hangs: true, Remote: true})
}

func TestDeliver(t *testing.T) {
	t.Parallel()
	s, err := signal.New("order.created", nil)
	if err != nil {
		t.Fatal(err)
	}
	var result error
	env := dispatch.Env{Bus: "default", Publish: func(ctx context.Context, bus string, got *signal.Signal) error {
		if bus != "audit" || got.ID != s.ID || got.Source != s.Source {
			t.Errorf("Publish(%s, %s), want the same signal on audit", bus, got.ID)
		}
		if handled, ok := signal.FromContext(ctx); ok {
			t.Errorf("Publish() is called while %s is handled: the copy would be caused by itself", handled.ID)
		}
		return result
	}}
	a, err := dispatch.Open(t.Context(), "bus", []byte(`{"name":"audit"}`), env)
	if err != nil {
		t.Fatal(err)
	}
	ctx := signal.NewContext(t.Context(), s)
	if err := a.Deliver(ctx, s); err != nil {
		t.Errorf("Deliver() = %v", err)
	}
	result = fault.Permanent(fault.Newf(fault.NotFound, "no such bus"))
	if err := a.Deliver(ctx, s); !errors.Is(err, result) || !fault.IsPermanent(err) {
		t.Errorf("Deliver() = %v, want what Publish returned", err)
	}
}

func TestOpenErrors(t *testing.T) {
	t.Parallel()
	publish := func(context.Context, string, *signal.Signal) error { return nil }
	tests := []struct {
		options string
		env     dispatch.Env
		want    fault.Code
	}{
		{`{"name":"default"}`, dispatch.Env{Bus: "default", Publish: publish}, fault.Invalid},
		{`{"name":"a b"}`, dispatch.Env{Publish: publish}, fault.Invalid},
		{`{"name":"x_DLQ"}`, dispatch.Env{Publish: publish}, fault.Invalid},
		{`{}`, dispatch.Env{Publish: publish}, fault.Invalid},
		{`{"name":"audit"}`, dispatch.Env{}, fault.Unavailable},
	}
	for _, tt := range tests {
		if _, err := dispatch.Open(t.Context(), "bus", []byte(tt.options), tt.env); !fault.Is(err, tt.want) {
			t.Errorf("Open(%s) = %v, want %q", tt.options, err, tt.want)
		}
	}
}
