package replay_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/signalmesh/signalmesh/pkg/bus"
	"github.com/signalmesh/signalmesh/pkg/delivery"
	"github.com/signalmesh/signalmesh/pkg/dispatch"
	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/replay"
	"github.com/signalmesh/signalmesh/pkg/signal"
	"github.com/signalmesh/signalmesh/pkg/testkit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func make1(tb testing.TB, typ string, data any, opts ...signal.Option) *signal.Signal {
	tb.Helper()
	s, err := signal.New(typ, data, append([]signal.Option{signal.From("/test")}, opts...)...)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// history is a source of n signals with the ids 1 to n, a second after each other.
func history(tb testing.TB, n int) iter.Seq2[bus.Entry, error] {
	tb.Helper()
	return func(yield func(bus.Entry, error) bool) {
		for i := 1; i <= n; i++ {
			s := make1(tb, "order.created", i, signal.WithID(fmt.Sprint(i)))
			if !yield(bus.Entry{Signal: s, Sequence: uint64(i), Stored: epoch.Add(time.Duration(i) * time.Second)}, nil) {
				return
			}
		}
	}
}

// A tape notes what it is sent.
type tape struct {
	mu    sync.Mutex
	ids   []string
	marks []string
	at    []time.Duration
	began time.Time
	fail  func(id string) error
}

func (t *tape) send(_ context.Context, e bus.Entry) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.fail != nil {
		if err := t.fail(e.Signal.ID); err != nil {
			return err
		}
	}
	t.ids = append(t.ids, e.Signal.ID)
	t.marks = append(t.marks, e.Signal.ExtString(signal.ExtReplay))
	t.at = append(t.at, time.Since(t.began))
	return nil
}

func numbers(from, to int) []string {
	var all []string
	for i := from; i <= to; i++ {
		all = append(all, fmt.Sprint(i))
	}
	return all
}

func TestRun(t *testing.T) {
	t.Parallel()
	var to tape
	var told []replay.Report
	r, err := replay.Job{
		From: history(t, 5), To: replay.Func(to.send), ID: "r-1", Every: time.Nanosecond,
		Progress: func(r replay.Report) { told = append(told, r) },
	}.Run(t.Context())
	if err != nil || r.Signals != 5 || r.Sent != 5 || r.Failed != 0 || r.First != 1 || r.Last != 5 || r.Next != 6 || r.Stopped != "" {
		t.Errorf("Run = %+v, %v, want 5 sent", r, err)
	}
	if !r.Oldest.Equal(epoch.Add(time.Second)) || !r.Newest.Equal(epoch.Add(5*time.Second)) || r.Bytes != 5 {
		t.Errorf("from %s to %s with %d bytes", r.Oldest, r.Newest, r.Bytes)
	}
	if want := numbers(1, 5); !slices.Equal(to.ids, want) {
		t.Errorf("sent %v, want %v", to.ids, want)
	}
	if !slices.Equal(slices.Compact(to.marks), []string{"r-1"}) {
		t.Errorf("marked %v, want r-1", to.marks)
	}
	if len(told) == 0 || told[len(told)-1].Sent == 0 {
		t.Errorf("told %+v, want progress", told)
	}
}

func TestCountSendsNothing(t *testing.T) {
	t.Parallel()
	var to tape
	r, err := replay.Job{From: history(t, 11), To: replay.Func(to.send), Rate: 2}.Count(t.Context())
	if err != nil || !r.Dry || r.Signals != 11 || r.Sent != 0 || r.Took != 5*time.Second || len(to.ids) != 0 {
		t.Errorf("Count = %+v, %v and %d sent, want 11 signals in 5 s and none sent", r, err, len(to.ids))
	}
}

// The source's signals are others' as well.
func TestRunLeavesSignals(t *testing.T) {
	t.Parallel()
	s := make1(t, "a", 1, signal.Ext("x", "y"))
	from := func(yield func(bus.Entry, error) bool) { yield(bus.Entry{Signal: s}, nil) }
	if _, err := (replay.Job{From: from, To: replay.Func(new(tape).send)}).Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, marked := s.Ext(signal.ExtReplay); marked {
		t.Error("the signal of the source was changed")
	}
}

func TestPace(t *testing.T) {
	t.Parallel()
	ms := func(all ...int) []time.Duration {
		out := make([]time.Duration, len(all))
		for i, n := range all {
			out[i] = time.Duration(n) * time.Millisecond
		}
		return out
	}
	for name, tc := range map[string]struct {
		speed, rate float64
		want        []time.Duration
	}{
		"as fast as it goes":   {0, 0, ms(0, 0, 0, 0)},
		"as it happened":       {1, 0, ms(0, 1000, 2000, 3000)},
		"four times as fast":   {4, 0, ms(0, 250, 500, 750)},
		"half as fast":         {0.5, 0, ms(0, 2000, 4000, 6000)},
		"ten a second":         {0, 10, ms(0, 100, 200, 300)},
		"faster, but not much": {100, 4, ms(0, 250, 500, 750)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				to := tape{began: time.Now()}
				r, err := replay.Job{From: history(t, 4), To: replay.Func(to.send), Speed: tc.speed, Rate: tc.rate}.Run(t.Context())
				if diff := cmp.Diff(tc.want, to.at); err != nil || diff != "" {
					t.Errorf("sent at (-want +got), %v:\n%s", err, diff)
				}
				if r.Took != tc.want[3] {
					t.Errorf("took %s, want %s", r.Took, tc.want[3])
				}
			})
		})
	}
}

