package bus_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/signalmesh/signalmesh/pkg/bus"
	"github.com/signalmesh/signalmesh/pkg/delivery"
	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

// kinds are the two ways to subscribe, where they promise the same.
var kinds = map[string][]bus.SubscribeOption{"ephemeral": nil, "durable": {bus.Durable("d")}}

func eachKind(t *testing.T, test func(t *testing.T, opts []bus.SubscribeOption)) {
	for name, opts := range kinds {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, opts)
		})
	}
}

func TestSubscribeInOrder(t *testing.T) {
	t.Parallel()
	eachKind(t, func(t *testing.T, opts []bus.SubscribeOption) {
		b := open(t)
		const n = 2000
		publish(t, b, several(t, "a.b", 10)...) // before it begins
		got := make(chan *signal.Signal, n)
		sub := subscribe(t, b, "a.*", to(got), opts...)
		signals := several(t, "a.b", n)
		publish(t, b, signals[:n/2]...)
		publish(t, b, several(t, "other", 10)...)
		publish(t, b, signals[n/2:]...)
		for i, s := range signals {
			if g := await(t, got, "signal"); g.ID != s.ID {
				t.Fatalf("signal %d is %s, want %s", i, g.ID, s.ID)
			}
		}
		sub.Stop()
		await(t, sub.Done(), "the end")
		if st := sub.Stats(); st.Handled != n || st.Failed != 0 || st.InFlight != 0 {
			t.Errorf("Stats() = %+v, want %d handled", st, n)
		}
		quiet(t, got, 0, "a signal too many")
	})
}

func TestStartAt(t *testing.T) {
	t.Parallel()
	b := open(t)
	var at []time.Time
	for i := range 4 {
		publish(t, b, make1(t, "a", i))
		e, err := b.Get(t.Context(), uint64(i+1))
		if err != nil {
			t.Fatal(err)
		}
		at = append(at, e.Stored)
	}
	tests := map[string]struct {
		start bus.StartOption
		want  string
	}{
		"origin":          {bus.FromOrigin(), "1 2 3 4 5"},
		"current":         {bus.FromCurrent(), "5"},
		"sequence":        {bus.FromSequence(3), "3 4 5"},
		"sequence 0":      {bus.FromSequence(0), "1 2 3 4 5"},
		"time":            {bus.Since(at[2]), "3 4 5"},
		"time in between": {bus.Since(at[2].Add(time.Nanosecond)), "4 5"},
		"before time":     {bus.Since(time.Unix(1, 0)), "1 2 3 4 5"},
	}
	var pending []func()
	for name, test := range tests {
		for kind, opts := range kinds {
			got := make(chan uint64, 10)
			opts = append(slices.Clone(opts), test.start)
			if kind == "durable" {
				opts[0] = bus.Durable(strings.ReplaceAll(name, " ", "-"))
			}
			subscribe(t, b, "*", func(ctx context.Context, _ *signal.Signal) error {
				p, _ := bus.Position(ctx)
				got <- p.Sequence
				return nil
			}, opts...)
			pending = append(pending, func() {
				var all []string
				for len(all) == 0 || all[len(all)-1] != "5" {
					all = append(all, fmt.Sprint(await(t, got, "signal")))
				}
				if s := strings.Join(all, " "); s != test.want {
					t.Errorf("%s, %s: got %s, want %s", kind, name, s, test.want)
				}
			})
		}
	}
	publish(t, b, make1(t, "a", "last"))
	for _, check := range pending {
		check()
	}
}

func TestSubscribeInvalid(t *testing.T) {
	t.Parallel()
	b := open(t)
	ok := to(make(chan *signal.Signal))
	tests := map[string]struct {
		on   string
		h    signal.Handler
		opts []bus.SubscribeOption
	}{
		"pattern":     {"a..b", ok, nil},
		"empty":       {"", ok, nil},
		"handler":     {"a", nil, nil},
		"name":        {"a", ok, []bus.SubscribeOption{bus.Durable("a.b")}},
		"in flight":   {"a", ok, []bus.SubscribeOption{bus.MaxInFlight(0)}},
		"concurrency": {"a", ok, []bus.SubscribeOption{bus.Concurrency(-1)}},
		"attempts":    {"a", ok, []bus.SubscribeOption{bus.MaxAttempts(-1)}},
		"backoff":     {"a", ok, []bus.SubscribeOption{bus.Backoff(time.Second, time.Millisecond)}},
		"ack wait":    {"a", ok, []bus.SubscribeOption{bus.AckWait(0)}},
		"timeout":     {"a", ok, []bus.SubscribeOption{bus.Timeout(-1)}},
	}
	for name, test := range tests {
		_, err := b.Subscribe(t.Context(), test.on, test.h, test.opts...)
		if !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: error = %v (code %s), want code invalid", name, err, fault.CodeOf(err))
		}
	}
	if infos, err := b.Subscriptions(t.Context()); len(infos) != 0 || err != nil {
		t.Errorf("Subscriptions() = %v, %v after nothing but errors, want none", infos, err)
	}
}

