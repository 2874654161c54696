package bus_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/signalmesh/signalmesh/pkg/bus"
	"github.com/signalmesh/signalmesh/pkg/delivery"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

// One key waits, others flow.
func TestOrderBySubject(t *testing.T) {
	t.Parallel()
	eachKind(t, func(t *testing.T, opts []bus.SubscribeOption) {
		b := open(t)
		got, let := make(chan string, 100), make(chan bool)
		sub := subscribe(t, b, "a", func(_ context.Context, s *signal.Signal) error {
			got <- s.ID
			if s.ID == "x1" {
				hold(t, let)
			}
			return nil
		}, append([]bus.SubscribeOption{bus.OrderBySubject(), bus.Concurrency(2)}, opts...)...)
		publish(t, b, make1(t, "a", 1, signal.WithID("x1"), signal.About("x")))
		if id := await(t, got, "signal"); id != "x1" {
			t.Errorf("got %s, want x1", id)
		}
		for _, id := range []string{"x2", "x3", "y1", "y2", "z1"} {
			publish(t, b, make1(t, "a", 1, signal.WithID(id), signal.About(id[:1])))
		}
		for _, want := range []string{"y1", "y2", "z1"} {
			if id := await(t, got, "signal"); id != want {
				t.Errorf("got %s, want %s", id, want)
			}
		}
		quiet(t, got, 50*time.Millisecond, "a signal of the key that waits")
		until(t, "only those of one key to be in flight", func() bool { return sub.Stats().InFlight == 3 })
		let <- true
		for _, want := range []string{"x2", "x3"} {
			if id := await(t, got, "signal"); id != want {
				t.Errorf("got %s, want %s", id, want)
			}
		}
	})
}

// Whatever fails: of one key, one at a time, and in order.
func TestOrderByUnderFailure(t *testing.T) {
	t.Parallel()
	b := open(t)
	const keys, each = 20, 30
	var mu sync.Mutex
	running, handled := map[string]bool{}, map[string][]string{}
	sub := subscribe(t, b, "a", func(_ context.Context, s *signal.Signal) error {
		mu.Lock()
		if running[s.Subject] {
			t.Errorf("two of key %s at the same time", s.Subject)
		}
		running[s.Subject] = true
		mu.Unlock()
		<-time.After(rand.N(time.Millisecond))
		mu.Lock()
		defer mu.Unlock()
		delete(running, s.Subject)
		if rand.N(5) == 0 {
			return errors.New("not now")
		}
		handled[s.Subject] = append(handled[s.Subject], string(s.Data))
		return nil
	}, bus.Durable("d"), bus.OrderBySubject(), bus.Concurrency(8), bus.MaxAttempts(100), bus.Backoff(time.Millisecond, 5*time.Millisecond))
	for i := range each {
		var row []*signal.Signal
		for k := range keys {
			row = append(row, make1(t, "a", i, signal.About(fmt.Sprint(k))))
		}
		publish(t, b, row...)
	}
	until(t, "all to be handled", func() bool { return sub.Stats().Handled == keys*each })
	for k, got := range handled {
		for i, data := range got {
			if data != fmt.Sprint(i) {
				t.Fatalf("signals of key %s were handled in the order %v", k, got)
			}
		}
	}
	if sub.Stats().Failed == 0 {
		t.Error("no attempt failed")
	}
}

// A signal without a key waits for nobody, and one whose key cannot be had is given up.
func TestOrderByWithoutKey(t *testing.T) {
	t.Parallel()
	b := open(t)
	got := make(chan string, 10)
	sub := subscribe(t, b, "a", func(ctx context.Context, s *signal.Signal) error {
		got <- s.ID
		<-ctx.Done()
		return ctx.Err()
	}, bus.Durable("d"), bus.Concurrency(2), bus.OrderBy(func(s *signal.Signal) string {
		if s.ID == "bad" {
			panic("no key")
		}
		return ""
	}))
	publish(t, b, make1(t, "a", 1, signal.WithID("bad")), make1(t, "a", 1), make1(t, "a", 2))
	await(t, got, "first")
	await(t, got, "second")
	until(t, "a dead letter", func() bool { return sub.Stats().Dead == 1 })
	if l := letters(t, b, bus.LetterFilter{})[0]; l.Reason != delivery.ReasonPermanent {
		t.Errorf("reason = %s, want %s", l.Reason, delivery.ReasonPermanent)
	}
}

// A key waits for the acknowledgement, and what waits goes back when the member stops.
func TestOrderByManualAck(t *testing.T) {
	t.Parallel()
	b := open(t)
	sub, got := manually(t, b, bus.OrderBySubject())
	for _, id := range []string{"x1", "x2", "x3", "y1"} {
		publish(t, b, make1(t, "a", 1, signal.WithID(id), signal.About(id[:1])))
	}
	for _, want := range []string{"x1", "y1"} {
		if s := await(t, got, "signal"); s.ID != want {
			t.Errorf("got %s, want %s", s.ID, want)
		}
	}
	quiet(t, got, 50*time.Millisecond, "a signal of the key that waits")
	if err := sub.Ack(t.Context(), "x1"); err != nil {
		t.Fatal(err)
	}
	if s := await(t, got, "signal"); s.ID != "x2" {
		t.Errorf("got %s, want x2", s.ID)
	}
	sub.Stop()
	await(t, sub.Done(), "the end")
	left := make(chan *signal.Signal, 10)
	subscribe(t, b, "a", to(left), bus.Durable("d"))
	again := map[string]bool{}
	for range 3 {
		again[await(t, left, "what was left").ID] = true
	}
	if !again["x2"] || !again["x3"] || !again["y1"] {
		t.Errorf("%v came again, want x2, x3 and y1", again)
	}
}