func TestCancel(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 2500*time.Millisecond)
		defer cancel()
		var to tape
		r, err := replay.Job{From: history(t, 100), To: replay.Func(to.send), Rate: 1}.Run(ctx)
		if !errors.Is(err, context.DeadlineExceeded) || r.Sent != 3 || r.Next != 4 || r.Failed != 0 || r.Stopped == "" {
			t.Errorf("Run = %+v, %v, want 3 sent and go on at 4", r, err)
		}
	})
}

func TestFailures(t *testing.T) {
	t.Parallel()
	sick := fault.Permanent(fault.Newf(fault.Invalid, "sick"))
	odd := func(id string) error {
		if strings.ContainsAny(id[len(id)-1:], "13579") {
			return sick
		}
		return nil
	}
	t.Run("are counted", func(t *testing.T) {
		t.Parallel()
		to := tape{fail: odd}
		r, err := replay.Job{From: history(t, 100), To: replay.Func(to.send)}.Run(t.Context())
		if err != nil || r.Sent != 50 || r.Failed != 50 || r.Next != 101 || len(r.Failures) != replay.MaxListed {
			t.Errorf("Run = %d sent, %d failed, %d listed, next %d, %v", r.Sent, r.Failed, len(r.Failures), r.Next, err)
		}
		want := replay.Failure{ID: "1", Type: "order.created", Sequence: 1, Code: fault.Invalid, Error: "sick"}
		if diff := cmp.Diff(want, r.Failures[0]); diff != "" {
			t.Errorf("the first failure (-want +got):\n%s", diff)
		}
	})
	t.Run("end it", func(t *testing.T) {
		t.Parallel()
		to := tape{fail: odd}
		r, err := replay.Job{From: history(t, 100), To: replay.Func(to.send), MaxFailures: 3}.Run(t.Context())
		if !errors.Is(err, sick) || r.Failed != 3 || r.Next != 6 {
			t.Errorf("Run = %+v, %v, want it given up at the third failure", r, err)
		}
		wantCode(t, err, fault.Invalid)
	})
	t.Run("of the sink as a whole", func(t *testing.T) {
		t.Parallel()
		full := errors.New("disk full")
		for name, to := range map[string]replay.Sink{
			"sink":   replay.Func(func(context.Context, bus.Entry) error { return replay.Broken(full) }),
			"writer": replay.ToWriter(writer(func([]byte) (int, error) { return 0, full })),
		} {
			r, err := replay.Job{From: history(t, 2000), To: to}.Run(t.Context())
			if !errors.Is(err, full) || r.Sent > 1000 || r.Failed != 0 || r.Next > 1001 {
				t.Errorf("Run with a broken %s = %+v, %v, want its error and no failures", name, r, err)
			}
		}
	})
	t.Run("of the source", func(t *testing.T) {
		t.Parallel()
		lost := errors.New("lost")
		from := func(yield func(bus.Entry, error) bool) {
			for e := range history(t, 2) {
				yield(e, nil)
			}
			yield(bus.Entry{}, lost)
		}
		r, err := replay.Job{From: from, To: replay.Func(new(tape).send)}.Run(t.Context())
		if !errors.Is(err, lost) || r.Sent != 2 || r.Next != 3 {
			t.Errorf("Run = %+v, %v, want the source's error after 2", r, err)
		}
	})
	t.Run("of a handler that panics", func(t *testing.T) {
		t.Parallel()
		r, err := replay.Job{From: history(t, 3), To: replay.ToHandler(func(context.Context, *signal.Signal) error { panic("oh") })}.Run(t.Context())
		if err != nil || r.Failed != 3 || !strings.Contains(r.Failures[0].Error, "oh") {
			t.Errorf("Run = %+v, %v, want three failures", r, err)
		}
	})
}

type writer func([]byte) (int, error)

func (w writer) Write(p []byte) (int, error) { return w(p) }

func wantCode(tb testing.TB, err error, code fault.Code) {
	tb.Helper()
	if !fault.Is(err, code) {
		tb.Errorf("error = %v (code %s), want code %s", err, fault.CodeOf(err), code)
	}
}

// With several workers so many are under way, and the report is the same.
func TestWorkers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const workers = 4
		gate, under := make(chan struct{}), make(chan struct{}, 100)
		to := replay.Func(func(context.Context, bus.Entry) error {
			under <- struct{}{}
			<-gate
			return nil
		})
		done := make(chan replay.Report)
		go func() {
			r, _ := replay.Job{From: history(t, 20), To: to, Workers: workers}.Run(t.Context())
			done <- r
		}()
		synctest.Wait()
		if n := len(under); n != workers {
			t.Errorf("%d under way, want %d", n, workers)
		}
		close(gate)
		if r := <-done; r.Sent != 20 || r.Next != 21 {
			t.Errorf("Run = %+v, want all 20 sent", r)
		}
	})
}

