package bus_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/signalmesh/signalmesh/pkg/bus"
	"github.com/signalmesh/signalmesh/pkg/delivery"
	"github.com/signalmesh/signalmesh/pkg/embed"
	"github.com/signalmesh/signalmesh/pkg/fault"
)

// die writes n dead letters of a route, for the signals 1 to n.
func die(tb testing.TB, b *bus.Bus, n int) {
	tb.Helper()
	var work sync.WaitGroup
	for part := range 10 {
		work.Go(func() {
			for i := part; i < n; i += 10 {
				l := delivery.Letter{
					ID: fmt.Sprintf("l%d", i+1), Kind: delivery.KindRoute, Name: "r", Target: "t", Sequence: uint64(i + 1),
					Signal: make1(tb, "a", i+1).AppendJSON(nil), LastAt: time.Now(), Reason: delivery.ReasonAttempts,
				}
				if err := b.DeadLetters().Write(tb.Context(), l); err != nil {
					tb.Error(err)
				}
			}
		})
	}
	work.Wait()
}

// requests counts what waits to run once more.
func requests(tb testing.TB, b *bus.Bus) uint64 {
	tb.Helper()
	s, err := b.JetStream().Stream(tb.Context(), "SIG_default_LATER")
	if err != nil {
		tb.Fatal(err)
	}
	return s.CachedInfo().State.Msgs
}

func TestRedriveAll(t *testing.T) {
	t.Parallel()
	b := open(t)
	d := b.DeadLetters()
	die(t, b, 100)
	for _, l := range []delivery.Letter{
		{ID: "raw", Kind: delivery.KindSignal, Name: "undecodable", Raw: []byte("x"), Sequence: 1},
		{ID: "gone", Kind: delivery.KindRoute, Name: "r", Sequence: 999},
	} {
		if err := d.Write(t.Context(), l); err != nil {
			t.Fatal(err)
		}
	}
	check := func(what string, got bus.Redriven, err error, runs, kept int, waiting uint64) {
		t.Helper()
		if err != nil || got.Runs != runs || got.Kept != kept || (got.Reason != nil) != (kept > 0) {
			t.Errorf("%s: %+v, %v, want %d that run and %d that are kept", what, got, err, runs, kept)
		}
		if n := requests(t, b); n != waiting {
			t.Errorf("%s: %d requests wait, want %d", what, n, waiting)
		}
	}
	got, err := d.RedriveAll(t.Context(), bus.LetterFilter{}, "ann", bus.RedriveDryRun(), bus.RedriveRate(1))
	check("dry run", got, err, 100, 2, 0)
	got, err = d.RedriveAll(t.Context(), bus.LetterFilter{Limit: 7}, "ann")
	check("limit", got, err, 7, 0, 7)
	began := time.Now()
	got, err = d.RedriveAll(t.Context(), bus.LetterFilter{Limit: 11}, "ann", bus.RedriveRate(50))
	check("rate", got, err, 11, 0, 18)
	if took := time.Since(began); took < 200*time.Millisecond {
		t.Errorf("11 at 50 per second took %s, want at least 200ms", took)
	}
	got, err = d.RedriveAll(t.Context(), bus.LetterFilter{}, "ann")
	check("the rest", got, err, 82, 2, 100)
	if all := letters(t, b, bus.LetterFilter{}); len(all) != 2 {
		t.Errorf("%d letters are left, want the 2 that can't be redriven", len(all))
	}
	_, err = d.RedriveAll(t.Context(), bus.LetterFilter{}, "ann", bus.RedriveRate(-1))
	wantCode(t, err, fault.Invalid)
}

// Two who redrive the same letters at once make each delivery run once.
func TestRedriveTwice(t *testing.T) {
	t.Parallel()
	b := open(t)
	const n = 300
	die(t, b, n)
	var work sync.WaitGroup
	for _, by := range []string{"ann", "bob"} {
		work.Go(func() {
			if _, err := b.DeadLetters().RedriveAll(t.Context(), bus.LetterFilter{}, by); err != nil {
				t.Error(err)
			}
		})
	}
	work.Wait()
	if got := requests(t, b); got != n {
		t.Errorf("%d requests wait, want %d", got, n)
	}
}

