package bus_test

import (
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/nats-io/nats.go/jetstream"
	"pgregory.net/rapid"

	"github.com/signalmesh/signalmesh/pkg/bus"
	"github.com/signalmesh/signalmesh/pkg/embed"
	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

func template(tb testing.TB, typ string) *signal.Signal {
	tb.Helper()
	return make1(tb, typ, map[string]string{"k": "v"}, signal.From("/clock"), signal.About("x"), signal.Ext("colour", "red"))
}

func TestSchedule(t *testing.T) {
	t.Parallel()
	b := open(t)
	serveDue(t, b)
	got := make(chan *signal.Signal, 100)
	subscribe(t, b, "tick.**", to(got))
	like := template(t, "tick.second")
	if err := b.Schedules().Add(t.Context(), bus.Schedule{Name: "every-second", When: bus.Every(time.Second), Signal: like}); err != nil {
		t.Fatal(err)
	}
	one, two := await(t, got, "the first firing"), await(t, got, "the second firing")
	if one.ID == two.ID || one.ID == like.ID || !two.Time.After(one.Time) {
		t.Errorf("firings %s at %s and %s at %s, want new ids and later times", one.ID, one.Time, two.ID, two.Time)
	}
	if diff := cmp.Diff(like, one, cmpopts.IgnoreFields(signal.Signal{}, "ID", "Time")); diff != "" {
		t.Errorf("firing differs from its template (-want +got):\n%s", diff)
	}
	s, err := b.Schedules().Get(t.Context(), "every-second")
	if err != nil {
		t.Fatal(err)
	}
	if s.Last.Before(one.Time) || !s.Next.After(s.Last) || s.When != "@every 1s" {
		t.Errorf("schedule = %+v, want one that fired at %s or later", s, one.Time)
	}
	if err := b.Schedules().Delete(t.Context(), "every-second"); err != nil {
		t.Fatal(err)
	}
	until(t, "the rest", func() bool { return pendingDue(t, b) == 0 })
	late := make(chan *signal.Signal, 10)
	subscribe(t, b, "tick.**", to(late))
	quiet(t, late, 1500*time.Millisecond, "a firing of a schedule that was deleted")
	wantCode(t, b.Schedules().Delete(t.Context(), "every-second"), fault.NotFound)
	_, err = b.Schedules().Get(t.Context(), "every-second")
	wantCode(t, err, fault.NotFound)
}

func TestScheduleCron(t *testing.T) {
	t.Parallel()
	b := open(t)
	serveDue(t, b)
	like := template(t, "tick")
	like.Source = ""
	put := bus.Schedule{Name: "cron", When: "* * * * * *", Zone: "Europe/Berlin", Signal: like}
	if err := b.Schedules().Put(t.Context(), put); err != nil {
		t.Fatal(err)
	}
	until(t, "two firings", func() bool { return len(replayed(t, b, "tick")) >= 2 })
	if got := replayed(t, b, "tick")[0].Source; got != "/schedules/cron" {
		t.Errorf("source = %s, want /schedules/cron", got)
	}
}

func TestSchedulePauseAndReplace(t *testing.T) {
	t.Parallel()
	b := open(t)
	d := b.Schedules()
	put := bus.Schedule{Name: "nightly", When: "30 2 * * *", Zone: "America/New_York", Signal: template(t, "night")}
	if err := d.Add(t.Context(), put); err != nil {
		t.Fatal(err)
	}
	wantCode(t, d.Add(t.Context(), put), fault.Conflict)
	first, err := d.Get(t.Context(), "nightly")
	if err != nil {
		t.Fatal(err)
	}
	if zone, err := time.LoadLocation("America/New_York"); err != nil || first.Next.In(zone).Format("15:04:05") != "02:30:00" || !first.Next.After(time.Now()) {
		t.Errorf("next = %s, want half past two in New York; %v", first.Next, err)
	}
	for range 2 {
		if err := d.Pause(t.Context(), "nightly"); err != nil {
			t.Fatal(err)
		}
	}
	if s, err := d.Get(t.Context(), "nightly"); err != nil || !s.Paused || !s.Next.IsZero() || s.When != put.When || s.Zone != put.Zone {
		t.Errorf("paused schedule = %+v, %v", s, err)
	}
	if err := d.Resume(t.Context(), "nightly"); err != nil {
		t.Fatal(err)
	}
	put.Name, put.When = "weekly", "@weekly"
	if err := d.Put(t.Context(), put); err != nil {
		t.Fatal(err)
	}
	put.When = "@daily"
	if err := d.Put(t.Context(), put); err != nil {
		t.Fatal(err)
	}
	all, err := d.List(t.Context())
	if err != nil || len(all) != 2 || all[0].Name != "nightly" || all[0].Paused || all[1].When != "@daily" {
		t.Errorf("schedules = %+v, %v, want nightly and weekly, which is daily by now", all, err)
	}
	for _, err := range []error{d.Pause(t.Context(), "nobody"), d.Resume(t.Context(), "a.b")} {
		wantCode(t, err, fault.NotFound)
	}
}

// A schedule whose firings nobody takes has fired once when somebody does.
func TestFiringsThatWaitAreOne(t *testing.T) {
	t.Parallel()
	b := open(t)
	if err := b.Schedules().Put(t.Context(), bus.Schedule{Name: "s", When: "@every 1s", Signal: template(t, "tick")}); err != nil {
		t.Fatal(err)
	}
	waiting := func() uint64 {
		s, err := b.JetStream().Stream(t.Context(), b.Space().LaterStream(b.Name()))
		if err != nil {
			t.Fatal(err)
		}
		return s.CachedInfo().State.LastSeq
	}
	until(t, "three firings", func() bool { return waiting() >= 4 })
	if n := fired(t, b); n != 1 {
		t.Errorf("%d firings wait, want only the last", n)
	}
	if err := b.Schedules().Pause(t.Context(), "s"); err != nil {
		t.Fatal(err)
	}
	// Paused, changed or gone: what had fired is not wanted any more.
	serveDue(t, b)
	until(t, "the consumer", func() bool {
		_, err := b.JetStream().Consumer(t.Context(), b.Space().LaterStream(b.Name()), "due")
		return err == nil && pendingDue(t, b) == 0
	})
	if n := len(replayed(t, b, "tick")); n != 0 {
		t.Errorf("%d signals of a paused schedule, want none", n)
	}
	if err := b.Schedules().Resume(t.Context(), "s"); err != nil {
		t.Fatal(err)
	}
	until(t, "a firing", func() bool { return len(replayed(t, b, "tick")) > 0 })
}

// fired counts what came due and nobody has taken.
func fired(tb testing.TB, b *bus.Bus) (n uint64) {
	tb.Helper()
	s, err := b.JetStream().Stream(tb.Context(), b.Space().LaterStream(b.Name()))
	if err != nil {
		tb.Fatal(err)
	}
	info, err := s.Info(tb.Context(), jetstream.WithSubjectFilter(b.Space().AllLater(b.Name())))
	if err != nil {
		tb.Fatal(err)
	}
	for subj, count := range info.State.Subjects {
		if strings.Contains(subj, ".run.publish.") {
			n += count
		}
	}
	return n
}

// What was synced is there after a crash: signals appear, once, and schedules go on. The
// crash is a copy of the files of a server that runs.
func TestTimeSurvivesCrash(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	srv, err := embed.Start(t.Context(), embed.Config{Dir: dir, Durability: embed.Sync})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(srv.Shutdown)
	b := join(t, srv)
	serveDue(t, b)
	first, missed, later := several(t, "a.first", 5), several(t, "a.missed", 5), several(t, "a.later", 5)
	publishAt(t, b, time.Now().Add(50*time.Millisecond), first...)
	if err := b.Schedules().Put(t.Context(), bus.Schedule{Name: "s", When: "@every 1s", Signal: template(t, "tick")}); err != nil {
		t.Fatal(err)
	}
	until(t, "firings", func() bool { return len(replayed(t, b, "tick")) >= 2 })
	missedAt, laterAt := time.Now().Add(500*time.Millisecond), time.Now().Add(3*time.Second)
	publishAt(t, b, missedAt, missed...)
	publishAt(t, b, laterAt, later...)
	var copied string
	until(t, "a copy", func() bool { // a file that goes away meanwhile spoils it
		copied = t.TempDir()
		return os.CopyFS(copied, os.DirFS(dir)) == nil
	})
	ticks := len(replayed(t, b, "tick"))
	<-time.After(time.Until(missedAt))

	srv, err = embed.Start(t.Context(), embed.Config{Dir: copied})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(srv.Shutdown)
	b = join(t, srv)
	serveDue(t, b)
	until(t, "everything", func() bool {
		return len(delays(t, b)) == 0 && pendingDue(t, b) == 0 && len(replayed(t, b, "tick")) > ticks+1
	})
	seen := map[string]int{}
	for _, s := range replayed(t, b, "**") {
		if seen[s.ID]++; seen[s.ID] > 1 {
			t.Errorf("%s %s is on the bus %d times", s.Type, s.ID, seen[s.ID])
		}
	}
	for _, s := range slices.Concat(first, missed, later) {
		if seen[s.ID] != 1 {
			t.Errorf("%s %s is on the bus %d times, want once", s.Type, s.ID, seen[s.ID])
		}
	}
}

// After an orderly stop the engine makes up for what it missed with one firing.
func TestScheduleSurvivesRestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	srv, err := embed.Start(t.Context(), embed.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	b := join(t, srv)
	if err := b.Schedules().Put(t.Context(), bus.Schedule{Name: "s", When: "@every 4s", Signal: template(t, "tick")}); err != nil {
		t.Fatal(err)
	}
	missed := time.Now().Add(5 * time.Second)
	b.Close()
	b.Conn().Close()
	srv.Shutdown()
	<-time.After(time.Until(missed))
	started := time.Now()
	srv, err = embed.Start(t.Context(), embed.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(srv.Shutdown)
	b = join(t, srv)
	serveDue(t, b)
	until(t, "two firings", func() bool { return len(replayed(t, b, "tick")) >= 2 })
	all := replayed(t, b, "tick")
	if late := all[0].Time.Sub(started); late > 3*time.Second {
		t.Errorf("the missed firing came %s after the start, want it at once", late)
	}
	if d := all[1].Time.Sub(all[0].Time); d < time.Second {
		t.Errorf("the firing after it came %s later, want it at its own time", d)
	}
}

func TestScheduleInvalid(t *testing.T) {
	t.Parallel()
	b := open(t)
	ok := template(t, "tick")
	for _, s := range []bus.Schedule{
		{Name: "", When: "@daily", Signal: ok},
		{Name: "a.b", When: "@daily", Signal: ok},
		{Name: "s", Signal: ok},
		{Name: "s", When: "@daily"},
		{Name: "s", When: "@daily", Signal: &signal.Signal{Type: "a..b"}},
		{Name: "s", When: "@fortnightly", Signal: ok},
		{Name: "s", When: "@every 10ms", Signal: ok},
		{Name: "s", When: "@every soon", Signal: ok},
		{Name: "s", When: "@every 5m", Zone: "Europe/Berlin", Signal: ok},
		{Name: "s", When: "@daily", Zone: "Local", Signal: ok},
		{Name: "s", When: "@daily", Zone: "Mars/Olympus", Signal: ok},
		{Name: "s", When: "* * * *", Signal: ok},
		{Name: "s", When: "60 * * * *", Signal: ok},
		{Name: "s", When: "* * 0 * *", Signal: ok},
		{Name: "s", When: "* * * * 7", Signal: ok},
		{Name: "s", When: "*/0 * * * *", Signal: ok},
		{Name: "s", When: "5-1 * * * *", Signal: ok},
		{Name: "s", When: "0 0 30 2 *", Signal: ok},
		{Name: "s", When: "1-2-3 * * * *", Signal: ok},
		{Name: "s", When: "*-3 * * * *", Signal: ok},
	} {
		wantCode(t, b.Schedules().Put(t.Context(), s), fault.Invalid)
	}
	if all, err := b.Schedules().List(t.Context()); err != nil || len(all) != 0 {
		t.Errorf("schedules = %+v, %v, want none", all, err)
	}
}

// Whatever is taken for a cron expression here, the engine takes too.
func TestCronIsThatOfTheEngine(t *testing.T) {
	t.Parallel()
	b := open(t)
	like := template(t, "tick")
	part := func(lo, hi int, words ...string) *rapid.Generator[string] {
		number := rapid.Map(rapid.IntRange(lo, hi), strconv.Itoa)
		gens := []*rapid.Generator[string]{
			rapid.Just("*"), rapid.Just("?"), number, rapid.Just(strconv.Itoa(hi + 1)),
			rapid.Custom(func(r *rapid.T) string { return number.Draw(r, "low") + "-" + number.Draw(r, "high") }),
		}
		if len(words) > 0 {
			gens = append(gens, rapid.SampledFrom(words))
		}
		lead := rapid.OneOf(gens...)
		return rapid.Custom(func(r *rapid.T) string {
			var all []string
			for range rapid.IntRange(1, 2).Draw(r, "parts") {
				p := lead.Draw(r, "lead")
				if rapid.Bool().Draw(r, "stepped") {
					p += "/" + strconv.Itoa(rapid.IntRange(0, 30).Draw(r, "step"))
				}
				all = append(all, p)
			}
			return strings.Join(all, ",")
		})
	}
	fields := []*rapid.Generator[string]{part(0, 59), part(0, 59), part(0, 23), part(1, 31), part(1, 12, "jan", "Dec"), part(0, 6, "mon", "SUN")}
	taken := 0
	rapid.Check(t, func(r *rapid.T) {
		var text []string
		for _, f := range fields {
			text = append(text, f.Draw(r, "field"))
		}
		when := strings.Join(text, " ")
		err := b.Schedules().Put(t.Context(), bus.Schedule{Name: "s", When: when, Signal: like})
		if err != nil && strings.Contains(err.Error(), "nats:") {
			r.Errorf("the engine refuses %q, which was taken here: %v", when, err)
		}
		if err == nil {
			taken++
		}
	})
	if taken == 0 {
		t.Error("no expression was taken")
	}
}

func TestNextFiring(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ when, zone, after, want string }{
		{"* * * * *", "", "2026-03-10T12:00:00Z", "2026-03-10T12:01:00Z"},
		{"* * * * * *", "", "2026-03-10T12:00:00.9Z", "2026-03-10T12:00:01Z"},
		{"*/15 * * * *", "", "2026-03-10T12:46:00Z", "2026-03-10T13:00:00Z"},
		{"5/20 3 * * *", "", "2026-03-10T03:25:00Z", "2026-03-10T03:45:00Z"},
		{"0 9 * * mon-fri", "", "2026-03-13T09:00:00Z", "2026-03-16T09:00:00Z"},
		{"0 0 31 * *", "", "2026-03-31T00:00:00Z", "2026-05-31T00:00:00Z"},
		{"0 0 29 feb *", "", "2026-03-10T12:00:00Z", "2028-02-29T00:00:00Z"},
		{"0 0 13 * 5", "", "2026-03-10T12:00:00Z", "2026-03-13T00:00:00Z"}, // the 13th or a Friday
		{"0 0 14 * 5", "", "2026-03-13T00:00:00Z", "2026-03-14T00:00:00Z"},
		{"0 0 */1 * 5", "", "2026-03-13T00:00:00Z", "2026-03-20T00:00:00Z"},
		{"@yearly", "", "2026-03-10T12:00:00Z", "2027-01-01T00:00:00Z"},
		{"@monthly", "", "2026-12-10T12:00:00Z", "2027-01-01T00:00:00Z"},
		{"@weekly", "", "2026-03-10T12:00:00Z", "2026-03-15T00:00:00Z"},
		{"0 9 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", "2026-03-29T07:00:00Z"},     // summer begins that night
		{"30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", "2026-03-30T00:30:00Z"},    // an hour that is not
		{"30 2 * * *", "Europe/Berlin", "2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z"},    // an hour that is twice
		{"0 0 * * *", "America/Sao_Paulo", "2018-11-03T12:00:00Z", "2018-11-05T02:00:00Z"}, // a midnight that is not
		{"0 12 * * *", "Australia/Lord_Howe", "2026-10-03T12:00:00Z", "2026-10-04T01:00:00Z"},
		{"@every 90s", "", "2026-03-10T12:00:00.6Z", "2026-03-10T12:01:31Z"},
	} {
		after, err := time.Parse(time.RFC3339, c.after)
		if err != nil {
			t.Fatal(err)
		}
		got, err := bus.NextFiring(c.when, c.zone, after)
		if err != nil || got.Format(time.RFC3339) != c.want {
			t.Errorf("after %s, %q in %q fires at %s, %v, want %s", c.after, c.when, c.zone, got.Format(time.RFC3339), err, c.want)
		}
	}
}

// No field of a schedule makes the search for its next time go wrong: it ends, and what it
// finds is later and on the second.
func TestNextFiringEnds(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		zone := rapid.SampledFrom([]string{"", "Europe/Berlin", "Australia/Lord_Howe", "America/Sao_Paulo", "Asia/Kathmandu"}).Draw(r, "zone")
		when := rapid.SampledFrom([]string{"7", "*/13", "*"}).Draw(r, "minute") + " " + strconv.Itoa(rapid.IntRange(0, 23).Draw(r, "hour")) + " * * *"
		at := time.Unix(rapid.Int64Range(0, 4e9).Draw(r, "at"), 5)
		got, err := bus.NextFiring(when, zone, at)
		if err != nil || !got.After(at) || got.Nanosecond() != 0 || got.Sub(at) > 50*time.Hour {
			r.Errorf("%q in %q fires at %s after %s, %v", when, zone, got, at, err)
		}
	})
}
