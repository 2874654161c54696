package dispatchtest_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/signalmesh/signalmesh/pkg/dispatch"
	"github.com/signalmesh/signalmesh/pkg/dispatch/dispatchtest"
	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/secret"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// queue is a target that lives in this process.
type queue struct {
	arrivals chan dispatchtest.Arrival
	outcome  chan dispatchtest.Outcome
}

// config is an adapter's configuration as any other.
type config struct {
	Name  string     `json:"name" required:"true" doc:"name of the queue"`
	Token secret.Ref `json:"token" required:"true" doc:"proof of who delivers"`
}

// adapter delivers to a queue, and does everything the suite asks for.
type adapter struct {
	queue *queue
	name  string
	token string
}

func (a *adapter) Deliver(ctx context.Context, s *signal.Signal) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	select {
	case a.queue.arrivals <- dispatchtest.Arrival{Signal: dispatch.Forward(s), Key: dispatch.KeyOf(ctx, s)}:
	case <-ctx.Done():
		return ctx.Err()
	}
	o := <-a.queue.outcome
	a.queue.outcome <- o
	err := fault.Newf(fault.Unavailable, "queue %s is busy", a.name)
	switch o {
	case dispatchtest.Busy:
	case dispatchtest.Wait:
		err = fault.RetryAfter(7*time.Second, err)
	case dispatchtest.Never:
		err = fault.Permanent(err)
	case dispatchtest.Hang:
		<-ctx.Done()
		return ctx.Err()
	default:
		return nil
	}
	return dispatch.Fail(err, 17, fmt.Appendf(nil, "no to %s", a.token), a.token)
}

func (a *adapter) Endpoint() string { return a.name }

func TestSuite(t *testing.T) {
	t.Setenv("DISPATCHTEST_TOKEN", "hunter2")
	dispatchtest.Run(t, func(*testing.T) *dispatchtest.Subject {
		q := &queue{make(chan dispatchtest.Arrival), make(chan dispatchtest.Outcome, 1)}
		q.outcome <- dispatchtest.OK
		registry := &dispatch.Registry{}
		dispatch.RegisterIn(registry, "queue", func(_ context.Context, c config, _ dispatch.Env) (dispatch.Adapter, error) {
			token, err := c.Token.Resolve()
			return &adapter{q, c.Name, token}, err
		})
		return &dispatchtest.Subject{
			Adapter: "queue", Options: `{"name":"orders","token":"env:DISPATCHTEST_TOKEN"}`, Registry: registry,
			Arrivals: q.arrivals, Answer: func(o dispatchtest.Outcome) { <-q.outcome; q.outcome <- o },
			Secrets: []string{"hunter2"},
		}
	}, dispatchtest.Features{
		Signals: true, Keys: true, Hops: true, Outcomes: true, Waits: true, Hangs: true, Remote: true,
	})
}
