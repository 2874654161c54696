package journal_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/journal"
	"github.com/signalmesh/signalmesh/pkg/signal"
	"github.com/signalmesh/signalmesh/pkg/subject"
)

func TestRecordAndGet(t *testing.T) {
	t.Parallel()
	j, _ := setup(t)
	want := newSignal(t, "a", signal.About("o-1"), signal.Ext("region", "eu"), signal.Correlate("c-1"))
	if err := j.Record(t.Context(), want, ""); err != nil {
		t.Fatal(err)
	}
	got, err := j.Get(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Get(a) differs (-want +got):\n%s", diff)
	}
	r, err := j.Lookup(t.Context(), "a")
	if err != nil || r.Conversation != "o-1" || r.Sequence != 0 || len(r.Causes) != 0 || r.Recorded.IsZero() {
		t.Errorf("Lookup(a) = %+v, %v", r, err)
	}
}

func TestOnTheBusDataIsNotKeptTwice(t *testing.T) {
	t.Parallel()
	j, nc := setup(t)
	follow(t, j)
	want := newSignal(t, "a")
	publish(t, nc, want)
	wait(t, j)
	got, err := j.Get(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Get(a) differs (-want +got):\n%s", diff)
	}
	r, err := j.Lookup(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	if r.Sequence != 1 || r.Signal.Data != nil {
		t.Errorf("Lookup(a) at %d with %d bytes of data, want at 1 with none", r.Sequence, len(r.Signal.Data))
	}

	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := js.Stream(t.Context(), subject.Space{}.Stream("default"))
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := j.Get(t.Context(), "a"); !errors.Is(err, journal.ErrDataGone) || !fault.Is(err, fault.NotFound) {
		t.Errorf("Get(a) with the bus purged = %v, want ErrDataGone", err)
	}
}

func TestNotFound(t *testing.T) {
	t.Parallel()
	j, nc := setup(t)
	if _, err := j.Get(t.Context(), "a"); !errors.Is(err, journal.ErrNotFound) || !fault.Is(err, fault.NotFound) {
		t.Errorf("Get = %v, want ErrNotFound", err)
	}
	if _, _, err := j.Cause(t.Context(), "a"); !errors.Is(err, journal.ErrNotFound) {
		t.Errorf("Cause = %v, want ErrNotFound", err)
	}
	for _, d := range []journal.Direction{journal.Forward, journal.Backward} {
		if _, err := j.Trace(t.Context(), "a", d); !errors.Is(err, journal.ErrNotFound) {
			t.Errorf("Trace(%s) = %v, want ErrNotFound", d, err)
		}
	}
	if e, err := j.Effects(t.Context(), "a"); err != nil || len(e.Entries) != 0 || e.Next != "" {
		t.Errorf("Effects = %+v, %v, want none", e, err)
	}
	if v, err := j.Verdicts(t.Context(), "a"); err != nil || len(v) != 0 {
		t.Errorf("Verdicts = %+v, %v, want none", v, err)
	}
	_, err := journal.Open(t.Context(), nc, journal.For("other"), journal.WithoutProvision())
	if !fault.Is(err, fault.NotFound) || fault.HintOf(err) == "" {
		t.Errorf("Open of a bus that isn't there = %v, want NotFound with a hint", err)
	}
	if _, err := journal.Open(t.Context(), nc, journal.For("no bus")); !fault.Is(err, fault.Invalid) {
		t.Errorf("Open(no bus) = %v, want Invalid", err)
	}
}

func TestSameIDFromSeveralSources(t *testing.T) {
	t.Parallel()
	j, _ := setup(t)
	for _, source := range []string{"/one", "/two"} {
		if err := j.Record(t.Context(), newSignal(t, "a", signal.From(source)), ""); err != nil {
			t.Fatal(err)
		}
	}
	_, err := j.Get(t.Context(), "a")
	var ambiguous *journal.AmbiguousError
	if !errors.As(err, &ambiguous) || !fault.Is(err, fault.Invalid) {
		t.Fatalf("Get(a) = %v, want an AmbiguousError", err)
	}
	if diff := cmp.Diff([]string{"/one", "/two"}, ambiguous.Sources); diff != "" {
		t.Errorf("sources differ (-want +got):\n%s", diff)
	}
	got, err := j.Get(t.Context(), "a", journal.FromSource("/two"))
	if err != nil || got.Source != "/two" {
		t.Errorf("Get(a, /two) = %+v, %v", got, err)
	}
	if _, err := j.Get(t.Context(), "a", journal.FromSource("/three")); !errors.Is(err, journal.ErrNotFound) {
		t.Errorf("Get(a, /three) = %v, want ErrNotFound", err)
	}
	if _, err := j.Trace(t.Context(), "a", journal.Forward); !errors.As(err, &ambiguous) {
		t.Errorf("Trace(a) = %v, want an AmbiguousError", err)
	}
	if tr, err := j.Trace(t.Context(), "a", journal.Forward, journal.FromSource("/two")); err != nil || len(tr.Nodes) != 1 {
		t.Errorf("Trace(a, /two) = %+v, %v", tr, err)
	}
}

func TestCausesAreChecked(t *testing.T) {
	t.Parallel()
	j, _ := setup(t)
	now := time.Now()
	made := func(id string, at time.Time) *signal.Signal { return newSignal(t, id, signal.At(at)) }
	ok := func(s *signal.Signal, cause string) {
		t.Helper()
		if err := j.Record(t.Context(), s, cause); err != nil {
			t.Fatal(err)
		}
	}
	ok(made("a", now), "")
	ok(made("b", now), "a") // at the same time is fine
	ok(made("c", now.Add(time.Second)), "b")

	for _, tt := range []struct {
		name  string
		s     *signal.Signal
		cause string
		want  error
		code  fault.Code
	}{
		{"unknown cause", made("d", now), "nobody", journal.ErrCauseNotFound, fault.NotFound},
		{"own cause, unknown", made("d", now), "d", journal.ErrCauseNotFound, fault.NotFound},
		{"own cause", made("a", now), "a", journal.ErrCycle, fault.Conflict},
		{"cycle of two", made("a", now.Add(time.Hour)), "b", journal.ErrCycle, fault.Conflict},
		{"cycle of three", made("a", now.Add(time.Hour)), "c", journal.ErrCycle, fault.Conflict},
		{"before its cause", made("d", now.Add(-time.Nanosecond)), "a", journal.ErrOrder, fault.Invalid},
	} {
		err := j.Record(t.Context(), tt.s, tt.cause)
		if !errors.Is(err, tt.want) || !fault.Is(err, tt.code) {
			t.Errorf("%s: Record(%s, %s) = %v, want %v with code %s", tt.name, tt.s.ID, tt.cause, err, tt.want, tt.code)
		}
	}
	if _, err := j.Get(t.Context(), "d"); !errors.Is(err, journal.ErrNotFound) {
		t.Errorf("Get(d) = %v: what was refused was written", err)
	}
	if err := j.Record(t.Context(), &signal.Signal{ID: "x"}, ""); !fault.Is(err, fault.Invalid) {
		t.Errorf("Record of an invalid signal = %v, want Invalid", err)
	}
}

// The depth of a chain is no way round the check for cycles.
func TestLongCycle(t *testing.T) {
	t.Parallel()
	j, _ := setup(t)
	chain := numbered("s", 300)
	cause := ""
	for _, id := range chain {
		record(t, j, id, cause)
		cause = id
	}
	if err := j.Record(t.Context(), newSignal(t, "s0"), cause); !errors.Is(err, journal.ErrCycle) {
		t.Errorf("Record(s0, %s) = %v, want ErrCycle", cause, err)
	}
}

func TestAnotherCauseIsAdded(t *testing.T) {
	t.Parallel()
	j, _ := setup(t)
	record(t, j, "root", "", "p", "root", "m", "root", "q", "p", "q", "m", "q", "p")
	r, err := j.Lookup(t.Context(), "q")
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Causes) != 2 {
		t.Errorf("causes of q = %v, want p and m", r.Causes)
	}
	if c, ok, err := j.Cause(t.Context(), "q"); err != nil || !ok || (c.ID != "p" && c.ID != "m") {
		t.Errorf("Cause(q) = %+v, %v, %v", c, ok, err)
	}
	for _, c := range []string{"p", "m"} {
		if e, err := j.Effects(t.Context(), c); err != nil || !cmp.Equal(ids(e.Entries), []string{"q"}) {
			t.Errorf("Effects(%s) = %v, %v, want q", c, ids(e.Entries), err)
		}
	}
}

