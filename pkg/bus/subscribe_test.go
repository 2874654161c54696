package bus_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/signalmesh/signalmesh/pkg/bus"
	"github.com/signalmesh/signalmesh/pkg/delivery"
	"github.com/signalmesh/signalmesh/pkg/embed"
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
		return st.Skipped == 2 && st.Dead == 1 && st.Handled == 1 && st.InFlight == 0
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

// The next member goes on where the last one stopped, with exactly what was missed.
func TestDurableResumes(t *testing.T) {
	t.Parallel()
	srv := serve(t, embed.Fast)
	b := join(t, srv)
	all := several(t, "a", 30)
	got := make(chan *signal.Signal, 100)
	for i := range 3 {
		sub := subscribe(t, b, "a", to(got), bus.Durable("d"))
		part := all[i*10 : i*10+10]
		publish(t, b, part[:5]...)
		for range 5 {
			await(t, got, "signal")
		}
		if err := sub.Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
		publish(t, b, part[5:]...) // nobody is there
		publish(t, b, make1(t, "other", 1))
		quiet(t, got, 20*time.Millisecond, "a signal after the drain")
		b = join(t, srv)
		next := subscribe(t, b, "a", to(got), bus.Durable("d"))
		for _, want := range part[5:] {
			if s := await(t, got, "what was missed"); s.ID != want.ID {
				t.Errorf("got %s, want %s", s.ID, want.ID)
			}
		}
		next.Stop()
		await(t, next.Done(), "the end")
	}
	infos, err := b.Subscriptions(t.Context())
	if err != nil || len(infos) != 1 {
		t.Fatalf("Subscriptions() = %v, %v, want one", infos, err)
	}
	// The position stands at the last signal of the pattern, or behind it.
	if in := infos[0]; in.Name != "d" || in.Pattern != "a" || in.Waiting != 0 || in.InFlight != 0 || in.Position < 32 {
		t.Errorf("info = %+v, want d with nothing waiting", in)
	}
}

func TestMembersShare(t *testing.T) {
	t.Parallel()
	srv := serve(t, embed.Fast)
	b := join(t, srv)
	const n = 600
	type receipt struct {
		member int
		id     string
	}
	got := make(chan receipt, 2*n)
	for i := range 3 {
		subscribe(t, join(t, srv), "a", func(_ context.Context, s *signal.Signal) error {
			got <- receipt{i, s.ID}
			return nil
		}, bus.Durable("d"), bus.Concurrency(4))
	}
	signals := several(t, "a", n)
	publish(t, b, signals...)
	seen, by := map[string]bool{}, map[int]int{}
	for range n {
		r := await(t, got, "signal")
		if seen[r.id] {
			t.Errorf("signal %s was handled twice", r.id)
		}
		seen[r.id] = true
		by[r.member]++
	}
	quiet(t, got, 50*time.Millisecond, "a signal too many")
	t.Logf("shares: %v", by)
}

// Stop gives back at once: AckWait is half a minute.
func TestStopHandsOver(t *testing.T) {
	t.Parallel()
	srv := serve(t, embed.Fast)
	first, second := join(t, srv), join(t, srv)
	entered := make(chan bool, 10)
	sub := subscribe(t, first, "a", func(ctx context.Context, _ *signal.Signal) error {
		entered <- true
		<-ctx.Done()
		return ctx.Err()
	}, bus.Durable("d"), bus.Concurrency(3))
	signals := several(t, "a", 10)
	publish(t, first, signals...)
	for range 3 {
		await(t, entered, "handler")
	}
	got := make(chan *signal.Signal, 10)
	subscribe(t, second, "a", to(got), bus.Durable("d"))
	began := time.Now()
	sub.Stop()
	sub.Stop()
	seen := map[string]bool{}
	for len(seen) < 10 {
		seen[await(t, got, "what the first left").ID] = true
	}
	if d := time.Since(began); d > 5*time.Second {
		t.Errorf("handing over took %s", d)
	}
	await(t, sub.Done(), "the end of the first")
	if sub.Err() != nil {
		t.Errorf("Err() = %v, want nil", sub.Err())
	}
}

// A crash is seen as silence: the others get the signals after AckWait.
func TestCrashHandsOver(t *testing.T) {
	t.Parallel()
	srv := serve(t, embed.Fast)
	first, second := join(t, srv), join(t, srv)
	entered, let := make(chan bool, 10), make(chan bool)
	sub := subscribe(t, first, "a", func(context.Context, *signal.Signal) error {
		entered <- true
		hold(t, let)
		return nil
	}, bus.Durable("d"), bus.AckWait(500*time.Millisecond))
	publish(t, first, several(t, "a", 5)...)
	await(t, entered, "handler")
	// The keeper holds on to it as long as the process lives.
	got := make(chan *signal.Signal, 10)
	subscribe(t, second, "a", to(got), bus.Durable("d"), bus.AckWait(500*time.Millisecond))
	seen := map[string]bool{}
	for len(seen) < 3 {
		seen[string(await(t, got, "what the first did not take").Data)] = true
	}
	quiet(t, got, time.Second, "a signal that the first still holds")
	first.Conn().Close()
	for len(seen) < 5 {
		seen[string(await(t, got, "what the first held").Data)] = true
	}
	close(let)
	await(t, sub.Done(), "the end of the first")
	wantCode(t, sub.Err(), fault.Unavailable)
}

