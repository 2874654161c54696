package provision_test

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/signalmesh/signalmesh/pkg/embed"
	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/provision"
	"github.com/signalmesh/signalmesh/pkg/subject"
	"github.com/signalmesh/signalmesh/streams"
)

func TestMain(m *testing.M) {
	// A server that is shut down while it sets up or takes down a mirror or a source leaves
	// these behind for some seconds.
	const stream = "github.com/nats-io/nats-server/v2/server.(*stream)."
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction(stream+"setupMirrorConsumer.func3"),
		goleak.IgnoreAnyFunction(stream+"trySetupSourceConsumer.func3"),
		goleak.IgnoreAnyFunction(stream+"tryDeleteSourcingConsumer.func1"))
}

// server gives JetStream on a server of the test's own.
func server(t *testing.T) jetstream.JetStream {
	t.Helper()
	s, err := embed.Start(t.Context(), embed.Config{Dir: t.TempDir(), Durability: embed.Fast})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Shutdown)
	nc, err := s.Connect()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

// dir is a directory of definitions with one file.
func dir(text string) fstest.MapFS { return fstest.MapFS{"x.yaml": {Data: []byte(text)}} }

func load(t *testing.T, text string) []provision.Definition {
	t.Helper()
	defs, err := provision.Load(dir(text), provision.Vars{})
	if err != nil {
		t.Fatalf("Load: %v", err)
	}
	return defs
}

func ensure(t *testing.T, js jetstream.JetStream, text string) {
	t.Helper()
	if err := provision.Ensure(t.Context(), js, load(t, text)...); err != nil {
		t.Fatalf("Ensure: %v", err)
	}
}

func plan(t *testing.T, js jetstream.JetStream, text string) *provision.Plan {
	t.Helper()
	p, err := provision.New(t.Context(), js, dir(text))
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	return p
}

func TestLoadOwnDefinitions(t *testing.T) {
	t.Parallel()
	space, err := subject.NewSpace("acme")
	if err != nil {
		t.Fatal(err)
	}
	for name, sp := range map[string]subject.Space{"default": {}, "acme": space} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			defs, err := provision.Load(streams.FS, provision.Vars{Space: sp, Buses: []string{"a", "b"}, Replicas: 3})
			if err != nil {
				t.Fatal(err)
			}
			got := map[string][]string{}
			for _, d := range defs {
				got[d.Config.Name] = d.Config.Subjects
				if d.Config.Replicas != 3 {
					t.Errorf("%s has %d replicas, want 3", d, d.Config.Replicas)
				}
			}
			want := map[string][]string{
				"KV_" + sp.RoutesBucket(): {"$KV." + sp.RoutesBucket() + ".>"},
				"KV_" + sp.NodesBucket():  {"$KV." + sp.NodesBucket() + ".>"},
			}
			for _, bus := range []string{"a", "b"} {
				want[sp.Stream(bus)] = []string{sp.All(bus)}
				want[sp.DeadStream(bus)] = []string{sp.AllDead(bus)}
				later := strings.TrimSuffix(sp.AllLater(bus), ">")
				want[sp.LaterStream(bus)] = []string{later + "at.>", later + "run.>"}
				snap := sp.Prefix() + "-snap." + bus
				want[sp.SnapshotStream(bus)] = []string{snap + ".info.*", snap + ".data.*"}
				want[sp.JournalStream(bus)] = []string{"$KV." + sp.JournalBucket(bus) + ".>"}
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("streams and subjects (-subject +files):\n%s", d)
			}
		})
	}
}