func TestRedriveAllEnds(t *testing.T) {
	t.Parallel()
	b := open(t)
	die(t, b, 20)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var got bus.Redriven
	var err error
	ended := make(chan bool, 1)
	go func() { // ends with cancel
		got, err = b.DeadLetters().RedriveAll(ctx, bus.LetterFilter{}, "ann", bus.RedriveRate(0.001))
		ended <- true
	}()
	until(t, "the first to be redriven", func() bool { return len(letters(t, b, bus.LetterFilter{})) == 19 })
	cancel()
	await(t, ended, "the end")
	wantCode(t, err, fault.Unavailable)
	if left := len(letters(t, b, bus.LetterFilter{})); got.Runs > 1 || left != 19 {
		t.Errorf("%+v and %d letters left, want at most one that runs and 19", got, left)
	}
	if err := b.JetStream().DeleteStream(t.Context(), "SIG_default_LATER"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel = context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	got, err = b.DeadLetters().RedriveAll(ctx, bus.LetterFilter{}, "ann")
	wantCode(t, err, fault.Unavailable)
	if left := len(letters(t, b, bus.LetterFilter{})); got.Runs != 0 || left != 19 {
		t.Errorf("%+v and %d letters left, want none that runs and 19", got, left)
	}
}

func TestDiscardAll(t *testing.T) {
	t.Parallel()
	b := open(t)
	die(t, b, 50)
	n, err := b.DeadLetters().DiscardAll(t.Context(), bus.LetterFilter{Limit: 20})
	if n != 20 || err != nil {
		t.Errorf("DiscardAll() = %d, %v, want 20", n, err)
	}
	n, err = b.DeadLetters().DiscardAll(t.Context(), bus.LetterFilter{Kind: delivery.KindRoute, Name: "r"})
	if n != 30 || err != nil || len(letters(t, b, bus.LetterFilter{})) != 0 {
		t.Errorf("DiscardAll() = %d, %v, want the other 30", n, err)
	}
}

func TestLetterGroups(t *testing.T) {
	t.Parallel()
	b := open(t)
	d := b.DeadLetters()
	at := time.Date(2026, 3, 10, 12, 0, 0, 0, time.UTC)
	died := func(kind delivery.Kind, name, target, text string, minute int, err error) {
		t.Helper()
		l := delivery.Letter{Kind: kind, Name: name, Target: target, Adapter: "http", Sequence: uint64(minute + 1)}
		l = l.Died(delivery.Result{Reason: delivery.ReasonAttempts, Err: fmt.Errorf("%s: %w", text, err)})
		l.ID, l.LastAt = fmt.Sprintf("l%d", minute), at.Add(time.Duration(minute)*time.Minute)
		if err := d.Write(t.Context(), l); err != nil {
			t.Fatal(err)
		}
	}
	refused, full := fault.Newf(fault.Unavailable, "refused"), fault.Newf(fault.Exhausted, "full")
	died(delivery.KindRoute, "orders", "erp", "dial 10.0.0.1:80", 3, refused)
	died(delivery.KindRoute, "audit", "", "dial 10.0.0.2:80", 1, refused)
	died(delivery.KindSubscription, "billing", "", "queue", 2, full)
	died(delivery.KindRoute, "orders", "erp", "dial 10.0.0.3:80", 0, refused)

	got, err := d.Groups(t.Context(), bus.LetterFilter{})
	if err != nil {
		t.Fatal(err)
	}
	want := []bus.LetterGroup{
		{
			Count: 3, First: at, Last: at.Add(3 * time.Minute), Receivers: []string{"route audit", "route orders/erp"},
			Reasons: []delivery.Reason{delivery.ReasonAttempts}, Adapter: "http", Code: fault.Unavailable,
			Error: "dial 10.0.0.1:80: refused", Letter: "l3",
		},
		{
			Count: 1, First: at.Add(2 * time.Minute), Last: at.Add(2 * time.Minute), Receivers: []string{"subscription billing"},
			Reasons: []delivery.Reason{delivery.ReasonAttempts}, Adapter: "http", Code: fault.Exhausted,
			Error: "queue: full", Letter: "l2",
		},
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(bus.LetterGroup{}, "Fingerprint")); diff != "" {
		t.Errorf("groups differ (-want +got):\n%s", diff)
	}
	one, err := d.Groups(t.Context(), bus.LetterFilter{Fingerprint: got[1].Fingerprint})
	if diff := cmp.Diff(got[1:], one); err != nil || diff != "" {
		t.Errorf("one group differs (-want +got): %v\n%s", err, diff)
	}
	if none, err := d.Groups(t.Context(), bus.LetterFilter{Target: "none"}); len(none) != 0 || err != nil {
		t.Errorf("Groups() = %v, %v, want none", none, err)
	}
}

func TestExportLetters(t *testing.T) {
	t.Parallel()
	b := open(t)
	d := b.DeadLetters()
	s := make1(t, "a", "<1>")
	publish(t, b, s)
	want := []delivery.Letter{
		{ID: "inside", Kind: delivery.KindRoute, Name: "r", Signal: s.AppendJSON(nil), Sequence: 1},
		{ID: "outside", Kind: delivery.KindRoute, Name: "r", Sequence: 1}, // too large to carry it
		{ID: "gone", Kind: delivery.KindRoute, Name: "r", Sequence: 2},
		{ID: "raw", Kind: delivery.KindSource, Name: "github", Raw: []byte{0xff}, Header: map[string][]string{"A": {"b"}}},
	}
	for i := range want {
		if err := d.Write(t.Context(), want[i]); err != nil {
			t.Fatal(err)
		}
		want[i].Bus = "default"
	}
	want[1].Signal = want[0].Signal
	var out bytes.Buffer
	if n, err := d.Export(t.Context(), bus.LetterFilter{}, &out); n != len(want) || err != nil {
		t.Errorf("Export() = %d, %v, want %d", n, err, len(want))
	}
	var got []delivery.Letter
	for line := range strings.Lines(out.String()) {
		var l delivery.Letter
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		got = append(got, l)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("export differs (-want +got):\n%s", diff)
	}
	if _, err := d.Export(t.Context(), bus.LetterFilter{}, broken{}); !errors.Is(err, errBroken) {
		t.Errorf("Export() to a broken pipe = %v, want its error", err)
	}
}

var errBroken = errors.New("broken pipe")

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errBroken }

// BenchmarkRedrive redrives ten thousand letters per run; letters/s is the figure.
func BenchmarkRedrive(b *testing.B) {
	for _, durability := range []embed.Durability{embed.Fast, embed.Sync} {
		b.Run(string(durability), func(b *testing.B) {
			const n = 10_000
			bs := join(b, serve(b, durability))
			for b.Loop() {
				b.StopTimer()
				die(b, bs, n)
				b.StartTimer()
				got, err := bs.DeadLetters().RedriveAll(b.Context(), bus.LetterFilter{}, "ann")
				if err != nil || got.Runs != n {
					b.Fatalf("RedriveAll() = %+v, %v, want %d that run", got, err, n)
				}
			}
			b.ReportMetric(float64(b.N)*n/b.Elapsed().Seconds(), "letters/s")
		})
	}
}
