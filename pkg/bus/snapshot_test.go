package bus_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/signalmesh/signalmesh/pkg/bus"
	"github.com/signalmesh/signalmesh/pkg/codec"
	"github.com/signalmesh/signalmesh/pkg/embed"
	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

func snap(tb testing.TB, b *bus.Bus, name, on string, opts ...bus.ReplayOption) bus.Snapshot {
	tb.Helper()
	d, err := b.Snapshots().Create(tb.Context(), name, on, opts...)
	if err != nil {
		tb.Fatal(err)
	}
	return d
}

func snapped(tb testing.TB, b *bus.Bus, name string, opts ...bus.ReplayOption) []bus.Entry {
	tb.Helper()
	var all []bus.Entry
	for e, err := range b.Snapshots().Entries(tb.Context(), name, opts...) {
		if err != nil {
			tb.Fatal(err)
		}
		all = append(all, e)
	}
	return all
}

func recorded(tb testing.TB, b *bus.Bus, on string) []bus.Entry {
	tb.Helper()
	var all []bus.Entry
	for e, err := range b.Entries(tb.Context(), on) {
		if err != nil {
			tb.Fatal(err)
		}
		all = append(all, e)
	}
	return all
}

func positions(entries []bus.Entry) []uint64 {
	var all []uint64
	for _, e := range entries {
		all = append(all, e.Sequence)
	}
	return all
}

func dataSubjects(tb testing.TB, b *bus.Bus) map[string]uint64 {
	tb.Helper()
	stream, err := b.JetStream().Stream(tb.Context(), b.Space().SnapshotStream(b.Name()))
	if err != nil {
		tb.Fatal(err)
	}
	info, err := stream.Info(tb.Context(), jetstream.WithSubjectFilter(b.Space().AllSnapshotData(b.Name())))
	if err != nil {
		tb.Fatal(err)
	}
	return info.State.Subjects
}

// What happens to the bus after a snapshot was made does not reach it: not later signals,
// not a purge, not a restart of everything.
func TestSnapshotStays(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	srv, err := embed.Start(t.Context(), embed.Config{Dir: dir, Durability: embed.Fast})
	if err != nil {
		t.Fatal(err)
	}
	b := join(t, srv)
	publish(t, b, several(t, "order.created", 3)...)
	publish(t, b, several(t, "user.created", 2)...)
	publish(t, b, make1(t, "order.paid", []byte{0, 1, 2, 0xff}, signal.About("o-1"), signal.Ext("level", 7)))
	want := recorded(t, b, "order.**")
	d := snap(t, b, "monday", "order.**")
	if d.Signals != 4 || d.First != 1 || d.Last != 6 || d.Pattern != "order.**" || d.Bus != "default" || d.Created.IsZero() {
		t.Errorf("Create() = %+v, want 4 signals from 1 to 6", d)
	}
	publish(t, b, several(t, "order.created", 5)...)
	stream, err := b.JetStream().Stream(t.Context(), "SIG_default")
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.Close()
	srv.Shutdown()
	srv, err = embed.Start(t.Context(), embed.Config{Dir: dir, Durability: embed.Fast})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(srv.Shutdown)
	b = join(t, srv)
	if diff := cmp.Diff(want, snapped(t, b, "monday")); diff != "" {
		t.Errorf("the snapshot after a purge and a restart (-before +after):\n%s", diff)
	}
	again, err := b.Snapshots().Get(t.Context(), "monday")
	if diff := cmp.Diff(d, again); diff != "" || err != nil {
		t.Errorf("Get after a restart: %v\n%s", err, diff)
	}
}

