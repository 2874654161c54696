package bus_test

import (
	"context"
	"testing"

	"github.com/signalmesh/signalmesh/pkg/bus"
	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

func TestExpectSequence(t *testing.T) {
	t.Parallel()
	b := open(t)
	first, second, third := make1(t, "account.a", 1), make1(t, "account.a", 2), make1(t, "account.a", 3)
	mustIf := func(e bus.Expectation, want uint64, signals ...*signal.Signal) {
		t.Helper()
		acks, err := b.PublishIf(t.Context(), e, signals...)
		if err != nil || acks[len(acks)-1].Sequence != want {
			t.Errorf("PublishIf = %+v, %v, want sequence %d", acks, err, want)
		}
	}
	failIf := func(e bus.Expectation, signals ...*signal.Signal) {
		t.Helper()
		_, err := b.PublishIf(t.Context(), e, signals...)
		wantCode(t, err, fault.Conflict)
		if fault.HintOf(err) == "" {
			t.Errorf("%v has no hint", err)
		}
	}
	mustIf(bus.ExpectSequence("account.a", 0), 1, first)
	failIf(bus.ExpectSequence("account.a", 0), second)
	publish(t, b, make1(t, "account.b", 0)) // another type does not matter
	mustIf(bus.ExpectSequence("account.a", 1), 3, second)
	mustIf(bus.ExpectSequence("account.a", 1), 3, second) // its answer was lost
	failIf(bus.ExpectSequence("account.a", 1), third)

	failIf(bus.ExpectLast(2), third)
	mustIf(bus.ExpectLast(3), 4, third)
	mustIf(bus.ExpectLast(3), 4, third)

	batch := several(t, "account.a", 3)
	failIf(bus.ExpectSequence("account.a", 3), batch...)
	mustIf(bus.ExpectSequence("account.a", 4), 7, batch...)
	mustIf(bus.ExpectSequence("account.a", 4), 7, batch...)
	if last, _ := b.Last(t.Context()); last != 7 {
		t.Errorf("Last() = %d, want 7", last)
	}
	_, err := b.PublishIf(t.Context(), bus.ExpectSequence("a..b", 1), third)
	wantCode(t, err, fault.Invalid)
}

// Of many that decide from the same state one wins.
func TestExpectSequenceRace(t *testing.T) {
	t.Parallel()
	b := open(t)
	won := make(chan error, 20)
	for i := range cap(won) {
		s := make1(t, "a", i)
		go func() {
			_, err := b.PublishIf(context.Background(), bus.ExpectSequence("a", 0), s)
			won <- err
		}()
	}
	winners := 0
	for range cap(won) {
		switch err := await(t, won, "publish"); err {
		case nil:
			winners++
		default:
			wantCode(t, err, fault.Conflict)
		}
	}
	if winners != 1 {
		t.Errorf("%d publishes succeeded, want 1", winners)
	}
}
