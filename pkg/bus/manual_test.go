package bus_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/signalmesh/signalmesh/pkg/bus"
	"github.com/signalmesh/signalmesh/pkg/delivery"
	"github.com/signalmesh/signalmesh/pkg/embed"
	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

// manually subscribes to "a" as "d", taking signals without a verdict.
func manually(t *testing.T, b *bus.Bus, opts ...bus.SubscribeOption) (*bus.Subscription, <-chan *signal.Signal) {
	t.Helper()
	got := make(chan *signal.Signal, 100)
	return subscribe(t, b, "a", to(got), append([]bus.SubscribeOption{
		bus.Durable("d"), bus.ManualAck(), bus.Backoff(10*time.Millisecond, 10*time.Millisecond),
	}, opts...)...), got
}

func idsOf(signals []*signal.Signal) []string {
	var ids []string
	for _, s := range signals {
		ids = append(ids, s.ID)
	}
	return ids
}

func TestManualAck(t *testing.T) {
	t.Parallel()
	b := open(t)
	sub, got := manually(t, b)
	all := several(t, "a", 6)
	publish(t, b, all...)
	for _, want := range all { // one handler, and no verdict holds up the next
		if s := await(t, got, "signal"); s.ID != want.ID {
			t.Errorf("got %s, want %s", s.ID, want.ID)
		}
	}
	if n := consumerInfo(t, b, "SIG_default", "sub-d").NumAckPending; n != 6 {
		t.Errorf("%d without a verdict, want 6", n)
	}
	ids := idsOf(all)
	for name, err := range map[string]error{
		"list": sub.Ack(t.Context(), ids[5], ids[2], ids[5]), "one": sub.Ack(t.Context(), ids[4]),
		"again": sub.Ack(t.Context(), ids[5]), "position": sub.AckSequence(t.Context(), 1), "again by position": sub.AckSequence(t.Context(), 5, 1),
	} {
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	until(t, "four to be handled", func() bool { return sub.Stats().Handled == 4 && sub.Stats().InFlight == 2 })
	until(t, "the server to have worked them off", func() bool {
		in := consumerInfo(t, b, "SIG_default", "sub-d")
		return in.NumAckPending == 2 && in.AckFloor.Stream == 1
	})
	// What has no verdict when the member goes comes again, and nothing else.
	sub.Stop()
	await(t, sub.Done(), "the end")
	next, again := manually(t, b)
	back := idsOf([]*signal.Signal{await(t, again, "signal"), await(t, again, "signal")})
	if slices.Sort(back); !slices.Equal(back, []string{ids[1], ids[3]}) {
		t.Errorf("%v came again, want the second and the fourth", back)
	}
	quiet(t, again, 50*time.Millisecond, "a signal that was acknowledged")
	if err := next.Ack(t.Context(), back...); err != nil {
		t.Error(err)
	}
	if err := next.Drain(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestManualAckErrors(t *testing.T) {
	t.Parallel()
	b := open(t)
	_, err := b.Subscribe(t.Context(), "a", to(nil), bus.ManualAck())
	wantCode(t, err, fault.Invalid)
	auto := subscribe(t, b, "x", to(nil), bus.Durable("auto"))
	sub, got := manually(t, b)
	one, two := make1(t, "a", 1, signal.WithID("same")), make1(t, "a", 2, signal.WithID("same"), signal.From("/other"))
	publish(t, b, one, two, make1(t, "a", 3, signal.WithID("third")))
	for range 3 {
		await(t, got, "signal")
	}
	ctx := t.Context()
	tests := []struct {
		name string
		do   func() error
		want error
	}{
		{"nothing", func() error { return sub.Ack(ctx) }, bus.ErrAckArgument},
		{"no position", func() error { return sub.AckSequence(ctx) }, bus.ErrAckArgument},
		{"empty", func() error { return sub.Ack(ctx, "third", "") }, bus.ErrAckArgument},
		{"position 0", func() error { return sub.AckSequence(ctx, 3, 0) }, bus.ErrAckArgument},
		{"nak of nothing", func() error { return sub.Nak("", 0) }, bus.ErrAckArgument},
		{"unknown", func() error { return sub.Ack(ctx, "third", "fourth") }, bus.ErrNotInFlight},
		{"unknown position", func() error { return sub.AckSequence(ctx, 3, 4) }, bus.ErrNotInFlight},
		{"unknown, given up", func() error { return sub.Term("fourth", "") }, bus.ErrNotInFlight},
		{"ambiguous", func() error { return sub.Ack(ctx, "third", "same") }, bus.ErrAmbiguous},
		{"automatic", func() error { return auto.Ack(ctx, "third") }, bus.ErrNotManual},
		{"automatic, position", func() error { return auto.AckSequence(ctx, 1) }, bus.ErrNotManual},
		{"automatic, progress", func() error { return auto.InProgress("third") }, bus.ErrNotManual},
		{"by position", func() error { return sub.AckSequence(ctx, 1) }, nil},
		{"no more ambiguous", func() error { return sub.Ack(ctx, "same", "third") }, nil},
		{"another verdict", func() error { return sub.Term("third", "") }, bus.ErrSettled},
		{"given back too late", func() error { return sub.Nak("third", 0) }, bus.ErrSettled},
	}
	for _, test := range tests {
		if err := test.do(); !errors.Is(err, test.want) {
			t.Errorf("%s: error = %v, want %v", test.name, err, test.want)
		}
		if test.name == "ambiguous" && sub.Stats().Handled != 0 {
			t.Error("a refused acknowledgement acknowledged something")
		}
		if test.name == "by position" {
			until(t, "the first to go", func() bool { return sub.Stats().InFlight == 2 })
		}
	}
	publish(t, b, make1(t, "a", 5, signal.WithID("last")))
	await(t, got, "signal")
	sub.Stop()
	await(t, sub.Done(), "the end")
	if err := sub.Ack(ctx, "last"); !errors.Is(err, bus.ErrEnded) {
		t.Errorf("after the end: %v, want %v", err, bus.ErrEnded)
	}
}

// Without a verdict in time it is a failed attempt, and the last one makes a dead letter.
func TestManualAckWait(t *testing.T) {
	t.Parallel()
	b := open(t)
	attempts := make(chan int, 10)
	began := time.Now()
	sub := subscribe(t, b, "a", func(ctx context.Context, _ *signal.Signal) error {
		p, _ := bus.Position(ctx)
		attempts <- p.Attempt
		return nil
	}, bus.Durable("d"), bus.ManualAck(), bus.AckWait(150*time.Millisecond), bus.MaxAttempts(3), bus.Backoff(time.Millisecond, time.Millisecond))
	publish(t, b, make1(t, "a", 1, signal.WithID("x")))
	for want := 1; want <= 3; want++ {
		if n := await(t, attempts, "attempt"); n != want {
			t.Errorf("attempt %d, want %d", n, want)
		}
	}
	until(t, "the signal to be given up", func() bool { return sub.Stats().Dead == 1 })
	if d := time.Since(began); d < 450*time.Millisecond {
		t.Errorf("given up after %s, want three times AckWait", d)
	}
	l := letters(t, b, bus.LetterFilter{})[0]
	if l.Reason != delivery.ReasonAttempts || len(l.Attempts) != 3 || !strings.Contains(l.Error, "not acknowledged within 150ms") {
		t.Errorf("letter = %+v, want one of three attempts", l)
	}
	until(t, "it to be no more in flight", func() bool { return errors.Is(sub.Ack(t.Context(), "x"), bus.ErrNotInFlight) })
}

func TestManualInProgress(t *testing.T) {
	t.Parallel()
	b := open(t)
	sub, got := manually(t, b, bus.AckWait(800*time.Millisecond))
	publish(t, b, make1(t, "a", 1, signal.WithID("x")))
	await(t, got, "signal")
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for range 7 {
		<-tick.C
		if err := sub.InProgress("x"); err != nil {
			t.Fatal(err)
		}
	}
	quiet(t, got, 0, "a signal in progress")
	await(t, got, "the signal when nothing is said any more")
	if err := sub.Ack(t.Context(), "x"); err != nil {
		t.Error(err)
	}
	if st := sub.Stats(); st.Failed != 1 {
		t.Errorf("%d attempts failed, want 1", st.Failed)
	}
}

// An acknowledgement counts at any time: in the handler, and while another attempt waits.
func TestManualAckAnyTime(t *testing.T) {
	t.Parallel()
	b := open(t)
	calls := make(chan string, 10)
	var sub *bus.Subscription
	ready := make(chan bool)
	sub = subscribe(t, b, "a", func(ctx context.Context, s *signal.Signal) error {
		<-ready
		calls <- s.ID
		if s.ID == "within" {
			if err := sub.Ack(ctx, s.ID); err != nil {
				t.Error(err)
			}
			if ctx.Err() != nil {
				t.Error("the acknowledgement ended the handler's context")
			}
		}
		return errors.New("the acknowledgement counts more")
	}, bus.Durable("d"), bus.ManualAck(), bus.Backoff(time.Hour, time.Hour))
	close(ready)
	publish(t, b, make1(t, "a", 1, signal.WithID("within")), make1(t, "a", 2, signal.WithID("late")))
	await(t, calls, "first")
	await(t, calls, "second")
	until(t, "the second to wait", func() bool { return sub.Stats().Failed == 1 })
	if err := sub.Ack(t.Context(), "late"); err != nil {
		t.Error(err)
	}
	until(t, "both to be handled", func() bool { return sub.Stats().Handled == 2 && sub.Stats().InFlight == 0 })
}

func TestManualNakAndTerm(t *testing.T) {
	t.Parallel()
	b := open(t)
	sub, got := manually(t, b, bus.MaxAttempts(2))
	publish(t, b, make1(t, "a", 1, signal.WithID("back")), make1(t, "a", 2, signal.WithID("up")))
	await(t, got, "first")
	await(t, got, "second")
	began := time.Now()
	if err := sub.Nak("back", 200*time.Millisecond); err != nil {
		t.Error(err)
	}
	for range 2 {
		if err := sub.Term("up", "it smells"); err != nil {
			t.Error(err)
		}
	}
	if err := sub.Ack(t.Context(), "up"); !errors.Is(err, bus.ErrSettled) {
		t.Errorf("Ack of what was given up = %v, want %v", err, bus.ErrSettled)
	}
	if s := await(t, got, "what was given back"); s.ID != "back" || time.Since(began) < 200*time.Millisecond {
		t.Errorf("%s came after %s, want what was given back after its delay", s.ID, time.Since(began))
	}
	if err := sub.Nak("back", 0); err != nil { // the last attempt
		t.Error(err)
	}
	until(t, "both to be given up", func() bool { return sub.Stats().Dead == 2 })
	reasons := map[string]delivery.Reason{}
	for _, l := range letters(t, b, bus.LetterFilter{}) {
		s, err := l.Decode()
		if err != nil {
			t.Fatal(err)
		}
		reasons[s.ID] = l.Reason
		if s.ID == "up" && !strings.Contains(l.Error, "it smells") {
			t.Errorf("error of the letter = %q, want the reason that was given", l.Error)
		}
	}
	if reasons["back"] != delivery.ReasonAttempts || reasons["up"] != delivery.ReasonPermanent {
		t.Errorf("reasons = %v, want attempts and permanent", reasons)
	}
}

// MaxInFlight bounds what has no verdict, over all members.
func TestManualMaxInFlight(t *testing.T) {
	t.Parallel()
	b := open(t)
	sub, got := manually(t, b, bus.MaxInFlight(3))
	publish(t, b, several(t, "a", 5)...)
	first := await(t, got, "signal")
	await(t, got, "signal")
	await(t, got, "signal")
	quiet(t, got, 100*time.Millisecond, "a signal over the limit")
	if err := sub.Ack(t.Context(), first.ID); err != nil {
		t.Fatal(err)
	}
	await(t, got, "signal for the free place")
	quiet(t, got, 50*time.Millisecond, "a signal over the limit")
}

// A process that dies hands its share over.
func TestManualCrash(t *testing.T) {
	t.Parallel()
	srv := serve(t, embed.Fast)
	dying := join(t, srv)
	sub, got := manually(t, dying, bus.AckWait(500*time.Millisecond))
	all := several(t, "a", 3)
	publish(t, dying, all...)
	for range all {
		await(t, got, "signal")
	}
	if err := sub.Ack(t.Context(), all[1].ID); err != nil {
		t.Fatal(err)
	}
	dying.Conn().Close()
	heir, again := manually(t, join(t, srv), bus.AckWait(500*time.Millisecond))
	back := map[string]bool{}
	for len(back) < 2 {
		back[await(t, again, "what the dead held").ID] = true
	}
	if back[all[1].ID] {
		t.Error("the second came to the heir, which was acknowledged")
	}
	if err := heir.Ack(t.Context(), all[0].ID, all[2].ID); err != nil {
		t.Error(err)
	}
	await(t, sub.Done(), "the end of the dead")
	wantCode(t, sub.Ack(t.Context(), all[0].ID), fault.Conflict)
}
