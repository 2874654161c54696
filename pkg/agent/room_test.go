package agent_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/signalmesh/signalmesh/pkg/agent"
	"github.com/signalmesh/signalmesh/pkg/dispatch"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

func TestRoom(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := agent.NewRoom(2)
		began := time.Now()
		enter := func(ctx context.Context, want bool, after time.Duration) {
			t.Helper()
			at := time.Now()
			if got := agent.Enter(r, ctx, time.Second); got != want || time.Since(at) != after {
				t.Errorf("%s: Enter = %t after %s, want %t after %s", at.Sub(began), got, time.Since(at), want, after)
			}
		}
		enter(t.Context(), true, 0)
		enter(t.Context(), true, 0)
		enter(t.Context(), false, time.Second) // somebody may leave
		enter(t.Context(), false, 0)           // nobody has left for a second
		agent.Leave(r)
		enter(t.Context(), true, 0)
		left := time.AfterFunc(300*time.Millisecond, func() { agent.Leave(r) })
		enter(t.Context(), true, 300*time.Millisecond)
		left.Stop()
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		enter(ctx, false, 100*time.Millisecond)
	})
}

// limited is an adapter with its own limit.
type limited time.Duration

func (l limited) Timeout() time.Duration                        { return time.Duration(l) }
func (l limited) Deliver(context.Context, *signal.Signal) error { return nil }

func TestTimeoutOfAnAttempt(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		adapter dispatch.Adapter
		want    time.Duration
	}{
		{dispatch.Func(nil), agent.DefaultTimeout},
		{limited(0), agent.DefaultTimeout},
		{limited(-1), agent.DefaultTimeout},
		{limited(5 * time.Second), 6 * time.Second},
		{limited(24 * time.Hour), 24*time.Hour + time.Second},
	} {
		if got := agent.TimeoutOf(tt.adapter); got != tt.want {
			t.Errorf("TimeoutOf(%v) = %s, want %s", tt.adapter, got, tt.want)
		}
	}
}