func TestKeysPerSignal(t *testing.T) {
	t.Parallel()
	j, nc := setup(t)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	keys := func() uint64 {
		s, err := js.Stream(t.Context(), subject.Space{}.JournalStream("default"))
		if err != nil {
			t.Fatal(err)
		}
		return s.CachedInfo().State.LastSeq
	}
	for _, tt := range []struct {
		what  string
		s     *signal.Signal
		cause string
		want  uint64
	}{
		{"plain", newSignal(t, "a"), "", 1},
		{"with a cause", newSignal(t, "b"), "a", 2},
		{"with its own cause", newSignal(t, "c", signal.CausedBy(newSignal(t, "a")), signal.Ext(signal.ExtCorrelation, nil)), "", 3},
		{"with a conversation", newSignal(t, "d", signal.About("x")), "", 2},
		{"with both", newSignal(t, "e", signal.About("x")), "a", 3},
	} {
		before := keys()
		if err := j.Record(t.Context(), tt.s, tt.cause); err != nil {
			t.Fatal(err)
		}
		if got := keys() - before; got > tt.want {
			t.Errorf("%s: %d writes, want at most %d", tt.what, got, tt.want)
		}
	}
}

// What the journal keeps can be read with plain KV tools.
func TestReadableWithKVTools(t *testing.T) {
	t.Parallel()
	j, nc := setup(t)
	if err := j.Record(t.Context(), newSignal(t, "a", signal.About("x")), ""); err != nil {
		t.Fatal(err)
	}
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	kv, err := js.KeyValue(t.Context(), subject.Space{}.JournalBucket("default"))
	if err != nil {
		t.Fatal(err)
	}
	list, err := kv.ListKeys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for key := range list.Keys() {
		n++
		e, err := kv.Get(t.Context(), key)
		if err != nil {
			t.Fatalf("Get(%s): %v", key, err)
		}
		t.Logf("%s: %s", key, e.Value())
		// A key deleted by hand is gone for us too, and may be written again.
		if err := kv.Delete(t.Context(), key); err != nil {
			t.Fatal(err)
		}
	}
	if n != 2 {
		t.Errorf("%d keys, want 2", n)
	}
	if _, err := j.Get(t.Context(), "a"); !errors.Is(err, journal.ErrNotFound) {
		t.Errorf("Get(a) after its key was deleted = %v, want ErrNotFound", err)
	}
	record(t, j, "a", "")
	if _, err := j.Get(t.Context(), "a"); err != nil {
		t.Errorf("Get(a) recorded again = %v", err)
	}
}

