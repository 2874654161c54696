package journal_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/signalmesh/signalmesh/pkg/delivery"
	"github.com/signalmesh/signalmesh/pkg/embed"
	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/journal"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

func attempt(n int, code fault.Code) delivery.Attempt {
	return delivery.Attempt{Number: n, At: noon.Add(time.Duration(n) * time.Second), Node: "n1", Code: code}
}

func TestVerdictsAreMerged(t *testing.T) {
	t.Parallel()
	j, _ := setup(t)
	s := newSignal(t, "a")
	put := func(v ...delivery.Verdict) {
		t.Helper()
		if err := j.PutVerdicts(t.Context(), s, 7, v); err != nil {
			t.Fatal(err)
		}
	}
	waiting := delivery.Verdict{
		Route: "r", Target: "one", Status: delivery.Retrying, At: noon.Add(3 * time.Second),
		Attempts: []delivery.Attempt{attempt(1, fault.Unavailable), attempt(2, fault.Unavailable)},
	}
	two := delivery.Verdict{Route: "r", Target: "two", Status: delivery.Delivered, At: noon, Attempts: []delivery.Attempt{attempt(1, "")}}
	done := delivery.Verdict{
		Route: "r", Target: "one", Status: delivery.Delivered, At: noon.Add(4 * time.Second), Node: "n2",
		Attempts: []delivery.Attempt{attempt(2, fault.Unavailable), attempt(3, "")},
	}
	put(waiting, two)
	put(done)
	put(waiting, two) // a redelivery that comes too late changes nothing
	put()

	want := done
	want.Attempts = []delivery.Attempt{attempt(1, fault.Unavailable), attempt(2, fault.Unavailable), attempt(3, "")}
	got, err := j.Verdicts(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]delivery.Verdict{want, two}, got); diff != "" {
		t.Errorf("verdicts differ (-want +got):\n%s", diff)
	}
}

func TestVerdictsOfSeveralSources(t *testing.T) {
	t.Parallel()
	j, _ := setup(t)
	for _, source := range []string{"/one", "/two"} {
		v := delivery.Verdict{Route: source, Status: delivery.Delivered, At: noon}
		if err := j.PutVerdicts(t.Context(), newSignal(t, "a", signal.From(source)), 1, []delivery.Verdict{v}); err != nil {
			t.Fatal(err)
		}
	}
	var ambiguous *journal.AmbiguousError
	if _, err := j.Verdicts(t.Context(), "a"); !errors.As(err, &ambiguous) {
		t.Errorf("Verdicts(a) = %v, want an AmbiguousError", err)
	}
	if v, err := j.Verdicts(t.Context(), "a", journal.FromSource("/two")); err != nil || len(v) != 1 || v[0].Route != "/two" {
		t.Errorf("Verdicts(a, /two) = %+v, %v", v, err)
	}
}

// Whoever puts verdicts at the same time, from whatever process, none gets lost: also when
// the store syncs and they share atomic batches.
func TestVerdictsAtTheSameTime(t *testing.T) {
	t.Parallel()
	for _, d := range []embed.Durability{embed.Fast, embed.Sync} {
		t.Run(string(d), func(t *testing.T) {
			t.Parallel()
			srv := server(t, d)
			journals := []*journal.Journal{open(t, connect(t, srv)), open(t, connect(t, srv))}
			const signals, writers = 40, 6
			var wg sync.WaitGroup
			for i := range signals {
				s := newSignal(t, fmt.Sprint("s", i))
				for w := range writers {
					wg.Go(func() {
						v := delivery.Verdict{Route: fmt.Sprint("r", w), Status: delivery.Delivered, At: noon}
						if err := journals[w%2].PutVerdicts(t.Context(), s, 1, []delivery.Verdict{v}); err != nil {
							t.Error(err)
						}
					})
				}
			}
			wg.Wait()
			for i := range signals {
				v, err := journals[0].Verdicts(t.Context(), fmt.Sprint("s", i))
				if err != nil || len(v) != writers {
					t.Errorf("s%d has %d verdicts, %v, want %d", i, len(v), err, writers)
				}
			}
		})
	}
}

// A receiver that is down for weeks does not make a key grow without end.
func TestVerdictsAreBounded(t *testing.T) {
	t.Parallel()
	j, _ := setup(t)
	s := newSignal(t, "a")
	for n := 1; n <= 120; n++ {
		a := attempt(n, fault.Unavailable)
		a.Error = strings.Repeat("x", 1000)
		v := delivery.Verdict{Route: "r", Status: delivery.Retrying, At: a.At, Attempts: []delivery.Attempt{a}}
		if err := j.PutVerdicts(t.Context(), s, 1, []delivery.Verdict{v}); err != nil {
			t.Fatal(err)
		}
	}
	got, err := j.Verdicts(t.Context(), "a")
	if err != nil || len(got) != 1 {
		t.Fatalf("Verdicts = %+v, %v", got, err)
	}
	n := len(got[0].Attempts)
	if n > 50 || got[0].Attempts[0].Number != 1 || got[0].Attempts[n-1].Number != 120 {
		t.Errorf("%d attempts are kept, %d to %d", n, got[0].Attempts[0].Number, got[0].Attempts[n-1].Number)
	}
}

// More than fits into one message loses what is least telling, and never fails.
func TestVerdictsFitIntoAMessage(t *testing.T) {
	t.Parallel()
	j, nc := setup(t)
	text := strings.Repeat("x", delivery.MaxExcerpt)
	for _, tc := range []struct {
		name                            string
		routes, attempts                int
		wantAll, wantErrors, wantAnswer bool
	}{
		{"little", 10, 5, true, true, true},
		{"answers", 30, 5, true, true, false},
		{"errors", 60, 20, true, true, false},
		{"verdicts", 1000, 2, false, true, false},
	} {
		s := newSignal(t, tc.name)
		var verdicts []delivery.Verdict
		for r := range tc.routes {
			v := delivery.Verdict{Route: fmt.Sprint("r", r), Status: delivery.Dead, At: noon}
			for n := range tc.attempts {
				a := attempt(n+1, fault.Unavailable)
				a.Error, a.Response = text, text
				v.Attempts = append(v.Attempts, a)
			}
			verdicts = append(verdicts, v)
		}
		if err := j.PutVerdicts(t.Context(), s, 1, verdicts); err != nil {
			t.Fatalf("%s: %v", tc.name, err)
		}
		if verdicts[0].Attempts[0].Response != text {
			t.Errorf("%s: the caller's verdicts were changed", tc.name)
		}
		got, err := j.Verdicts(t.Context(), tc.name)
		if err != nil || len(got) == 0 || (len(got) == tc.routes) != tc.wantAll {
			t.Fatalf("%s: %d verdicts of %d, %v (a message holds %d)", tc.name, len(got), tc.routes, err, nc.MaxPayload())
		}
		last := got[len(got)-1]
		if last.Route != verdicts[tc.routes-1].Route || len(last.Attempts) == 0 {
			t.Fatalf("%s: the last verdict is %s with %d attempts", tc.name, last.Route, len(last.Attempts))
		}
		a := last.Attempts[len(last.Attempts)-1]
		if a.Number != tc.attempts || (a.Error == text) != tc.wantErrors || (a.Response == text) != tc.wantAnswer {
			t.Errorf("%s: the last attempt is %d with %d bytes of error and %d of answer", tc.name, a.Number, len(a.Error), len(a.Response))
		}
	}
}