func TestLoadProblems(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		text string
		want []string
	}{
		"unknown key":   {"stream:\n  name: A\n  subjects: [a]\n  max_aeg: 1d\n", []string{"x.yaml:4", "max_aeg", "max_age"}},
		"unknown kind":  {"strem: {name: A}", []string{`"strem"`, "stream or bucket"}},
		"no name":       {"stream: {subjects: [a]}", []string{"name"}},
		"no subjects":   {"stream: {name: A}", []string{"no subjects"}},
		"placeholder":   {`stream: {name: "A_{bsu}", subjects: [a]}`, []string{`"A_{bsu}"`, "{bus}"}},
		"bad enum":      {"stream: {name: A, subjects: [a], retention: forever}", []string{"forever", "workqueue"}},
		"bad name":      {"stream: {name: a.b, subjects: [a]}", []string{`"a.b"`}},
		"window":        {"stream: {name: A, subjects: [a], max_age: 1m, duplicate_window: 2m}", []string{"duplicate_window 2m0s"}},
		"schedules":     {"stream: {name: A, subjects: [a], discard: new, allow_msg_schedules: true}", []string{"schedules need"}},
		"twice":         {"stream: {name: A, subjects: [a]}\n---\nstream: {name: A, subjects: [b]}\n", []string{"x.yaml:3", "x.yaml:1"}},
		"all at once":   {"stream: {name: A, subjects: [a], x: 1}\n---\nbucket: {name: B, history: 65}\n", []string{"x", "history"}},
		"mirror":        {"stream: {name: A, subjects: [a], mirror: {name: B}}", []string{"a mirror has no subjects"}},
		"not yaml":      {"stream: [", []string{"x.yaml"}},
		"everything":    {`stream: {name: A, subjects: [">"]}`, []string{"every subject"}},
		"two documents": {"stream: {name: A, subjects: [a]}\nbucket: {name: B}\n", []string{"one key"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			defs, err := provision.Load(dir(tc.text), provision.Vars{Buses: []string{"a", "b"}})
			if !fault.Is(err, fault.Invalid) || defs != nil {
				t.Fatalf("Load = %v, %v (%s), want invalid", defs, err, fault.CodeOf(err))
			}
			for _, want := range tc.want {
				if n := strings.Count(err.Error(), want); n == 0 {
					t.Errorf("Load = %v, want it to mention %s", err, want)
				}
			}
			if n := strings.Count(err.Error(), "no subjects"); n > 1 {
				t.Errorf("Load = %v, the problem is reported %d times", err, n)
			}
		})
	}
	if _, err := provision.Load(fstest.MapFS{}, provision.Vars{}); !fault.Is(err, fault.NotFound) {
		t.Errorf("Load of an empty directory = %v, want not found", err)
	}
	if _, err := provision.Load(streams.FS, provision.Vars{Buses: []string{"a b"}}); !fault.Is(err, fault.Invalid) {
		t.Errorf("Load for bus %q = %v, want invalid", "a b", err)
	}
	if _, err := provision.Load(streams.FS, provision.Vars{}, "nope.yaml"); !fault.Is(err, fault.NotFound) {
		t.Errorf("Load of a missing file = %v, want not found", err)
	}
}

// What was made from the product's own files, and from one that uses everything, is what
// the files say: nothing that the server fills in shows as a difference.
func TestNoChangesAfterEnsure(t *testing.T) {
	t.Parallel()
	js := server(t)
	vars := provision.Vars{Buses: []string{"default", "shop"}}
	defs, err := provision.Load(streams.FS, vars)
	if err != nil {
		t.Fatal(err)
	}
	if err := provision.Ensure(t.Context(), js, defs...); err != nil {
		t.Fatal(err)
	}
	p, err := provision.New(t.Context(), js, streams.FS, provision.With(vars))
	if err != nil {
		t.Fatal(err)
	}
	if !p.Empty() || p.String() != "No changes: 12 as defined.\n" {
		t.Errorf("plan after Ensure:\n%s", p)
	}

	ensure(t, js, everything)
	if p := plan(t, js, everything); !p.Empty() {
		t.Errorf("plan after Ensure of everything:\n%s", p)
	}
}

