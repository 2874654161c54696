package node_test

import (
	"strings"
	"testing"

	"github.com/signalmesh/signalmesh/pkg/mesh"
	"github.com/signalmesh/signalmesh/pkg/subject"
	"github.com/signalmesh/signalmesh/pkg/testkit"
)

// TestOperatorsRoutesStay starts a node whose configuration has three routes: one that an
// operator changed, one that a node of another name put there, and one of its own.
func TestOperatorsRoutesStay(t *testing.T) {
	t.Parallel()
	url := testkit.Server(t).ClientURL()
	routes := func(priority string) string {
		text := "routes:\n"
		for _, name := range []string{"changed", "handed", "own"} {
			text += "  - {name: " + name + ", on: a.*, priority: " + priority + ", to: [{noop: {}}]}\n"
		}
		return text
	}
	old := start(t, attached("old", url, routes("1")))
	old.end()
	store := openStore(t)
	apply(t, store, "routes: [{name: changed, on: a.*, priority: 99, to: [{noop: {}}]}]")
	if err := store.Remove(t.Context(), "own"); err != nil {
		t.Fatal(err)
	}

	n := start(t, attached("new", url, routes("2")))
	live, err := store.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, r := range live {
		got[r.Name] = r.Owner + " " + r.Summary()
		if want := map[string]int{"changed": 99, "handed": 2, "own": 2}[r.Name]; r.Priority != want {
			t.Errorf("route %s has priority %d, want %d", r.Name, r.Priority, want)
		}
	}
	for name, owner := range map[string]string{"changed": "ana", "handed": "node:new", "own": "node:new"} {
		if !strings.HasPrefix(got[name], owner+" ") {
			t.Errorf("route %s = %q, want it to be %s's", name, got[name], owner)
		}
	}
	const warning = `level=WARN msg="route of the configuration is not applied: somebody else has changed it" node=new route=changed owner=ana`
	if log := n.log.String(); strings.Count(log, warning) != 1 || strings.Count(log, "level=WARN") != 1 {
		t.Errorf("log = %s, want the one warning %s", log, warning)
	}
}

// TestRoutesInForce reads from the mesh which routes a node has in force, from the first ones
// to a removal and to ones that it can't use.
func TestRoutesInForce(t *testing.T) {
	t.Parallel()
	n := start(t, attached("n1", testkit.Server(t).ClientURL(), "routes: [{name: a, on: a.*, to: [{noop: {}}]}]\n"))
	store := openStore(t)
	reaches := func(what string, problem string) {
		t.Helper()
		revision, err := store.Revision(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		until(t, what, func() bool {
			all, err := mesh.Nodes(t.Context(), testkit.Conn(t), subject.Space{})
			return err == nil && len(all) == 1 && all[0].Routes == revision &&
				strings.Contains(all[0].RoutesProblem, problem) && (problem == "") == (all[0].RoutesProblem == "")
		})
	}
	reaches("the routes of the configuration", "")
	apply(t, store, "routes: [{name: b, on: b.*, to: [{noop: {}}]}]")
	reaches("a new route", "")
	if err := store.Remove(t.Context(), "b"); err != nil {
		t.Fatal(err)
	}
	reaches("its removal", "")
	apply(t, store, "routes: [{name: a, on: a.*, to: [{webhook: {url: \"http://127.0.0.1:1\", secret: \"env:NODE_TEST_NO_SUCH_SECRET\"}}]}]")
	reaches("a route that can't be opened", "route a")
	if err := store.Remove(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	reaches("the end of the problem", "")
	n.end()
}