func TestBadJobs(t *testing.T) {
	t.Parallel()
	to := replay.Func(new(tape).send)
	for name, job := range map[string]replay.Job{
		"no source": {To: to}, "no sink": {From: history(t, 1)},
		"speed": {From: history(t, 1), To: to, Speed: -1}, "rate": {From: history(t, 1), To: to, Rate: -1},
		"mark": {From: history(t, 1), To: to, ID: strings.Repeat("x", 65)},
	} {
		_, err := job.Run(t.Context())
		wantCode(t, err, fault.Invalid)
		if _, err := job.Count(t.Context()); err == nil {
			t.Errorf("Count of a job with a bad %s succeeded", name)
		}
	}
}

// Attempts at a target are tried again, and have a key that is not that of another replay.
func TestToTarget(t *testing.T) {
	t.Parallel()
	var keys []string
	target := dispatch.Func(func(ctx context.Context, s *signal.Signal) error {
		info := dispatch.InfoFrom(ctx)
		keys = append(keys, info.Key)
		if s.ID == "2" && info.Attempt < 3 {
			return errors.New("not yet")
		}
		if s.ID == "3" {
			return fault.Permanent(errors.New("never"))
		}
		return nil
	})
	policy := delivery.Policy{Min: time.Millisecond, Max: time.Millisecond, MaxAttempts: 3}
	for _, id := range []string{"r-1", "r-2"} {
		r, err := replay.Job{ID: id, From: history(t, 4), To: replay.ToTarget(target, policy)}.Run(t.Context())
		if err != nil || r.Sent != 3 || r.Failed != 1 || r.Failures[0].ID != "3" {
			t.Errorf("Run = %+v, %v, want 3 sent and 1 failed", r, err)
		}
	}
	slices.Sort(keys)
	if n := len(slices.Compact(keys)); n != 8 {
		t.Errorf("%d keys for 4 signals in 2 replays, want 8", n)
	}
}

func TestToBus(t *testing.T) {
	t.Parallel()
	from, to := testkit.Bus(t, bus.Named("from")), testkit.Bus(t, bus.Named("to"))
	var signals []*signal.Signal
	for i := range 600 {
		signals = append(signals, make1(t, "order.created", i))
	}
	if err := from.Publish(t.Context(), signals...); err != nil {
		t.Fatal(err)
	}
	r, err := replay.Job{ID: "r-1", From: from.Entries(t.Context(), "order.**"), To: replay.ToBus(to)}.Run(t.Context())
	if err != nil || r.Sent != 600 {
		t.Fatalf("Run = %+v, %v", r, err)
	}
	i := 0
	for s, err := range to.Replay(t.Context(), "**") {
		if err != nil {
			t.Fatal(err)
		}
		if s.ID != signals[i].ID || s.ExtString(signal.ExtReplay) != "r-1" {
			t.Fatalf("signal %d = %v, want %s marked r-1", i, s, signals[i].ID)
		}
		i++
	}
	if i != 600 {
		t.Errorf("%d signals arrived, want 600", i)
	}
}

// One signal that the bus refuses fails alone, not with all that were sent together.
func TestToBusRefused(t *testing.T) {
	t.Parallel()
	to := testkit.Bus(t, bus.WithMiddleware(func(next signal.Handler) signal.Handler {
		return func(ctx context.Context, s *signal.Signal) error {
			if s.ID == "7" {
				return fault.Newf(fault.Denied, "not this one")
			}
			return next(ctx, s)
		}
	}))
	r, err := replay.Job{From: history(t, 20), To: replay.ToBus(to)}.Run(t.Context())
	if err != nil || r.Sent != 19 || r.Failed != 1 || r.Failures[0].ID != "7" || r.Failures[0].Code != fault.Denied {
		t.Errorf("Run = %+v, %v, want one failure", r, err)
	}
}

// What is written down is as it was, and comes back through an archive.
func TestToWriterAndBack(t *testing.T) {
	t.Parallel()
	var file bytes.Buffer
	to := replay.ToWriter(&file)
	if r, err := (replay.Job{From: history(t, 3), To: to}).Run(t.Context()); err != nil || r.Sent != 3 {
		t.Fatalf("Run = %+v, %v", r, err)
	}
	if err := to.Flush(); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(file.String(), signal.ExtReplay) || strings.Count(file.String(), "\n") != 3 {
		t.Errorf("written:\n%s", file.String())
	}
	var again tape
	from := bus.Select(bus.ReadLines(&file), "order.*", bus.FromSequence(2))
	if r, err := (replay.Job{ID: "r-2", From: from, To: replay.Func(again.send)}).Run(t.Context()); err != nil || r.Sent != 2 || r.First != 2 {
		t.Errorf("Run of the archive = %+v, %v, want lines 2 and 3", r, err)
	}
	if !slices.Equal(again.ids, []string{"2", "3"}) || again.marks[0] != "r-2" {
		t.Errorf("sent %v marked %v", again.ids, again.marks)
	}
}