const everything = `
stream: {name: BARE, subjects: [bare]}
---
stream:
  name: FULL
  description: uses every setting
  subjects: [z.>, a.>]
  retention: interest
  storage: memory
  discard: new
  discard_new_per_subject: true
  max_age: 1m
  max_bytes: 1MiB
  max_msgs: 100
  max_msgs_per_subject: 5
  max_msg_size: 1KiB
  max_consumers: 3
  duplicate_window: 30s
  first_seq: 7
  num_replicas: 1
  placement: {tags: []}
  subject_transform: {src: z.>, dest: "y.>"}
  republish: {src: ">", dest: "again.>", headers_only: true}
  consumer_limits: {inactive_threshold: 1m, max_ack_pending: 10}
  metadata: {team: ops}
  allow_direct: true
  deny_delete: true
  allow_atomic: true
  allow_batched: true
  allow_msg_ttl: true
  subject_delete_marker_ttl: 1m
---
stream: {name: COPY, mirror: {name: BARE}}
---
stream: {name: FAR, mirror: {name: BARE, domain: edge, opt_start_seq: 3}}
---
stream:
  name: GATHERED
  sources: [{name: BARE, filter_subject: bare}, {name: ELSE, subject_transforms: [{src: bare, dest: bear}]}]
---
stream: {name: TIMED, subjects: [timed], allow_msg_schedules: true, compression: s2}
---
stream: {name: COUNTED, subjects: [counted], allow_msg_counter: true}
---
bucket: {name: SMALL}
---
bucket:
  name: LARGE
  history: 5
  ttl: 1m
  limit_marker_ttl: 1m
  max_bytes: 1MiB
  max_value_size: 1KiB
  storage: memory
  compression: true
  allow_atomic: true
  metadata: {team: ops}
`

func TestEnsureLeavesWhatExists(t *testing.T) {
	t.Parallel()
	js := server(t)
	ensure(t, js, "stream: {name: A, subjects: [a.>], max_age: 1h}")
	ensure(t, js, "stream: {name: A, subjects: [a.b], max_age: 2h}")
	s, err := js.Stream(t.Context(), "A")
	if err != nil {
		t.Fatal(err)
	}
	if got := s.CachedInfo().Config.MaxAge; got != time.Hour {
		t.Errorf("max_age = %s, want 1h", got)
	}
	for _, subjects := range []string{"[b]", "[a.>, b]", "[a]", "['*.b']"} {
		err := provision.Ensure(t.Context(), js, load(t, "stream: {name: A, subjects: "+subjects+"}")...)
		if !fault.Is(err, fault.Conflict) {
			t.Errorf("Ensure of A with subjects %s = %v, want a conflict", subjects, err)
		}
	}
}

func TestEnsureRaces(t *testing.T) {
	t.Parallel()
	js := server(t)
	defs := load(t, "stream: {name: A, subjects: [a]}\n---\nbucket: {name: B}\n")
	var wg sync.WaitGroup
	errs := make([]error, 16)
	for i := range errs {
		wg.Go(func() { errs[i] = provision.Ensure(t.Context(), js, defs...) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Error(err)
	}
}

func TestEnsureErrors(t *testing.T) {
	t.Parallel()
	js := server(t)
	ensure(t, js, "stream: {name: A, subjects: [a.>]}")
	for name, tc := range map[string]struct {
		text string
		code fault.Code
		hint bool
	}{
		"overlap":  {"stream: {name: B, subjects: [a.b]}", fault.Conflict, true},
		"replicas": {"stream: {name: B, subjects: [b], num_replicas: 3}", fault.Invalid, true},
		"room":     {"stream: {name: B, subjects: [b], max_bytes: 900TiB}", fault.Exhausted, true},
		"subject":  {"stream: {name: B, subjects: ['b..c']}", fault.Invalid, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := provision.Ensure(t.Context(), js, load(t, tc.text)...)
			if !fault.Is(err, tc.code) || tc.hint != (fault.HintOf(err) != "") {
				t.Errorf("Ensure = %v (%s, hint %q), want %s", err, fault.CodeOf(err), fault.HintOf(err), tc.code)
			}
		})
	}
}

func TestBuses(t *testing.T) {
	t.Parallel()
	js := server(t)
	got, err := provision.Buses(t.Context(), js, subject.Space{})
	if err != nil || got != nil {
		t.Errorf("Buses of an empty server = %v, %v, want none", got, err)
	}
	defs, err := provision.Load(streams.FS, provision.Vars{Buses: []string{"shop", "default"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := provision.Ensure(t.Context(), js, defs...); err != nil {
		t.Fatal(err)
	}
	ensure(t, js, "stream: {name: OTHER, subjects: [other.>]}")
	got, err = provision.Buses(t.Context(), js, subject.Space{})
	if err != nil || !cmp.Equal(got, []string{"default", "shop"}) {
		t.Errorf("Buses = %v, %v, want [default shop]", got, err)
	}
}