func TestSnapshotOptions(t *testing.T) {
	t.Parallel()
	b := open(t)
	for i := range 10 {
		publish(t, b, make1(t, "order.created", i, signal.About(fmt.Sprintf("o-%d", i%2)), signal.Correlate("c-1")))
	}
	snap(t, b, "whole", "**")
	even := func(s *signal.Signal) bool { return string(s.Data) != "" && (s.Data[0]-'0')%2 == 0 }
	for name, tc := range map[string]struct {
		opts []bus.ReplayOption
		want []uint64
	}{
		"all":      {nil, []uint64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}},
		"until":    {[]bus.ReplayOption{bus.UntilSequence(3)}, []uint64{1, 2, 3}},
		"beyond":   {[]bus.ReplayOption{bus.FromSequence(9), bus.UntilSequence(99)}, []uint64{9, 10}},
		"from":     {[]bus.ReplayOption{bus.FromSequence(4), bus.Limit(2)}, []uint64{4, 5}},
		"about":    {[]bus.ReplayOption{bus.About("o-1")}, []uint64{2, 4, 6, 8, 10}},
		"where":    {[]bus.ReplayOption{bus.Where("even", even)}, []uint64{1, 3, 5, 7, 9}},
		"past":     {[]bus.ReplayOption{bus.Until(time.Now().Add(-time.Hour))}, nil},
		"nothing":  {[]bus.ReplayOption{bus.Correlated("c-2")}, nil},
		"reversed": {[]bus.ReplayOption{bus.FromSequence(8), bus.UntilSequence(3)}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := snap(t, b, name, "**", tc.opts...)
			if got := positions(snapped(t, b, name)); !slices.Equal(got, tc.want) || d.Signals != len(tc.want) {
				t.Errorf("a snapshot of %d signals holds %v, want %v", d.Signals, got, tc.want)
			}
			// What selects from the bus selects from a snapshot.
			if got := positions(snapped(t, b, "whole", tc.opts...)); !slices.Equal(got, tc.want) {
				t.Errorf("Entries of the whole snapshot = %v, want %v", got, tc.want)
			}
		})
	}
	if d := snap(t, b, "where-even", "**", bus.Where("even", even)); !slices.Equal(d.Where, []string{"even"}) {
		t.Errorf("Create = %+v, want what the filter says", d)
	}
	_, err := b.Snapshots().Create(t.Context(), "endless", "**", bus.Follow())
	wantCode(t, err, fault.Invalid)
}

func names(tb testing.TB, b *bus.Bus) []string {
	tb.Helper()
	all, err := b.Snapshots().List(tb.Context())
	if err != nil {
		tb.Fatal(err)
	}
	var names []string
	for _, d := range all {
		names = append(names, d.Name)
	}
	return names
}

func TestSnapshotNames(t *testing.T) {
	t.Parallel()
	b := open(t)
	publish(t, b, make1(t, "a", 1))
	if got := names(t, b); got != nil {
		t.Errorf("List of none = %v", got)
	}
	for _, name := range []string{"first", "second", "third"} {
		snap(t, b, name, "**")
	}
	if got, want := names(t, b), []string{"third", "second", "first"}; !slices.Equal(got, want) {
		t.Errorf("List = %v, want the newest first, %v", got, want)
	}
	s := b.Snapshots()
	_, err := s.Create(t.Context(), "second", "**")
	wantCode(t, err, fault.Conflict)
	_, err = s.Create(t.Context(), "no.name", "**")
	wantCode(t, err, fault.Invalid)
	_, err = s.Create(t.Context(), "fourth", "a..b")
	wantCode(t, err, fault.Invalid)
	_, err = s.Get(t.Context(), "fourth")
	wantCode(t, err, fault.NotFound)
	wantCode(t, s.Delete(t.Context(), "fourth"), fault.NotFound)
	if err := s.Delete(t.Context(), "second"); err != nil {
		t.Fatal(err)
	}
	for _, err := range s.Entries(t.Context(), "second") {
		wantCode(t, err, fault.NotFound)
	}
	if n := len(dataSubjects(t, b)); n != 2 {
		t.Errorf("%d snapshots have content after one of three was deleted", n)
	}
	snap(t, b, "second", "**") // its name is free again
	other := join(t, serve(t, embed.Fast), bus.Named("old"))
	if err := other.JetStream().DeleteStream(t.Context(), "SIG_old_SNAPSHOTS"); err != nil {
		t.Fatal(err)
	}
	_, err = other.Snapshots().List(t.Context())
	wantCode(t, err, fault.NotFound)
}

