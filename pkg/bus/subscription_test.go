package bus_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/signalmesh/signalmesh/pkg/bus"
	"github.com/signalmesh/signalmesh/pkg/embed"
	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

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
