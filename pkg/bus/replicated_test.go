package bus_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/signalmesh/signalmesh/pkg/bus"
	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

// A replicated stream refuses in other words, and looks for duplicates before anything else.
func TestReplicated(t *testing.T) {
	t.Parallel()
	urls := serveCluster(t)
	nc, err := nats.Connect(strings.Join(urls, ","))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	b, err := bus.Open(t.Context(), nc, bus.Replicas(3), bus.WithLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	var broken atomic.Bool
	broken.Store(true)
	got := make(chan string, 100)
	sub := subscribe(t, b, "**", func(_ context.Context, s *signal.Signal) error {
		if s.Type == "bad" && broken.Load() {
			return fault.Permanent(errors.New("broken"))
		}
		got <- s.ID
		return nil
	}, bus.Durable("d"), bus.AckWait(2*time.Second))

	all := several(t, "a", 12)
	for _, i := range []int{2, 3, 11} {
		publish(t, b, all[i])
	}
	for round := range 2 {
		acks, err := b.PublishAck(t.Context(), all...)
		if err != nil {
			t.Fatal(err)
		}
		var sequences []uint64
		for _, a := range acks {
			sequences = append(sequences, a.Sequence)
		}
		if want := []uint64{4, 5, 1, 2, 6, 7, 8, 9, 10, 11, 12, 3}; !slices.Equal(sequences, want) || acks[2].Duplicate != true || acks[0].Duplicate != (round > 0) {
			t.Errorf("round %d: acks = %+v, want the sequences %v", round, acks, want)
		}
	}
	fresh := several(t, "b", 5)
	for round := range 2 {
		acks, err := b.PublishIf(t.Context(), bus.ExpectSequence("b", 0), fresh...)
		if err != nil || acks[0].Sequence != 13 || acks[4].Sequence != 17 || acks[4].Duplicate != (round > 0) {
			t.Errorf("round %d: %+v, %v, want 13 to 17", round, acks, err)
		}
	}
	late := make1(t, "b", 6)
	_, err = b.PublishIf(t.Context(), bus.ExpectSequence("b", 16), late)
	wantCode(t, err, fault.Conflict)
	_, err = b.PublishIf(t.Context(), bus.ExpectSequence("b", 16), several(t, "b", 2)...)
	wantCode(t, err, fault.Conflict)
	var won atomic.Int32
	var wg sync.WaitGroup
	for range 10 { // many at once
		s := make1(t, "b", 7)
		wg.Go(func() {
			if _, err := b.PublishIf(context.Background(), bus.ExpectSequence("b", 17), s); err != nil {
				wantCode(t, err, fault.Conflict)
				return
			}
			won.Add(1)
		})
	}
	wg.Wait()
	if won.Load() != 1 {
		t.Errorf("%d of 10 publishes under one expectation succeeded, want 1", won.Load())
	}
	publish(t, b, make1(t, "bad", 1))
	seen := map[string]bool{}
	for len(seen) < 18 {
		seen[await(t, got, "signal")] = true
	}
	until(t, "dead letter", func() bool { return sub.Stats().Dead == 1 })
	broken.Store(false)
	if err := b.DeadLetters().Redrive(t.Context(), letters(t, b, bus.LetterFilter{})[0].ID, "ann"); err != nil {
		t.Fatal(err)
	}
	for len(seen) < 19 {
		seen[await(t, got, "the redriven signal")] = true
	}
}