// Two that make a snapshot of one name at the same time: one does.
func TestSnapshotRace(t *testing.T) {
	t.Parallel()
	b := open(t)
	publish(t, b, several(t, "a", 100)...)
	errs := make(chan error)
	const racers = 4
	for range racers {
		go func() {
			_, err := b.Snapshots().Create(t.Context(), "one", "**")
			errs <- err
		}()
	}
	won := 0
	for range racers {
		err := await(t, errs, "a racer")
		if err == nil {
			won++
			continue
		}
		wantCode(t, err, fault.Conflict)
	}
	if n := len(dataSubjects(t, b)); won != 1 || n != 1 {
		t.Errorf("%d of %d made it and %d left content, want 1 and 1", won, racers, n)
	}
	if got := len(snapped(t, b, "one")); got != 100 {
		t.Errorf("the snapshot has %d signals, want 100", got)
	}
}

// Content without a description is nothing: the state that a crash leaves behind.
func TestSnapshotUnfinished(t *testing.T) {
	t.Parallel()
	b := open(t)
	publish(t, b, several(t, "a", 10)...)
	ctx, cancel := context.WithCancel(t.Context())
	stop := bus.WithFilter(func(s *signal.Signal) bool {
		if string(s.Data) == "5" {
			cancel()
		}
		return true
	})
	if _, err := b.Snapshots().Create(ctx, "half", "**", stop); err == nil {
		t.Fatal("Create succeeded although its context ended")
	}
	if _, err := b.JetStream().Publish(t.Context(), b.Space().SnapshotData("default", "crashed"), []byte("x")); err != nil {
		t.Fatal(err)
	}
	if got := names(t, b); got != nil {
		t.Errorf("List shows %v, want nothing that is unfinished", got)
	}
	snap(t, b, "half", "**")
	if got := len(snapped(t, b, "half")); got != 10 {
		t.Errorf("the snapshot has %d signals, want 10", got)
	}
	if n := len(dataSubjects(t, b)); n != 2 {
		t.Errorf("%d contents, want that of the snapshot and the recent remains of a crash", n)
	}
}

// Content that was tampered with, or of which a part is gone, is told, not passed on.
func TestSnapshotDamage(t *testing.T) {
	t.Parallel()
	b := open(t)
	for range 3 {
		publish(t, b, make1(t, "a", noise(300<<10)))
	}
	whole := snap(t, b, "whole", "**")
	if whole.Chunks < 3 {
		t.Fatalf("the snapshot has %d parts, want several", whole.Chunks)
	}
	stream, err := b.JetStream().Stream(t.Context(), "SIG_default_SNAPSHOTS")
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.DeleteMsg(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	wantCode(t, readAll(t, b, "whole"), fault.NotFound)

	doc, err := stream.GetLastMsgForSubject(t.Context(), b.Space().Snapshot("default", "whole"))
	if err != nil {
		t.Fatal(err)
	}
	snap(t, b, "other", "**")
	var d map[string]any
	if err := json.Unmarshal(doc.Data, &d); err != nil {
		t.Fatal(err)
	}
	other, err := b.Snapshots().Get(t.Context(), "other")
	if err != nil {
		t.Fatal(err)
	}
	d["name"], d["data"], d["sha256"] = "forged", other.Data, strings.Repeat("0", 64)
	forged, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.JetStream().Publish(t.Context(), b.Space().Snapshot("default", "forged"), forged); err != nil {
		t.Fatal(err)
	}
	if err := readAll(t, b, "forged"); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("reading content with another digest: %v, want damage", err)
	}
}

func readAll(tb testing.TB, b *bus.Bus, name string) error {
	tb.Helper()
	for _, err := range b.Snapshots().Entries(tb.Context(), name) {
		if err != nil {
			return err
		}
	}
	return nil
}