func TestRetryAndContext(t *testing.T) {
	t.Parallel()
	eachKind(t, func(t *testing.T, opts []bus.SubscribeOption) {
		b := open(t, bus.WithNode("n1"))
		places := make(chan bus.Place, 10)
		effects := make(chan *signal.Signal, 1)
		subscribe(t, b, "effect", to(effects))
		subscribe(t, b, "a", func(ctx context.Context, s *signal.Signal) error {
			p, ok := bus.Position(ctx)
			if in, _ := signal.FromContext(ctx); !ok || in != s {
				t.Error("context does not carry the signal and its position")
			}
			places <- p
			switch p.Attempt {
			case 1:
				return errors.New("not yet")
			case 2:
				panic("not yet either")
			}
			return b.Publish(ctx, make1(t, "effect", 1))
		}, append(slices.Clone(opts), bus.Backoff(time.Millisecond, time.Millisecond))...)
		s := make1(t, "a", 1)
		publish(t, b, s)
		for n := range 3 {
			p := await(t, places, "attempt")
			if p.Attempt != n+1 || p.Sequence != 1 || p.Stored.IsZero() || (p.Subscription == "d") != (len(opts) > 0) {
				t.Errorf("attempt %d is at %+v", n+1, p)
			}
		}
		if e := await(t, effects, "effect"); e.Causation() != s.ID {
			t.Errorf("cause of the effect = %s, want %s", e.Causation(), s.ID)
		}
		quiet(t, places, 50*time.Millisecond, "an attempt after the success")
	})
}

// A signal that waits for its next attempt holds up no other.
func TestRetryHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	eachKind(t, func(t *testing.T, opts []bus.SubscribeOption) {
		b := open(t)
		got := make(chan string, 10)
		sub := subscribe(t, b, "*", func(_ context.Context, s *signal.Signal) error {
			got <- s.Type
			if s.Type == "bad" {
				return fault.RetryAfter(time.Hour, errors.New("asleep"))
			}
			return nil
		}, append(slices.Clone(opts), bus.Retry(delivery.Policy{MaxRetryAfter: time.Hour}))...)
		publish(t, b, make1(t, "bad", 1), make1(t, "good", 1), make1(t, "good", 2))
		for _, want := range []string{"bad", "good", "good"} {
			if g := await(t, got, "signal"); g != want {
				t.Errorf("got %s, want %s", g, want)
			}
		}
		until(t, "the good ones to be done", func() bool { return sub.Stats().InFlight == 1 })
	})
}

func TestConcurrency(t *testing.T) {
	t.Parallel()
	eachKind(t, func(t *testing.T, opts []bus.SubscribeOption) {
		b := open(t)
		const limit = 5
		var running, most atomic.Int32
		entered, let := make(chan bool, 100), make(chan bool)
		subscribe(t, b, "a", func(context.Context, *signal.Signal) error {
			n := running.Add(1)
			defer running.Add(-1)
			most.Store(max(most.Load(), n))
			entered <- true
			hold(t, let)
			return nil
		}, append(slices.Clone(opts), bus.Concurrency(limit))...)
		publish(t, b, several(t, "a", 20)...)
		for range limit {
			await(t, entered, "handler")
		}
		quiet(t, entered, 100*time.Millisecond, "one handler too many runs")
		close(let)
		for range 20 - limit {
			await(t, entered, "handler")
		}
		if most.Load() > limit {
			t.Errorf("%d handlers ran at once, want at most %d", most.Load(), limit)
		}
	})
}

func TestMaxInFlight(t *testing.T) {
	t.Parallel()
	eachKind(t, func(t *testing.T, opts []bus.SubscribeOption) {
		b := open(t)
		tried := make(chan bool, 100)
		subscribe(t, b, "a", func(context.Context, *signal.Signal) error {
			tried <- true
			return fault.RetryAfter(time.Hour, errors.New("asleep"))
		}, append(slices.Clone(opts), bus.MaxInFlight(3), bus.Retry(delivery.Policy{MaxRetryAfter: time.Hour}))...)
		publish(t, b, several(t, "a", 10)...)
		for range 3 {
			await(t, tried, "attempt")
		}
		quiet(t, tried, 200*time.Millisecond, "more are in flight than allowed")
	})
}

