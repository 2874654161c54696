package subject_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/signalmesh/signalmesh/pkg/embed"
	"github.com/signalmesh/signalmesh/pkg/internal/vectors"
	"github.com/signalmesh/signalmesh/pkg/pattern"
	"github.com/signalmesh/signalmesh/pkg/subject"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// log is a bus on a real server that holds a signal of each type.
type log struct {
	stream jetstream.Stream
	types  []string
}

func newLog(t *testing.T, types []string) log {
	t.Helper()
	srv, err := embed.Start(t.Context(), embed.Config{
		Dir: t.TempDir(), Port: embed.RandomPort, Durability: embed.Fast, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(srv.Shutdown)
	nc, err := srv.Connect()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	var sp subject.Space
	stream, err := js.CreateStream(t.Context(), jetstream.StreamConfig{
		Name: sp.Stream("b"), Subjects: []string{sp.All("b")}, Storage: jetstream.MemoryStorage,
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, typ := range types {
		name, err := sp.Signal("b", typ)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := js.Publish(t.Context(), name, nil); err != nil {
			t.Fatalf("publish %s: %v", name, err)
		}
	}
	return log{stream, types}
}

// delivered gives the types that a consumer with these filters receives, each as often as
// it comes.
func (l log) delivered(ctx context.Context, filters []string) ([]string, error) {
	c, err := l.stream.CreateConsumer(ctx, jetstream.ConsumerConfig{FilterSubjects: filters, AckPolicy: jetstream.AckNonePolicy})
	if err != nil {
		return nil, err
	}
	info := c.CachedInfo()
	defer func() { _ = l.stream.DeleteConsumer(ctx, info.Name) }()
	var types []string
	if info.NumPending == 0 {
		return nil, nil
	}
	batch, err := c.Fetch(int(info.NumPending), jetstream.FetchMaxWait(5*time.Second))
	if err != nil {
		return nil, err
	}
	for m := range batch.Messages() {
		_, typ, err := subject.Space{}.Parse(m.Subject())
		if err != nil {
			return nil, err
		}
		types = append(types, typ)
	}
	if len(types) != int(info.NumPending) {
		return nil, fmt.Errorf("%d pending, %d delivered: %w", info.NumPending, len(types), batch.Error())
	}
	return types, batch.Error()
}

// check compares what arrives with what the patterns select.
func (l log) check(ctx context.Context, patterns ...pattern.Pattern) error {
	filters, exact := subject.Space{}.Filters("b", patterns...)
	selects := func(typ string) bool {
		return slices.ContainsFunc(patterns, func(p pattern.Pattern) bool { return p.Match(typ) })
	}
	got, err := l.delivered(ctx, filters)
	if err != nil {
		return fmt.Errorf("%s as %q: %w", patterns, filters, err)
	}
	if !exact {
		got = slices.DeleteFunc(got, func(typ string) bool { return !selects(typ) })
	}
	want := slices.DeleteFunc(slices.Clone(l.types), func(typ string) bool { return !selects(typ) })
	if !slices.Equal(got, want) { // both in the order of the stream
		return fmt.Errorf("%s as %q (exact %t) delivers %q, want %q", patterns, filters, exact, got, want)
	}
	return nil
}

// TestFiltersOnServer has a real server select among all types of up to four segments of an
// alphabet of three, a few of up to sixteen, and foreign ones.
func TestFiltersOnServer(t *testing.T) {
	t.Parallel()
	types := typesOf([]string{"a", "b", "c"}, 4)
	for _, seg := range []string{"a", "b", "a.b", "b.c.a"} {
		for n := 5 / (strings.Count(seg, ".") + 1); (strings.Count(seg, ".")+1)*n <= subject.MaxDepth; n += 3 {
			types = append(types, strings.TrimSuffix(strings.Repeat(seg+".", n), "."))
		}
	}
	types = append(types, strings.Repeat("c.", subject.MaxDepth-1)+"a", "b."+strings.Repeat("c.", subject.MaxDepth-2)+"a")
	types = append(types, "*", ">", "a.*", "a.>", "*.b", "a.**", "a.b c", "a=b.=41", "日本.a", "$JS.API", "a.b.>.c", "_INBOX.x")
	slices.Sort(types)
	l := newLog(t, slices.Compact(types))

	t.Run("random", func(t *testing.T) {
		rapid.Check(t, func(rt *rapid.T) {
			var patterns []pattern.Pattern
			for range rapid.IntRange(1, 3).Draw(rt, "patterns") {
				patterns = append(patterns, drawPattern(rt))
			}
			if err := l.check(t.Context(), patterns...); err != nil {
				rt.Fatal(err)
			}
		})
	})
	t.Run("none", func(t *testing.T) {
		for _, patterns := range [][]pattern.Pattern{nil, {{}}, {pattern.MustParse(strings.Repeat("a.", 16) + "a")}} {
			if err := l.check(t.Context(), patterns...); err != nil {
				t.Error(err)
			}
		}
	})
}

// TestVectorsOnServer runs the shared vectors through a real server.
func TestVectorsOnServer(t *testing.T) {
	t.Parallel()
	byPattern := map[string]bool{}
	var types []string
	for _, v := range vectors.Matches(t) {
		byPattern[v.Pattern] = true
		if _, err := (subject.Space{}).Signal("b", v.Type); err == nil {
			types = append(types, v.Type)
		}
	}
	slices.Sort(types)
	l := newLog(t, slices.Compact(types))
	for text := range byPattern {
		if err := l.check(t.Context(), pattern.MustParse(text)); err != nil {
			t.Error(err)
		}
	}
}

// TestLongestSubjectTravels publishes the longest subject that there is, through a
// connection that an overlong one would have closed.
func TestLongestSubjectTravels(t *testing.T) {
	t.Parallel()
	seg := strings.Repeat("ä", subject.MaxSegment/2)
	l := newLog(t, []string{"a", strings.Join([]string{seg, seg, seg, seg[:len(seg)-4]}, ".")})
	if err := l.check(t.Context(), pattern.MustParse("*.**.*.*")); err != nil {
		t.Error(err)
	}
}

// typesOf gives all types of up to depth of these segments.
func typesOf(segs []string, depth int) []string {
	if depth == 0 {
		return nil
	}
	types := slices.Clone(segs)
	for _, rest := range typesOf(segs, depth-1) {
		for _, seg := range segs {
			types = append(types, seg+"."+rest)
		}
	}
	return types
}

func drawPattern(t *rapid.T) pattern.Pattern {
	seg := rapid.SampledFrom([]string{"a", "b", "c", "*", "*", "**", "**"})
	segs := rapid.SliceOfN(seg, 1, 7).Draw(t, "pattern")
	segs = slices.CompactFunc(segs, func(x, y string) bool { return x == "**" && y == "**" })
	return pattern.MustParse(strings.Join(segs, "."))
}
