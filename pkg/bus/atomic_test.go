package bus_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/signalmesh/signalmesh/pkg/bus"
)

func TestBatch(t *testing.T) {
	t.Parallel()
	for _, n := range []int{2, 3, 100, bus.MaxBatch} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			t.Parallel()
			b := open(t)
			publish(t, b, make1(t, "first", 0))
			signals := several(t, "a.b", n)
			acks, err := b.PublishAck(t.Context(), signals...)
			if err != nil {
				t.Fatal(err)
			}
			for i, a := range acks {
				if want := (bus.Ack{ID: signals[i].ID, Bus: "default", Sequence: uint64(i + 2)}); a != want {
					t.Fatalf("ack %d = %+v, want %+v", i, a, want)
				}
			}
			if got := ids(replayed(t, b, "a.b")); !slices.Equal(got, ids(signals)) {
				t.Errorf("%d signals are stored, or in another order; want %d", len(got), n)
			}
		})
	}
}

// Others publish in between, but nothing gets between the members of a batch.
func TestBatchesStayTogether(t *testing.T) {
	t.Parallel()
	b := open(t)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 5 {
				acks, err := b.PublishAck(context.Background(), several(t, "a", 7)...)
				if err != nil {
					t.Error(err)
					return
				}
				for i, a := range acks {
					if a.Sequence != acks[0].Sequence+uint64(i) {
						t.Errorf("member %d lies at %d, the first at %d", i, a.Sequence, acks[0].Sequence)
					}
				}
			}
		})
		wg.Go(func() {
			for range 10 {
				publish(t, b, make1(t, "b", 1))
			}
		})
	}
	wg.Wait()
	if last, _ := b.Last(t.Context()); last != 8*5*7+8*10 {
		t.Errorf("Last() = %d, want %d", last, 8*5*7+8*10)
	}
}

func TestBatchWithDuplicates(t *testing.T) {
	t.Parallel()
	b := open(t)
	all := several(t, "a", 20)
	there := map[int]uint64{3: 0, 7: 0, 8: 0, 19: 0}
	for i := range there {
		acks, err := b.PublishAck(t.Context(), all[i])
		if err != nil {
			t.Fatal(err)
		}
		there[i] = acks[0].Sequence
	}
	for round := range 3 { // the first stores the rest, further ones nothing
		acks, err := b.PublishAck(t.Context(), all...)
		if err != nil {
			t.Fatal(err)
		}
		next := uint64(len(there) + 1)
		for i, a := range acks {
			at, was := there[i]
			if !was {
				at, next = next, next+1
			}
			if a.Sequence != at || a.Duplicate != (was || round > 0) {
				t.Errorf("round %d: ack %d = %+v, want sequence %d, duplicate %t", round, i, a, at, was || round > 0)
			}
		}
		if last, _ := b.Last(t.Context()); last != 20 {
			t.Errorf("round %d: Last() = %d, want 20", round, last)
		}
	}
}

func TestBatchRepeated(t *testing.T) {
	t.Parallel()
	b := open(t)
	all := several(t, "a", 300)
	for round := range 2 {
		began := time.Now()
		acks, err := b.PublishAck(t.Context(), all...)
		if err != nil {
			t.Fatal(err)
		}
		for i, a := range acks {
			if want := (bus.Ack{ID: all[i].ID, Bus: "default", Sequence: uint64(i + 1), Duplicate: round > 0}); a != want {
				t.Fatalf("round %d: ack %d = %+v, want %+v", round, i, a, want)
			}
		}
		if d := time.Since(began); d > 2*time.Second {
			t.Errorf("round %d took %s", round, d)
		}
	}
}

func TestBatchWithTwins(t *testing.T) {
	t.Parallel()
	b := open(t)
	s, other := make1(t, "a", 1), make1(t, "a", 2)
	acks, err := b.PublishAck(t.Context(), s, other, s)
	want := []bus.Ack{
		{ID: s.ID, Bus: "default", Sequence: 1},
		{ID: other.ID, Bus: "default", Sequence: 2},
		{ID: s.ID, Bus: "default", Sequence: 1, Duplicate: true},
	}
	if diff := cmp.Diff(want, acks); err != nil || diff != "" {
		t.Errorf("acks differ (-want +got): %v\n%s", err, diff)
	}
	acks, err = b.PublishAck(t.Context(), s, s)
	if err != nil || acks[0].Sequence != 1 || acks[1].Sequence != 1 || !acks[0].Duplicate {
		t.Errorf("the same signal twice = %+v, %v, want sequence 1 twice", acks, err)
	}
}

// A stream without atomic batches gets the signals one by one.
func TestBatchSwitchedOff(t *testing.T) {
	t.Parallel()
	b := open(t)
	stream, err := b.JetStream().Stream(t.Context(), "SIG_default")
	if err != nil {
		t.Fatal(err)
	}
	cfg := stream.CachedInfo().Config
	cfg.AllowAtomicPublish = false
	if _, err := b.JetStream().UpdateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	all := several(t, "a", 5)
	publish(t, b, all[2])
	acks, err := b.PublishAck(t.Context(), all...)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []uint64{2, 3, 1, 4, 5} {
		if acks[i].Sequence != want || acks[i].Duplicate != (i == 2) {
			t.Errorf("ack %d = %+v, want sequence %d", i, acks[i], want)
		}
	}
}
