package signal_test

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

func TestNewIDIncreases(t *testing.T) {
	t.Parallel()
	const workers, each = 8, 20_000
	made := make([][]signal.ID, workers)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for range each {
				made[w] = append(made[w], signal.NewID())
			}
		})
	}
	wg.Wait()
	seen := make(map[signal.ID]bool, workers*each)
	for _, ids := range made {
		if !slices.IsSortedFunc(ids, signal.ID.Compare) {
			t.Error("ids of one goroutine are not increasing")
		}
		for _, id := range ids {
			seen[id] = true
		}
	}
	if len(seen) != workers*each {
		t.Errorf("%d different ids, want %d", len(seen), workers*each)
	}
}

// More ids than a millisecond has sequence numbers, while the clock stands still.
func TestNewIDRunsAheadOfTheClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// The bubble's clock starts in 2000, far behind what other tests used: the clock has
		// gone back, too.
		ids := append(signal.NewIDs(10_000), signal.NewID())
		for i := 1; i < len(ids); i++ {
			if a, b := ids[i-1], ids[i]; a.Compare(b) >= 0 || a.String() >= b.String() || bytes.Compare(a[:], b[:]) >= 0 {
				t.Fatalf("ids[%d] = %s, not less than ids[%d] = %s", i-1, a, i, b)
			}
		}
		if got := ids[10_000].Time().Sub(ids[0].Time()); got > 4*time.Millisecond {
			t.Errorf("10001 ids took %v of id time, want at most 3 or 4 ms", got)
		}
	})
}

func TestNewIDs(t *testing.T) {
	t.Parallel()
	for _, n := range []int{-1, 0, 1, 100} {
		if got := signal.NewIDs(n); len(got) != max(n, 0) || !slices.IsSortedFunc(got, signal.ID.Compare) {
			t.Errorf("NewIDs(%d) = %d ids", n, len(got))
		}
	}
}

func TestIDParts(t *testing.T) {
	t.Parallel()
	const text = "017f22e2-79b0-7cc3-98c4-dc0c0c07398f" // the example of RFC 9562, A.6
	id := signal.MustParseID(text)
	if got := id.String(); got != text {
		t.Errorf("String() = %s, want %s", got, text)
	}
	if got, want := id.Time(), time.Date(2022, 2, 22, 19, 22, 22, 0, time.UTC); !got.Equal(want) {
		t.Errorf("Time() = %v, want %v", got, want)
	}
	if got := id.Sequence(); got != 0xcc3 {
		t.Errorf("Sequence() = %#x, want 0xcc3", got)
	}
	if upper, err := signal.ParseID(strings.ToUpper(text)); err != nil || upper != id {
		t.Errorf("ParseID in upper case = %v, %v", upper, err)
	}
	if (signal.ID{}).IsZero() != true || id.IsZero() {
		t.Error("IsZero is wrong")
	}
	doc, err := json.Marshal(map[string]signal.ID{"id": id})
	if err != nil || string(doc) != `{"id":"`+text+`"}` {
		t.Errorf("json.Marshal = %s, %v", doc, err)
	}
	made := signal.NewID()
	if age := time.Since(made.Time()); age < -time.Minute || age > time.Minute {
		t.Errorf("Time() of a new id is %v ago", age)
	}
	if made[6]>>4 != 7 || made[8]>>6 != 2 {
		t.Errorf("NewID() = %s, want version 7, variant 2", made)
	}
}

func TestParseIDRefuses(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"", "x", "017f22e279b07cc398c4dc0c0c07398f", "{017f22e2-79b0-7cc3-98c4-dc0c0c07398f}",
		"017f22e2-79b0-7cc3-98c4-dc0c0c07398g", "017f22e2-79b0-7cc3-98c4_dc0c0c07398f",
		"017f22e2-79b0-4cc3-98c4-dc0c0c07398f", "017f22e2-79b0-7cc3-18c4-dc0c0c07398f",
		"017f22e2-79b0-7cc3-98c4-dc0c0c07398f\n",
	} {
		if _, err := signal.ParseID(text); !fault.Is(err, fault.Invalid) {
			t.Errorf("ParseID(%q) = %v, want code invalid", text, err)
		}
	}
	defer func() {
		if recover() == nil {
			t.Error("MustParseID(x) did not panic")
		}
	}()
	signal.MustParseID("x")
}