// What somebody else put into the bucket is left out, and does not keep the rest back.
func TestUnreadableEntries(t *testing.T) {
	t.Parallel()
	j, nc := setup(t)
	record(t, j, "a", "", "b", "a")
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	kv, err := js.KeyValue(t.Context(), subject.Space{}.JournalBucket("default"))
	if err != nil {
		t.Fatal(err)
	}
	for _, value := range []string{"", "junk", "{}", `{"signal":null}`, `{"signal":{"id":""}}`, "[" + strings.Repeat("[", 1e5)} {
		for _, key := range []string{"s." + subject.Key("a") + ".zz", "e." + subject.Key("a") + ".zz", "s." + subject.Key("x") + ".zz", "v." + subject.Key("x") + ".zz"} {
			if _, err := kv.PutString(t.Context(), key, value); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := j.Get(t.Context(), "a"); err != nil {
			t.Errorf("Get(a) = %v", err)
		}
		if trace, err := j.Trace(t.Context(), "a", journal.Forward); err != nil || len(trace.Nodes) != 2 {
			t.Errorf("Trace(a) = %+v, %v", trace, err)
		}
		if page, err := j.Query(t.Context(), journal.Query{}); err != nil || len(page.Entries) != 2 {
			t.Errorf("Query = %+v, %v", page, err)
		}
		if _, err := j.Get(t.Context(), "x"); err == nil || errors.Is(err, journal.ErrNotFound) {
			t.Errorf("Get of an unreadable entry = %v", err)
		}
		if value != "{}" && value != `{"signal":null}` && value != `{"signal":{"id":""}}` {
			if _, err := j.Verdicts(t.Context(), "x"); err == nil {
				t.Errorf("Verdicts of %.10q = nil error", value)
			}
		}
	}
}
