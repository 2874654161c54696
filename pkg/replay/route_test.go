package replay_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/signalmesh/signalmesh/pkg/agent"
	"github.com/signalmesh/signalmesh/pkg/dispatch"
	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/journal"
	"github.com/signalmesh/signalmesh/pkg/pattern"
	"github.com/signalmesh/signalmesh/pkg/replay"
	"github.com/signalmesh/signalmesh/pkg/route"
	"github.com/signalmesh/signalmesh/pkg/signal"
	"github.com/signalmesh/signalmesh/pkg/testkit"
)

// hand is an adapter that hands over what it gets, with the delivery it belongs to.
type hand struct {
	Channel string `json:"channel"`
}

type handed struct {
	route, target, key string
	s                  *signal.Signal
}

var hands = make(chan handed, 100)

func init() {
	dispatch.Register("hand", func(context.Context, hand, dispatch.Env) (dispatch.Adapter, error) {
		return dispatch.Func(func(ctx context.Context, s *signal.Signal) error {
			info := dispatch.InfoFrom(ctx)
			hands <- handed{info.Route, info.Target, info.Key, s}
			return nil
		}), nil
	})
}

func named(tb testing.TB, name, when string, targets ...string) route.Route {
	tb.Helper()
	r := route.Route{Spec: route.Spec{Name: name, On: route.Patterns{pattern.MustParse("order.**")}, When: when}}
	for _, t := range targets {
		to, err := dispatch.NewTarget("hand", hand{})
		if err != nil {
			tb.Fatal(err)
		}
		r.To = append(r.To, route.Target{Name: t, Target: to})
	}
	return r
}

func take(tb testing.TB, n int) []handed {
	tb.Helper()
	var all []handed
	for range n {
		select {
		case h := <-hands:
			all = append(all, h)
		case <-time.After(20 * time.Second):
			tb.Fatalf("%d deliveries, want %d", len(all), n)
		}
	}
	return all
}

// The deliveries of one route, no other fires, and they are told from the first time.
func TestToRoute(t *testing.T) {
	b := testkit.Bus(t)
	billing, audit := named(t, "billing", "data.amount > 10", "a", "b"), named(t, "audit", "", "a")
	of := testkit.Bus(t)
	j, err := journal.Open(t.Context(), of.Conn())
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	a := agent.New(agent.Config{Bus: of, Journal: j}) // which knows that all was delivered once
	if err := a.Swap(t.Context(), []route.Route{billing, audit}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	defer func() { cancel(); <-ended }()

	small := make1(t, "order.created", map[string]int{"amount": 1})
	large := make1(t, "order.created", map[string]int{"amount": 100})
	odd := make1(t, "order.created", map[string]int{"other": 100})
	if err := b.Publish(t.Context(), small, large, odd, make1(t, "user.created", 1)); err != nil {
		t.Fatal(err)
	}
	first := take(t, 5) // audit thrice, billing twice

	sink, err := replay.ToRoute(b, billing)
	if err != nil {
		t.Fatal(err)
	}
	job := replay.Job{ID: "r-1", From: b.Entries(t.Context(), "**"), To: sink}
	plan, err := job.Count(t.Context())
	if err != nil || plan.Signals != 2 || plan.Skipped != 2 {
		t.Errorf("Count = %+v, %v, want 2 selected, one of which the predicate fails on, and 2 skipped", plan, err)
	}
	r, err := job.Run(t.Context())
	if err != nil || r.Sent != 1 || r.Failed != 1 || r.Skipped != 2 || !strings.Contains(r.Failures[0].Error, "predicate") {
		t.Errorf("Run = %+v, %v, want one sent and one failed", r, err)
	}
	again := take(t, 2)
	for _, h := range again {
		if h.route != "billing" || h.s.ID != large.ID || h.s.ExtString(signal.ExtReplay) != "r-1" {
			t.Errorf("delivered %+v, want %s by billing, marked", h, large.ID)
		}
		if slices.ContainsFunc(first, func(f handed) bool { return f.key == h.key }) {
			t.Errorf("the delivery has the key of the first time")
		}
	}
	only, err := replay.ToRoute(b, billing, "b")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := (replay.Job{From: b.Entries(t.Context(), "**"), To: only}).Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if h := take(t, 1)[0]; h.target != "b" {
		t.Errorf("delivered to %s, want b", h.target)
	}
	// Had another route fired, or a target more, it would have come before this.
	last := make1(t, "order.created", map[string]int{"amount": 1})
	if err := b.Publish(t.Context(), last); err != nil {
		t.Fatal(err)
	}
	if h := take(t, 1)[0]; h.s.ID != last.ID || h.route != "audit" {
		t.Errorf("delivered %+v, want only what is published now", h)
	}
}

func TestToRouteRefused(t *testing.T) {
	t.Parallel()
	b := testkit.Bus(t)
	disabled, foreign := named(t, "r", "", "a"), named(t, "r", "", "a")
	disabled.Disabled, foreign.Bus = true, "other"
	for code, f := range map[fault.Code]func() (replay.Sink, error){
		fault.Conflict: func() (replay.Sink, error) { return replay.ToRoute(b, disabled) },
		fault.Invalid:  func() (replay.Sink, error) { return replay.ToRoute(b, foreign) },
		fault.NotFound: func() (replay.Sink, error) { return replay.ToRoute(b, named(t, "r", "", "a"), "b") },
	} {
		_, err := f()
		wantCode(t, err, code)
	}
}
