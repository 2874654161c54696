package bus_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/signalmesh/signalmesh/pkg/bus"
	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

func TestSnapshotExportImport(t *testing.T) {
	t.Parallel()
	b := open(t)
	publish(t, b, make1(t, "a.json", json.RawMessage("{\n \"x\": 1\n}"), signal.About("s")), make1(t, "a.bytes", []byte{1, 2}), make1(t, "b", nil))
	snap(t, b, "one", "**")
	var file bytes.Buffer
	n, err := b.Snapshots().Export(t.Context(), "one", &file)
	if n != 3 || err != nil || strings.Count(file.String(), "\n") != 3 {
		t.Fatalf("Export = %d, %v and\n%s", n, err, file.String())
	}
	elsewhere := open(t)
	d, err := elsewhere.Snapshots().Import(t.Context(), "two", strings.NewReader("\n"+file.String()))
	if err != nil || d.Signals != 3 || !d.Imported {
		t.Fatalf("Import = %+v, %v", d, err)
	}
	got := snapped(t, elsewhere, "two")
	if want := []uint64{2, 3, 4}; !slices.Equal(positions(got), want) {
		t.Errorf("positions = %v, want the lines %v", positions(got), want)
	}
	if len(replayed(t, elsewhere, "**")) != 0 {
		t.Error("an import published something")
	}
	var again bytes.Buffer
	if _, err := elsewhere.Snapshots().Export(t.Context(), "two", &again); err != nil || again.String() != file.String() {
		t.Errorf("exported again (%v):\n%s\nwant\n%s", err, again.String(), file.String())
	}
	if n, err := b.Snapshots().Export(t.Context(), "one", &again, bus.Limit(2)); n != 2 || err != nil {
		t.Errorf("Export of two = %d, %v", n, err)
	}
	for name, tc := range map[string]struct {
		text string
		code fault.Code
		want string
	}{
		"bad":     {file.String() + "{}\n", fault.Invalid, "line 4"},
		"no-json": {"order.created\n", fault.Invalid, "line 1"},
		"long":    {strings.Repeat("x", bus.MaxLine+1), fault.TooLarge, "line 1"},
	} {
		_, err := b.Snapshots().Import(t.Context(), name, strings.NewReader(tc.text))
		wantCode(t, err, tc.code)
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("Import(%s): %v, want %s named", name, err, tc.want)
		}
	}
	if got := names(t, b); !slices.Equal(got, []string{"one"}) {
		t.Errorf("List = %v after imports that failed, want one", got)
	}
}

func TestSnapshotDiff(t *testing.T) {
	t.Parallel()
	b := open(t)
	variant := func(id string, data int) *signal.Signal {
		return make1(t, "a", data, signal.WithID(id), signal.At(time.Unix(1, 0)))
	}
	var first, second bytes.Buffer
	for _, s := range []*signal.Signal{variant("stays", 1), variant("goes", 2), variant("changes", 3), variant("stays", 99), variant("goes", 98)} {
		line(t, &first, s)
	}
	for _, s := range []*signal.Signal{variant("new", 4), variant("changes", 5), variant("stays", 1), variant("new", 97), variant("newer", 6)} {
		line(t, &second, s)
	}
	for name, file := range map[string]*bytes.Buffer{"first": &first, "second": &second} {
		if _, err := b.Snapshots().Import(t.Context(), name, file); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	for c, err := range b.Snapshots().Diff(t.Context(), "first", "second") {
		if err != nil {
			t.Fatal(err)
		}
		text := string(c.Kind)
		for _, e := range []bus.Entry{c.Old, c.New} {
			if e.Signal != nil {
				text += fmt.Sprintf(" %s=%s", e.Signal.ID, e.Signal.Data)
			}
		}
		got = append(got, text)
	}
	want := []string{"added new=4", "added newer=6", "removed goes=2", "changed changes=3 changes=5"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Diff (-want +got):\n%s", diff)
	}
	for _, err := range b.Snapshots().Diff(t.Context(), "first", "none") {
		wantCode(t, err, fault.NotFound)
	}
}

func line(tb testing.TB, to *bytes.Buffer, s *signal.Signal) {
	tb.Helper()
	if err := bus.WriteLine(to, s); err != nil {
		tb.Fatal(err)
	}
}

func BenchmarkSnapshot(b *testing.B) {
	for _, d := range durabilities {
		b.Run(string(d), func(b *testing.B) {
			bs := join(b, serve(b, d))
			const n = 100_000
			fill(b, bs, n)
			i := 0
			b.ReportAllocs()
			for b.Loop() {
				i++
				s := snap(b, bs, fmt.Sprintf("s-%d", i), "**")
				b.ReportMetric(float64(s.Stored)/n, "stored-B/signal")
			}
		})
	}
}

func BenchmarkSnapshotRead(b *testing.B) {
	bs := open(b)
	const n = 100_000
	fill(b, bs, n)
	snap(b, bs, "s", "**")
	b.ReportAllocs()
	for b.Loop() {
		if got := len(snapped(b, bs, "s")); got != n {
			b.Fatalf("read %d of %d", got, n)
		}
	}
}