func TestFilterAndExpiry(t *testing.T) {
	t.Parallel()
	b := open(t)
	got := make(chan *signal.Signal, 10)
	sub := subscribe(t, b, "a", to(got), bus.Durable("d"), bus.Filter(func(s *signal.Signal) bool {
		if s.Subject == "panic" {
			panic("filter")
		}
		return s.Subject != "no"
	}))
	publish(t, b, make1(t, "a", 1, signal.About("no")), make1(t, "a", 2, signal.About("panic")),
		make1(t, "a", 3, signal.Expires(time.Now().Add(-time.Minute))),
		make1(t, "a", 4, signal.Expires(time.Now().Add(time.Hour))))
	if s := await(t, got, "signal"); string(s.Data) != "4" {
		t.Errorf("got signal %s, want 4", s.Data)
	}
	until(t, "everything to have an outcome", func() bool {
		st := sub.Stats()
		return st.Skipped == 1 && st.Expired == 1 && st.Dead == 1 && st.Handled == 1 && st.InFlight == 0
	})
	l := letters(t, b, bus.LetterFilter{})[0]
	if l.Reason != delivery.ReasonPermanent || !strings.Contains(l.Error, "filter: panic") {
		t.Errorf("dead letter = %s: %s, want permanent, filter: panic", l.Reason, l.Error)
	}
}

func TestTimeout(t *testing.T) {
	t.Parallel()
	b := open(t)
	got := make(chan error, 10)
	subscribe(t, b, "a", func(ctx context.Context, _ *signal.Signal) error {
		<-ctx.Done()
		got <- ctx.Err()
		return ctx.Err()
	}, bus.Durable("d"), bus.Timeout(20*time.Millisecond), bus.MaxAttempts(2), bus.Backoff(1, 1))
	publish(t, b, make1(t, "a", 1))
	for range 2 {
		if err := await(t, got, "attempt"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("attempt ended with %v, want a passed deadline", err)
		}
	}
	until(t, "dead letter", func() bool { return len(letters(t, b, bus.LetterFilter{})) == 1 })
}

func TestHandlerMiddleware(t *testing.T) {
	t.Parallel()
	calls := make(chan string, 10)
	b := open(t, bus.WithHandlerMiddleware(func(next signal.Handler) signal.Handler {
		return func(ctx context.Context, s *signal.Signal) error {
			calls <- "before"
			err := next(ctx, s)
			calls <- fmt.Sprint("after ", err)
			return nil
		}
	}))
	subscribe(t, b, "a", func(context.Context, *signal.Signal) error { return errors.New("swallowed") })
	publish(t, b, make1(t, "a", 1))
	for _, want := range []string{"before", "after swallowed"} {
		if got := await(t, calls, "middleware"); got != want {
			t.Errorf("middleware said %s, want %s", got, want)
		}
	}
}

type order struct{ Cents int }

func TestOn(t *testing.T) {
	t.Parallel()
	b := open(t)
	placed := signal.Define[order]("order.placed.v1", signal.From("/shop"))
	got := make(chan order, 1)
	if _, err := bus.On(t.Context(), b, placed, func(_ context.Context, o order, _ *signal.Signal) error {
		got <- o
		return nil
	}, bus.Durable("d")); err != nil {
		t.Fatal(err)
	}
	publish(t, b, make1(t, "order.placed.v1", "not an order"))
	s, err := placed.New(order{4200})
	if err != nil {
		t.Fatal(err)
	}
	publish(t, b, s)
	if o := await(t, got, "order"); o.Cents != 4200 {
		t.Errorf("order = %+v, want 4200 cents", o)
	}
	until(t, "dead letter of what is no order", func() bool { return len(letters(t, b, bus.LetterFilter{})) == 1 })
	if l := letters(t, b, bus.LetterFilter{})[0]; l.Reason != delivery.ReasonPermanent || len(l.Attempts) != 1 {
		t.Errorf("reason %s after %d attempts, want permanent after 1", l.Reason, len(l.Attempts))
	}
	if _, err := bus.On(t.Context(), b, placed, nil); !fault.Is(err, fault.Invalid) {
		t.Errorf("On without a handler = %v, want code invalid", err)
	}
}

// A slow subscription holds up neither publishers nor others.
func TestSlowHoldsUpNobody(t *testing.T) {
	t.Parallel()
	b := open(t)
	let := make(chan bool)
	slow := subscribe(t, b, "slow", func(context.Context, *signal.Signal) error { hold(t, let); return nil }, bus.MaxInFlight(2))
	got := make(chan time.Time, 1)
	subscribe(t, b, "fast", func(context.Context, *signal.Signal) error { got <- time.Now(); return nil })
	publish(t, b, several(t, "slow", 3000)...)
	worst := time.Duration(0)
	for i := range 50 {
		began := time.Now()
		publish(t, b, make1(t, "fast", i))
		worst = max(worst, await(t, got, "the fast one").Sub(began))
	}
	if worst > 2*time.Second {
		t.Errorf("the slowest of 50 took %s", worst)
	}
	close(let)
	until(t, "the slow one to catch up", func() bool { return slow.Stats().Handled == 3000 })
}