// A handler may take longer than AckWait.
func TestLongHandler(t *testing.T) {
	t.Parallel()
	b := open(t)
	calls := make(chan bool, 10)
	sub := subscribe(t, b, "a", func(context.Context, *signal.Signal) error {
		calls <- true
		<-time.After(1200 * time.Millisecond)
		return nil
	}, bus.Durable("d"), bus.AckWait(300*time.Millisecond))
	publish(t, b, make1(t, "a", 1), make1(t, "a", 2))
	await(t, calls, "first call")
	await(t, calls, "second call")
	until(t, "both to be handled", func() bool { return sub.Stats().Handled == 2 })
	quiet(t, calls, 400*time.Millisecond, "a third call")
}

// Outcomes come in any order; what has none when the member goes comes again, alone.
func TestOutOfOrderOutcomes(t *testing.T) {
	t.Parallel()
	b := open(t)
	release := map[string]chan bool{}
	signals := several(t, "a", 6)
	for _, s := range signals {
		release[s.ID] = make(chan bool)
	}
	entered, left := make(chan string, 10), make(chan string, 10)
	sub := subscribe(t, b, "a", func(ctx context.Context, s *signal.Signal) error {
		entered <- s.ID
		select {
		case <-release[s.ID]:
			left <- s.ID
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}, bus.Durable("d"), bus.Concurrency(6))
	publish(t, b, signals...)
	for range signals {
		await(t, entered, "handler")
	}
	for _, i := range []int{5, 2, 4} {
		close(release[signals[i].ID])
		await(t, left, "handler to end")
	}
	until(t, "three to be handled", func() bool { return sub.Stats().Handled == 3 })
	sub.Stop()
	await(t, sub.Done(), "the end")

	got := make(chan *signal.Signal, 10)
	subscribe(t, b, "a", to(got), bus.Durable("d"))
	again := map[string]bool{}
	for range 3 {
		again[await(t, got, "what had no outcome").ID] = true
	}
	for _, i := range []int{0, 1, 3} {
		if !again[signals[i].ID] {
			t.Errorf("signal %d did not come again", i)
		}
	}
	quiet(t, got, 50*time.Millisecond, "a signal that was handled")
}

func TestDrain(t *testing.T) {
	t.Parallel()
	eachKind(t, func(t *testing.T, opts []bus.SubscribeOption) {
		b := open(t)
		entered, let := make(chan bool, 10), make(chan bool)
		var tries atomic.Int32
		sub := subscribe(t, b, "a", func(context.Context, *signal.Signal) error {
			if tries.Add(1) == 1 {
				entered <- true
				hold(t, let)
				return errors.New("once more")
			}
			return nil
		}, append(slices.Clone(opts), bus.Backoff(50*time.Millisecond, 50*time.Millisecond))...)
		publish(t, b, make1(t, "a", 1))
		await(t, entered, "handler")
		drained := make(chan error, 1)
		go func() { drained <- sub.Drain(context.Background()) }()
		quiet(t, drained, 50*time.Millisecond, "drained while a handler runs")
		close(let)
		if err := await(t, drained, "drain"); err != nil || tries.Load() != 2 {
			t.Errorf("Drain() = %v after %d attempts, want nil after 2", err, tries.Load())
		}
		if err := sub.Drain(t.Context()); err != nil {
			t.Errorf("second Drain() = %v, want nil", err)
		}
	})
}

func TestDrainGivesUp(t *testing.T) {
	t.Parallel()
	b := open(t)
	entered := make(chan bool, 10)
	sub := subscribe(t, b, "a", func(ctx context.Context, _ *signal.Signal) error {
		entered <- true
		<-ctx.Done()
		return ctx.Err()
	}, bus.Durable("d"))
	publish(t, b, make1(t, "a", 1))
	await(t, entered, "handler")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := sub.Drain(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Drain() = %v, want a passed deadline", err)
	}
	got := make(chan *signal.Signal, 1)
	subscribe(t, b, "a", to(got), bus.Durable("d"))
	await(t, got, "what was interrupted")
}

func TestDeletedSubscription(t *testing.T) {
	t.Parallel()
	b := open(t)
	sub := subscribe(t, b, "a", to(make(chan *signal.Signal)), bus.Durable("d"))
	wantCode(t, b.DeleteSubscription(t.Context(), "other"), fault.NotFound)
	wantCode(t, b.DeleteSubscription(t.Context(), "a.b"), fault.NotFound)
	if err := b.DeleteSubscription(t.Context(), "d"); err != nil {
		t.Fatal(err)
	}
	await(t, sub.Done(), "the end")
	wantCode(t, sub.Err(), fault.NotFound)
	if infos, err := b.Subscriptions(t.Context()); len(infos) != 0 || err != nil {
		t.Errorf("Subscriptions() = %v, %v, want none", infos, err)
	}
}

func TestPatternOfDurable(t *testing.T) {
	t.Parallel()
	b := open(t)
	got := make(chan *signal.Signal, 10)
	sub := subscribe(t, b, "a", to(got), bus.Durable("d"))
	_, err := b.Subscribe(t.Context(), "b", to(got), bus.Durable("d"))
	wantCode(t, err, fault.Conflict)
	if fault.HintOf(err) == "" {
		t.Errorf("%v has no hint", err)
	}
	sub.Stop()
	await(t, sub.Done(), "the end")
	publish(t, b, make1(t, "a", 1), make1(t, "b", 1), make1(t, "b", 2))
	subscribe(t, b, "b", to(got), bus.Durable("d"), bus.Rebind(), bus.MaxInFlight(7))
	for range 2 {
		if s := await(t, got, "signal"); s.Type != "b" {
			t.Errorf("got a signal of type %s, want b", s.Type)
		}
	}
	c, err := b.JetStream().Consumer(t.Context(), "SIG_default", "sub-d")
	if err != nil {
		t.Fatal(err)
	}
	if cfg := c.CachedInfo().Config; cfg.MaxAckPending != 7 || !slices.Equal(cfg.FilterSubjects, []string{"sig.default.b"}) {
		t.Errorf("consumer has MaxAckPending %d and filters %s, want 7 and sig.default.b", cfg.MaxAckPending, cfg.FilterSubjects)
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

// Ephemeral and durable, both go on when the server was restarted.
func TestServerRestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	srv, err := embed.Start(t.Context(), embed.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	b := join(t, srv)
	got := map[string]chan *signal.Signal{}
	for kind, opts := range kinds {
		got[kind] = make(chan *signal.Signal, 1000)
		subscribe(t, b, "a", to(got[kind]), opts...)
	}
	all := several(t, "a", 60)
	publish(t, b, all[:20]...)
	port := portOf(t, srv.ClientURL())
	for kind := range kinds {
		for _, want := range all[:20] {
			if s := await(t, got[kind], "signal before the restart"); s.ID != want.ID {
				t.Errorf("%s: got %s, want %s", kind, s.Data, want.Data)
			}
		}
	}
	srv.Shutdown()
	if srv, err = embed.Start(t.Context(), embed.Config{Dir: dir, Port: port}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(srv.Shutdown)
	nc, err := nats.Connect(srv.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	other, err := bus.Open(t.Context(), nc)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	publish(t, other, all[20:]...)
	for kind := range kinds {
		seen := map[string]bool{}
		for len(seen) < 40 {
			s := await(t, got[kind], "signal after the restart")
			if seen[s.ID] || slices.Contains(ids(all[:20]), s.ID) {
				t.Logf("%s: %s came again", kind, s.Data) // a verdict was lost
			}
			if !slices.Contains(ids(all[:20]), s.ID) {
				seen[s.ID] = true
			}
		}
	}
}

// Members come and go while signals flow; every one is handled.
func TestMembersComeAndGo(t *testing.T) {
	t.Parallel()
	srv := serve(t, embed.Fast)
	b := join(t, srv)
	// It exists from the beginning on.
	subscribe(t, b, "a", to(make(chan *signal.Signal)), bus.Durable("d"), bus.AckWait(time.Second)).Stop()
	var mu sync.Mutex
	handled := map[string]int{}
	const n = 3000
	var members, publisher sync.WaitGroup
	stop := make(chan struct{})
	for i := range 3 {
		members.Go(func() {
			own := join(t, srv)
			for {
				sub, err := own.Subscribe(context.Background(), "a", func(ctx context.Context, s *signal.Signal) error {
					mu.Lock()
					defer mu.Unlock()
					handled[s.ID]++
					return nil
				}, bus.Durable("d"), bus.Concurrency(4), bus.AckWait(time.Second))
				if err != nil {
					t.Error(err)
					return
				}
				select {
				case <-time.After(time.Duration(30+20*i) * time.Millisecond):
				case <-stop:
					sub.Stop()
					<-sub.Done()
					return
				}
				sub.Stop()
				<-sub.Done()
			}
		})
	}
	signals := several(t, "a", n)
	publisher.Go(func() {
		for i := 0; i < n; i += 10 {
			publish(t, b, signals[i:i+10]...)
		}
	})
	publisher.Wait()
	until(t, "all to be handled", func() bool { mu.Lock(); defer mu.Unlock(); return len(handled) == n })
	close(stop)
	members.Wait()
	twice := 0
	for _, times := range handled {
		if times > 1 {
			twice++
		}
	}
	t.Logf("%d of %d were handled more than once", twice, n)
	if twice > 0 {
		t.Errorf("%d signals were handled twice though every member stopped in order", twice)
	}
}
