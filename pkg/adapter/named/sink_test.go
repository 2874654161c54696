package named_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	_ "github.com/signalmesh/signalmesh/pkg/adapter/named"
	"github.com/signalmesh/signalmesh/pkg/dispatch"
	"github.com/signalmesh/signalmesh/pkg/dispatch/dispatchtest"
	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/mesh"
	"github.com/signalmesh/signalmesh/pkg/signal"
	"github.com/signalmesh/signalmesh/pkg/testkit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConformance(t *testing.T) {
	dispatchtest.Run(t, func(t *testing.T) *dispatchtest.Subject {
		arrivals, end := make(chan dispatchtest.Arrival), make(chan struct{})
		outcome := make(chan dispatchtest.Outcome, 1)
		outcome <- dispatchtest.OK
		nc := testkit.Conn(t)
		server, err := mesh.ServeNamed(t.Context(), testkit.Conn(t), "compensation_manager", func(ctx context.Context, s *signal.Signal) error {
			select {
			case arrivals <- dispatchtest.Arrival{Signal: s}:
			case <-end:
			}
			o := <-outcome
			outcome <- o
			switch o {
			case dispatchtest.Wait:
				return fault.RetryAfter(7*time.Second, errors.New("not now"))
			case dispatchtest.Hang:
				select {
				case <-ctx.Done():
				case <-end:
				}
			default:
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { close(end); server.Stop(); <-server.Done() })
		return &dispatchtest.Subject{
			Adapter: "named", Options: `{"name":"compensation_manager","timeout":"30s"}`, Env: dispatch.Env{Conn: nc},
			Arrivals: arrivals, Answer: func(o dispatchtest.Outcome) { <-outcome; outcome <- o },
		}
	}, dispatchtest.Features{Signals: true, Waits: true, Hangs: true, Remote: true})
}

func TestVerdicts(t *testing.T) {
	t.Parallel()
	nc := testkit.Conn(t)
	s, err := signal.New("order.created", nil)
	if err != nil {
		t.Fatal(err)
	}
	serve := func(name string, r mesh.Responder) {
		server, err := mesh.ServeReply(t.Context(), nc, name, r)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { server.Stop(); <-server.Done() })
	}
	answer, err := signal.New("order.undone", nil, signal.CausedBy(s))
	if err != nil {
		t.Fatal(err)
	}
	serve("answers", func(context.Context, *signal.Signal) (*signal.Signal, error) { return answer, nil })
	serve("refuses", func(context.Context, *signal.Signal) (*signal.Signal, error) {
		return nil, fault.Permanent(fault.Newf(fault.Conflict, "done already"))
	})
	serve("sleeps", func(ctx context.Context, _ *signal.Signal) (*signal.Signal, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	})
	send := func(name string) (*signal.Signal, error) {
		a, err := dispatch.Open(t.Context(), "named", []byte(`{"name":"`+name+`","timeout":"200ms"}`), dispatch.Env{Conn: nc})
		if err != nil {
			t.Fatal(err)
		}
		return dispatch.Send(t.Context(), a, s)
	}
	if got, err := send("answers"); err != nil || got == nil || got.ID != answer.ID || got.Causation() != s.ID {
		t.Errorf("Send(answers) = %+v, %v, want the handler's signal", got, err)
	}
	if _, err := send("refuses"); !fault.IsPermanent(err) || !fault.Is(err, fault.Conflict) || !strings.Contains(err.Error(), "done already") {
		t.Errorf("Send(refuses) = %v, want the handler's error", err)
	}
	if _, err := send("sleeps"); !fault.Is(err, fault.Unavailable) || fault.IsPermanent(err) {
		t.Errorf("Send(sleeps) = %v, want a temporary Unavailable", err)
	}
	if _, err := send("nobody"); !fault.Is(err, fault.Unavailable) || fault.IsPermanent(err) {
		t.Errorf("Send(nobody) = %v, want a temporary Unavailable", err)
	}
	for _, options := range []string{`{}`, `{"name":"a.b"}`, `{"name":""}`} {
		if err := dispatch.Check("named", []byte(options)); !fault.Is(err, fault.Invalid) {
			t.Errorf("Check(%s) = %v, want Invalid", options, err)
		}
	}
	if _, err := dispatch.Open(t.Context(), "named", []byte(`{"name":"x"}`), dispatch.Env{}); !fault.Is(err, fault.Unavailable) {
		t.Errorf("Open(no connection) = %v, want Unavailable", err)
	}
}