// noise does not compress.
func noise(n int) []byte {
	b := make([]byte, 0, n+16)
	for len(b) < n {
		id := signal.NewID()
		b = append(b, id[:]...)
	}
	x := uint32(2463534242)
	for i := range b {
		x ^= x << 13
		x ^= x >> 17
		x ^= x << 5
		b[i] ^= byte(x)
	}
	return b[:n]
}

// Every form that a signal has on the wire comes back as it was.
func TestSnapshotForms(t *testing.T) {
	t.Parallel()
	srv := serve(t, embed.Fast)
	b := join(t, srv)
	for _, mode := range []codec.Mode{codec.Structured, codec.Binary, codec.Msgpack} {
		publish(t, join(t, srv, bus.Encode(mode)), make1(t, "a.json", map[string]any{"x": 1}, signal.Ext("n", 1)),
			make1(t, "a.bytes", []byte("\x00\xff"), signal.ContentType("image/png")), make1(t, "a.text", []byte("hi\nthere"), signal.ContentType("text/plain")))
	}
	if _, err := b.JetStream().Publish(t.Context(), "sig.default.b", []byte("no signal")); err != nil {
		t.Fatal(err)
	}
	limit := int(b.Conn().MaxPayload())
	publish(t, b, make1(t, "a.large", noise(limit*5/8)))
	snap(t, b, "forms", "**")
	want, got := recorded(t, b, "**"), snapped(t, b, "forms")
	if !slices.EqualFunc(want, got, sameEntry) || len(got) != 10 {
		t.Errorf("the snapshot holds %v, want as on the bus %v", positions(got), positions(want))
	}
}

func sameEntry(x, y bus.Entry) bool {
	return x.Sequence == y.Sequence && x.Stored.Equal(y.Stored) && bytes.Equal(x.Signal.AppendJSON(nil), y.Signal.AppendJSON(nil))
}

// The plain NATS client reads what describes a snapshot.
func TestSnapshotIsReadable(t *testing.T) {
	t.Parallel()
	b := open(t)
	publish(t, b, make1(t, "a", 1))
	snap(t, b, "plain", "**")
	m, err := b.Conn().Request("$JS.API.DIRECT.GET.SIG_default_SNAPSHOTS", []byte(`{"last_by_subj":"sig-snap.default.info.plain"}`), patience)
	if err != nil || !json.Valid(m.Data) || m.Header.Get("Nats-Subject") == "" {
		t.Errorf("direct get of the description = %v, %v", m, err)
	}
}

// A server that restarts in the middle of it is ridden out, by writing and by reading.
func TestSnapshotRidesOutRestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	srv, err := embed.Start(t.Context(), embed.Config{Dir: dir, Durability: embed.Fast})
	if err != nil {
		t.Fatal(err)
	}
	at, err := url.Parse(srv.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(at.Port())
	if err != nil {
		t.Fatal(err)
	}
	b := join(t, srv)
	restart := func() {
		srv.Shutdown()
		if srv, err = embed.Start(t.Context(), embed.Config{Dir: dir, Durability: embed.Fast, Port: port}); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(func() { srv.Shutdown() })
	const n = 3000
	for range n / 100 {
		var signals []*signal.Signal
		for range 100 {
			signals = append(signals, make1(t, "a", noise(1000)))
		}
		publish(t, b, signals...)
	}
	seen := 0
	d := snap(t, b, "s", "**", bus.WithFilter(func(*signal.Signal) bool {
		if seen++; seen == n/2 {
			restart()
		}
		return true
	}))
	if d.Signals != n || d.Chunks < 5 {
		t.Errorf("%d signals in %d parts, want %d in several", d.Signals, d.Chunks, n)
	}
	read := 0
	for _, err := range b.Snapshots().Entries(t.Context(), "s") {
		if err != nil {
			t.Fatal(err)
		}
		if read++; read == n/3 {
			restart()
		}
	}
	if read != n {
		t.Errorf("read %d signals, want %d", read, n)
	}
}
