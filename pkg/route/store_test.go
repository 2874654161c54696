package route_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/route"
	"github.com/signalmesh/signalmesh/pkg/subject"
	"github.com/signalmesh/signalmesh/pkg/testkit"
)

func store(tb testing.TB) *route.Store {
	tb.Helper()
	s, err := route.OpenStore(tb.Context(), testkit.Conn(tb), subject.Space{})
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// kv is the bucket behind the store, for what a store would not do.
func kv(tb testing.TB) jetstream.KeyValue {
	tb.Helper()
	kv, err := testkit.JetStream(tb).KeyValue(tb.Context(), subject.Space{}.RoutesBucket())
	if err != nil {
		tb.Fatal(err)
	}
	return kv
}

func actions(c route.Changes) string {
	var parts []string
	for _, change := range c {
		parts = append(parts, fmt.Sprintf("%s %s", change.Action, change.Name))
	}
	return strings.Join(parts, ", ")
}

func apply(tb testing.TB, s *route.Store, owner, text string, opts ...route.ApplyOption) route.Changes {
	tb.Helper()
	changes, err := s.Apply(tb.Context(), specs(tb, text), owner, opts...)
	if err != nil {
		tb.Fatalf("Apply: %v", err)
	}
	return changes
}

const (
	ab  = `[{name: a, on: a.*, to: [bare: {}]}, {name: b, on: b.*, to: [bare: {}]}]`
	ab2 = `[{name: a, on: a.*, priority: 7, to: [bare: {}]}, {name: c, on: c, to: [bare: {}]}]`
)

func TestApply(t *testing.T) {
	t.Parallel()
	s := store(t)
	first := apply(t, s, "me", ab, route.By("ana"))
	if got := actions(first); got != "create a, create b" || first.Empty() {
		t.Errorf("Apply = %s, want two creates", got)
	}
	again := apply(t, s, "me", ab)
	if got := actions(again); got != "none a, none b" || !again.Empty() {
		t.Errorf("Apply again = %s, want nothing", got)
	}
	second := apply(t, s, "me", ab2, route.Prune())
	if got := actions(second); got != "update a, delete b, create c" {
		t.Errorf("Apply with Prune = %s, want one of each", got)
	}
	list, err := s.List(t.Context())
	if err != nil || len(list) != 2 || list[0].Priority != 7 || list[0].Owner != "me" || list[0].Revision != second[0].Revision {
		t.Errorf("List = %+v, %v", list, err)
	}
	got, err := s.Get(t.Context(), "c")
	if err != nil || got.Revision != second[2].Revision || time.Since(got.AppliedAt) > time.Minute {
		t.Errorf("Get(c) = %+v, %v", got, err)
	}
	for _, name := range []string{"b", "never", "a b", ""} {
		if _, err := s.Get(t.Context(), name); err == nil {
			t.Errorf("Get(%q) = nil error, want one", name)
		}
	}
	// A removed name can be used again.
	if got := actions(apply(t, s, "me", ab)); got != "update a, create b" {
		t.Errorf("Apply = %s, want b back", got)
	}
}

func TestApplyIsAllOrNothing(t *testing.T) {
	t.Parallel()
	s := store(t)
	bad := specs(t, ab)
	bad[1].When = "1 +"
	if _, err := s.Apply(t.Context(), bad, "me"); !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "route b: ") {
		t.Errorf("Apply = %v, want b to be invalid", err)
	}
	if list, err := s.List(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("List = %v, %v, want nothing", list, err)
	}
	twice := append(specs(t, ab), specs(t, ab)...)
	if _, err := s.Apply(t.Context(), twice, "me"); !fault.Is(err, fault.Invalid) {
		t.Errorf("Apply of a name twice = %v, want an invalid error", err)
	}
}

