package route_test

import (
	"context"
	"net"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/signalmesh/signalmesh/pkg/embed"
	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/route"
	"github.com/signalmesh/signalmesh/pkg/subject"
)

// state is one turn of a Watch loop.
type state struct {
	route.Snapshot
	err error
}

func (s state) names() string {
	var names []string
	for _, r := range s.Routes {
		names = append(names, r.Name)
	}
	return strings.Join(names, " ")
}

// watch runs a Watch loop until the test ends.
func watch(t *testing.T, s *route.Store) <-chan state {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	states, done := make(chan state, 64), make(chan struct{})
	go func() { // ends with ctx
		defer close(done)
		for snapshot, err := range s.Watch(ctx) {
			states <- state{snapshot, err}
		}
	}()
	t.Cleanup(func() { stop(); <-done })
	return states
}

// next is the next state that is fit; whatever comes before is passed over.
func next(t *testing.T, states <-chan state, what string, fit func(state) bool) state {
	t.Helper()
	timeout := time.After(20 * time.Second)
	for {
		select {
		case s := <-states:
			if fit(s) {
				return s
			}
		case <-timeout:
			t.Fatalf("no state with %s", what)
		}
	}
}

func withNames(names string) func(state) bool {
	return func(s state) bool { return s.err == nil && s.names() == names }
}

func TestWatch(t *testing.T) {
	t.Parallel()
	s := store(t)
	states := watch(t, s)
	if first := <-states; first.err != nil || len(first.Routes) != 0 {
		t.Errorf("the first state is %+v, want an empty one", first)
	}
	apply(t, s, "me", ab)
	got := <-states
	if got.names() != "a b" || got.Revision != got.Routes[1].Revision {
		t.Errorf("after Apply: %s at %d, want a and b together", got.names(), got.Revision)
	}
	apply(t, s, "me", ab) // writes nothing
	apply(t, s, "me", ab2, route.Prune())
	if got := <-states; got.names() != "a c" || got.Routes[0].Priority != 7 {
		t.Errorf("after the change: %s, want a and c", got.names())
	}
	if late := <-watch(t, s); late.names() != "a c" {
		t.Errorf("a new watch starts with %s, want a and c", late.names())
	}
}

// What came and went at once leaves the routes as they are, and is a revision nevertheless.
func TestWatchReachesEveryRevision(t *testing.T) {
	t.Parallel()
	s := store(t)
	states := watch(t, s)
	<-states
	if n, err := s.Revision(t.Context()); n != 0 || err != nil {
		t.Errorf("Revision of an empty store = %d, %v, want 0", n, err)
	}
	apply(t, s, "me", ab)
	if err := s.Remove(t.Context(), "a", "b"); err != nil {
		t.Fatal(err)
	}
	n, err := s.Revision(t.Context())
	if n != 4 || err != nil {
		t.Errorf("Revision after two routes came and went = %d, %v, want 4", n, err)
	}
	next(t, states, "the last revision", func(s state) bool { return s.Revision == n && len(s.Routes) == 0 })
	if late := <-watch(t, s); late.Revision != n {
		t.Errorf("a new watch starts at revision %d, want %d", late.Revision, n)
	}
}

func TestWatchEnds(t *testing.T) {
	t.Parallel()
	s := store(t)
	apply(t, s, "me", ab)
	turns := 0
	for range s.Watch(t.Context()) {
		turns++
		break
	}
	ctx, stop := context.WithCancel(t.Context())
	for range s.Watch(ctx) {
		turns++
		stop()
	}
	stop()
	for range s.Watch(ctx) {
		turns++
	}
	if turns != 2 {
		t.Errorf("the loops had %d turns, want 2", turns)
	}
}

// Many changes come as few states, and no state is half of a change.
func TestWatchIsWhole(t *testing.T) {
	t.Parallel()
	s := store(t)
	states := watch(t, s)
	<-states
	for i := range 20 {
		both := specs(t, ab)
		both[0].Description, both[1].Description = strconv.Itoa(i), strconv.Itoa(i)
		if _, err := s.Apply(t.Context(), both, "me"); err != nil {
			t.Fatal(err)
		}
	}
	seen := 0
	next(t, states, "the last change", func(s state) bool {
		seen++
		if len(s.Routes) != 2 || s.Routes[0].Description != s.Routes[1].Description {
			t.Errorf("a state has %+v", s.Routes)
		}
		return s.Routes[0].Description == "19"
	})
	if seen > 15 {
		t.Errorf("20 changes came as %d states, want fewer", seen)
	}
}

func TestWatchKeepsTheLastGoodRevision(t *testing.T) {
	t.Parallel()
	s := store(t)
	apply(t, s, "me", ab)
	states := watch(t, s)
	<-states
	put(t, "a", `{"spec": {"name": "a", "on": "a..b"}}`)
	put(t, "x", `nothing`)
	check := func(got state) {
		t.Helper()
		if got.names() != "a b" || got.Routes[0].Revision != 1 {
			t.Errorf("the state has %+v, want a as it was", got.Routes)
		}
		if len(got.Problems) != 2 || got.Problems[0].Name != "a" || got.Problems[0].Revision != 3 || !fault.Is(got.Problems[0].Err, fault.Invalid) {
			t.Errorf("the state has the problems %+v, want a and x", got.Problems)
		}
	}
	twoProblems := func(s state) bool { return len(s.Problems) == 2 }
	check(next(t, states, "two problems", twoProblems))
	check(<-watch(t, s)) // a node that starts now finds a's last good revision
	apply(t, s, "me", ab)
	if got := next(t, states, "a repaired", func(s state) bool { return len(s.Problems) == 1 }); got.Routes[0].Revision <= 3 {
		t.Errorf("the state has %+v, want the new a", got.Routes)
	}
	// What was removed does not come back because of something bad in its place.
	if err := s.Remove(t.Context(), "b"); err != nil {
		t.Fatal(err)
	}
	put(t, "b", `nothing`)
	next(t, states, "b gone and bad", func(s state) bool { return s.names() == "a" && len(s.Problems) == 2 })
	if got := <-watch(t, s); got.names() != "a" {
		t.Errorf("a new watch starts with %s, want a", got.names())
	}
}

// The server goes away and comes back with another change: the loop finds its way.
func TestWatchSurvivesTheServer(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	start := func(port int) *embed.Server {
		server, err := embed.Start(t.Context(), embed.Config{Dir: dir, Port: port, Durability: embed.Fast})
		if err != nil {
			t.Fatal(err)
		}
		return server
	}
	server := start(embed.RandomPort)
	address, err := url.Parse(server.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	_, text, err := net.SplitHostPort(address.Host)
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	back := make(chan struct{}, 8)
	nc, err := nats.Connect(server.ClientURL(), nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond),
		nats.ReconnectHandler(func(*nats.Conn) { back <- struct{}{} }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	s, err := route.OpenStore(t.Context(), nc, subject.Space{})
	if err != nil {
		t.Fatal(err)
	}
	apply(t, s, "me", ab)
	states := watch(t, s)
	next(t, states, "a and b", withNames("a b"))
	server.Shutdown()
	server = start(port)
	t.Cleanup(func() { server.Shutdown() })
	<-back
	began := time.Now()
	apply(t, s, "me", ab2, route.Prune())
	next(t, states, "a and c", withNames("a c"))
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("the change was seen %v after the server was back, want a second or two", took)
	}
}