func TestApplyOwners(t *testing.T) {
	t.Parallel()
	s := store(t)
	apply(t, s, "one", ab)
	if got := actions(apply(t, s, "two", ab)); got != "none a, none b" {
		t.Errorf("Apply of the same by another = %s, want nothing", got)
	}
	_, err := s.Apply(t.Context(), specs(t, ab2), "two")
	if !fault.Is(err, fault.Conflict) || !strings.Contains(err.Error(), "route a differs, but belongs to one") {
		t.Errorf("Apply = %v, want a conflict over a", err)
	}
	if got := actions(apply(t, s, "two", ab2, route.Keep(), route.Prune())); got != "kept a, create c" {
		t.Errorf("Apply with Keep = %s", got)
	}
	taken := apply(t, s, "two", ab2, route.Take(), route.Prune())
	if got := actions(taken); got != "update a, none c" || taken[0].Fields[0].Path != "owner" {
		t.Errorf("Apply with Take = %s, %v", got, taken[0].Fields)
	}
	if r, err := s.Get(t.Context(), "a"); err != nil || r.Owner != "two" {
		t.Errorf("Get(a) = %+v, %v, want it to be two's", r, err)
	}
	if r, err := s.Get(t.Context(), "b"); err != nil || r.Owner != "one" {
		t.Errorf("Get(b) = %+v, %v, want it to be one's still", r, err)
	}
}

// Nodes that start together with the same file must not trip over each other.
func TestApplyRaces(t *testing.T) {
	t.Parallel()
	s := store(t)
	var wg sync.WaitGroup
	for range 6 {
		wg.Go(func() {
			if _, err := s.Apply(t.Context(), specs(t, ab), "me"); err != nil {
				t.Errorf("Apply: %v", err)
			}
		})
	}
	wg.Wait()
	versions, err := s.History(t.Context(), "a")
	if err != nil || len(versions) != 1 {
		t.Errorf("History(a) = %d versions, %v, want 1", len(versions), err)
	}
}

func TestApplyMany(t *testing.T) {
	t.Parallel()
	s := store(t)
	var many []route.Spec
	for i := range 1001 {
		one := specs(t, ab)[0]
		one.Name = fmt.Sprint("r", i)
		many = append(many, one)
	}
	if _, err := s.Apply(t.Context(), many, "me"); !fault.Is(err, fault.TooLarge) {
		t.Errorf("Apply of 1001 = %v, want too large", err)
	}
	changes, err := s.Apply(t.Context(), many[:1000], "me")
	if err != nil {
		t.Fatal(err)
	}
	list, err := s.List(t.Context())
	if err != nil || len(list) != 1000 {
		t.Fatalf("List = %d routes, %v", len(list), err)
	}
	for i, r := range list {
		if changes[i].Name != r.Name || changes[i].Revision != r.Revision {
			t.Fatalf("change %d says %s@%d, the store %s@%d", i, changes[i].Name, changes[i].Revision, r.Name, r.Revision)
		}
	}
}

func TestPut(t *testing.T) {
	t.Parallel()
	s := store(t)
	spec := specs(t, ab)[0]
	one, err := s.Put(t.Context(), spec, "me", 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Put(t.Context(), spec, "me", 0); !fault.Is(err, fault.Conflict) {
		t.Errorf("Put of a new route that is there = %v, want a conflict", err)
	}
	spec.Priority = 3
	two, err := s.Put(t.Context(), spec, "me", one)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Put(t.Context(), spec, "me", one); !fault.Is(err, fault.Conflict) {
		t.Errorf("Put at an old revision = %v, want a conflict", err)
	}
	if err := s.Remove(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	if three, err := s.Put(t.Context(), spec, "me", 0); err != nil || three <= two {
		t.Errorf("Put after Remove = %d, %v", three, err)
	}
}

func TestRemove(t *testing.T) {
	t.Parallel()
	s := store(t)
	apply(t, s, "me", ab)
	if err := s.Remove(t.Context(), "a", "nope"); !fault.Is(err, fault.NotFound) {
		t.Errorf("Remove(a, nope) = %v, want not found", err)
	}
	if list, err := s.List(t.Context()); err != nil || len(list) != 2 {
		t.Errorf("List = %v, %v, want both still", list, err)
	}
	if err := s.Remove(t.Context(), "a", "b"); err != nil {
		t.Errorf("Remove(a, b) = %v", err)
	}
	if list, err := s.List(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("List = %v, %v, want none", list, err)
	}
	if err := s.Remove(t.Context(), "a b"); !fault.Is(err, fault.NotFound) {
		t.Errorf("Remove(a b) = %v, want not found", err)
	}
	if err := s.Remove(t.Context()); err != nil {
		t.Errorf("Remove() = %v", err)
	}
}

func TestHistoryAndRollback(t *testing.T) {
	t.Parallel()
	s := store(t)
	apply(t, s, "me", ab, route.By("ana"))
	apply(t, s, "me", ab2, route.By("bo"))
	versions, err := s.History(t.Context(), "a")
	if err != nil || len(versions) != 2 || versions[0].AppliedBy != "ana" || versions[1].Priority != 7 {
		t.Fatalf("History(a) = %+v, %v", versions, err)
	}
	back, err := s.Rollback(t.Context(), "a", versions[0].Revision, route.By("cy"))
	if err != nil || back.Priority != 0 || back.Revision <= versions[1].Revision || back.AppliedBy != "cy" || back.Owner != "me" {
		t.Errorf("Rollback = %+v, %v", back, err)
	}
	same, err := s.Rollback(t.Context(), "a", versions[0].Revision)
	if err != nil || same.Revision != back.Revision {
		t.Errorf("Rollback to what is in force = %+v, %v, want no write", same, err)
	}
	if err := s.Remove(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	versions, err = s.History(t.Context(), "a")
	if err != nil || !versions[len(versions)-1].Deleted {
		t.Fatalf("History(a) = %+v, %v, want a removal at the end", versions, err)
	}
	if r, err := s.Rollback(t.Context(), "a", versions[1].Revision); err != nil || r.Priority != 7 {
		t.Errorf("Rollback of a removed route = %+v, %v", r, err)
	}
	if _, err := s.Rollback(t.Context(), "a", versions[3].Revision); !fault.Is(err, fault.Invalid) {
		t.Errorf("Rollback to a removal = %v, want invalid", err)
	}
	if _, err := s.Rollback(t.Context(), "a", 999); !fault.Is(err, fault.NotFound) {
		t.Errorf("Rollback to an unknown revision = %v, want not found", err)
	}
	if _, err := s.History(t.Context(), "never"); !fault.Is(err, fault.NotFound) {
		t.Errorf("History(never) = %v, want not found", err)
	}
}

func TestPlanText(t *testing.T) {
	t.Parallel()
	s := store(t)
	apply(t, s, "me", `
- {name: gone, on: x.*, to: [bare: {}]}
- {name: same, on: s, to: [bare: {}]}
- {name: mine, on: a.*, when: "data.x > 1", to: [fake: {url: "http://u:pw@a/?token=t1&x=1", secret: "env:ONE", token: hunter1}]}
`)
	apply(t, s, "other", `{name: theirs, on: a.*, to: [bare: {}]}`)
	changes, err := s.Plan(t.Context(), specs(t, `
- {name: same, on: s, to: [bare: {}]}
- {name: theirs, on: b.*, to: [bare: {}]}
- {name: mine, on: [a.*, b], to: [{fake: {url: "http://b/?token=t2", secret: "env:TWO", token: hunter2}}, bare: {}], retry: {max_attempts: 9}}
- {name: new, on: "n.**", when: "data.x >
    1", to: [fake: {url: "http://n"}, bare: {}]}
`), "me", route.Prune(), route.Keep())
	if err != nil {
		t.Fatal(err)
	}
	want := `- gone: x.* -> bare
~ mine
    on: "a.*" -> ["a.*","b"]
    retry: {"max_attempts":9} (new)
    to[0].fake.secret: "env:ONE" -> "env:TWO"
    to[0].fake.token: "[redacted]" -> "[redacted]"
    to[0].fake.url: "http://xxxxx@a/?token=xxxxx&x=1" -> "http://b/?token=xxxxx"
    to[1]: {"bare":{}} (new)
    when: "data.x > 1" (gone)
+ new: n.** when data.x > 1 -> fake http://n, bare
! theirs: differs, but belongs to other and is kept
1 to create, 1 to update, 1 to delete, 1 as wanted
`
	if diff := cmp.Diff(want, changes.String()); diff != "" {
		t.Errorf("String (-want +got):\n%s", diff)
	}
	b, err := json.Marshal(changes)
	if err != nil || !strings.Contains(string(b), `{"name":"mine","action":"update","owner":"me","revision":2,"fields":[{"path":"on","before":"a.*","after":["a.*","b"]}`) || strings.Contains(string(b), "hunter") {
		t.Errorf("Marshal = %s, %v", b, err)
	}
	none, err := s.Plan(t.Context(), specs(t, `{name: same, on: s, to: [bare: {}]}`), "me")
	if err != nil || none.String() != "no changes, 1 as wanted\n" {
		t.Errorf("Plan = %q, %v", none.String(), err)
	}
}

func TestStoreIsDown(t *testing.T) {
	t.Parallel()
	nc := testkit.Conn(t)
	s, err := route.OpenStore(t.Context(), nc, subject.Space{})
	if err != nil {
		t.Fatal(err)
	}
	nc.Close()
	if _, err := s.List(t.Context()); !fault.Is(err, fault.Unavailable) {
		t.Errorf("List = %v, want unavailable", err)
	}
	if _, err := s.Put(t.Context(), specs(t, ab)[0], "me", 1); !fault.Is(err, fault.Unavailable) {
		t.Errorf("Put = %v, want unavailable", err)
	}
	if _, err := route.OpenStore(t.Context(), nc, subject.Space{}); !fault.Is(err, fault.Unavailable) {
		t.Errorf("OpenStore = %v, want unavailable", err)
	}
}

func TestPrefixes(t *testing.T) {
	t.Parallel()
	space, err := subject.NewSpace("acme")
	if err != nil {
		t.Fatal(err)
	}
	other, err := route.OpenStore(t.Context(), testkit.Conn(t), space)
	if err != nil {
		t.Fatal(err)
	}
	apply(t, other, "me", ab)
	if list, err := store(t).List(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("List under another prefix = %v, %v, want none", list, err)
	}
}

// put writes whatever text as a route.
func put(tb testing.TB, key, text string) {
	tb.Helper()
	if _, err := kv(tb).PutString(tb.Context(), key, text); err != nil {
		tb.Fatal(err)
	}
}

func TestForeignEntries(t *testing.T) {
	t.Parallel()
	s := store(t)
	apply(t, s, "me", ab)
	put(t, "a", "not even JSON")
	put(t, "x", `{"spec": {"name": "y", "on": "a", "to": [{"bare": {}}]}}`)
	put(t, "z", `{"spec": {"name": "z", "on": "a", "to": [{"gone_adapter": {}}]}, "owner": "me"}`)
	list, err := s.List(t.Context())
	if len(list) != 1 || list[0].Name != "b" || !fault.Is(err, fault.Invalid) {
		t.Errorf("List = %v, %v, want b and an error", list, err)
	}
	for _, want := range []string{"route a, revision 3: not a route document", `route x, revision 4: it calls itself "y"`, "route z, revision 5: to[0]: no adapter is named"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("List = %v, want it to say %s", err, want)
		}
	}
	// Applying repairs what is broken, and pruning drops what is.
	if got := actions(apply(t, s, "me", ab, route.Prune())); got != "update a, none b, delete z" {
		t.Errorf("Apply = %s", got)
	}
}
