package mesh_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nats.go/micro"
	"go.uber.org/goleak"

	"github.com/signalmesh/signalmesh/pkg/embed"
	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/mesh"
	"github.com/signalmesh/signalmesh/pkg/subject"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func start(t *testing.T, cfg embed.Config) *embed.Server {
	t.Helper()
	cfg.Durability = embed.Fast
	if cfg.Dir == "" {
		cfg.Dir = t.TempDir()
	}
	s, err := embed.Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Shutdown)
	return s
}

func connect(t *testing.T, s *embed.Server) *nats.Conn {
	t.Helper()
	nc, err := s.Connect()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

func join(t *testing.T, nc *nats.Conn, info mesh.Info, opts ...mesh.JoinOption) *mesh.Member {
	t.Helper()
	m, err := mesh.Join(t.Context(), nc, info, append(opts, quiet)...)
	if err != nil {
		t.Fatalf("Join(%s): %v", info.Name, err)
	}
	t.Cleanup(func() { _ = m.Leave(context.Background()) })
	return m
}

func names(t *testing.T, nc *nats.Conn, space subject.Space) []string {
	t.Helper()
	nodes, err := mesh.Nodes(t.Context(), nc, space)
	if err != nil {
		t.Fatalf("Nodes: %v", err)
	}
	var all []string
	for _, n := range nodes {
		all = append(all, n.Name)
	}
	return all
}

func TestJoinAndLeave(t *testing.T) {
	t.Parallel()
	nc := connect(t, start(t, embed.Config{}))
	if got := names(t, nc, subject.Space{}); got != nil {
		t.Errorf("nodes of an empty mesh = %v, want none", got)
	}
	info := mesh.Info{
		Name: "b", Version: "v1.2.3", Started: time.Now().UTC().Truncate(time.Second), Host: "h", PID: 7,
		HTTP: "http://127.0.0.1:1", NATS: "nats://127.0.0.1:2", Durability: "sync", Buses: []string{"default"},
		Labels: map[string]string{"zone": "1"},
	}
	b := join(t, nc, info)
	a := join(t, nc, mesh.Info{Name: "a"})
	if got, want := names(t, nc, subject.Space{}), []string{"a", "b"}; !cmp.Equal(got, want) {
		t.Errorf("nodes = %v, want %v", got, want)
	}
	nodes, err := mesh.Nodes(t.Context(), nc, subject.Space{})
	if err != nil {
		t.Fatal(err)
	}
	info.State = mesh.Ready
	if d := cmp.Diff(info, nodes[1].Info); d != "" {
		t.Errorf("info of b (-joined +listed):\n%s", d)
	}
	if nodes[1].Instance != b.Instance() || time.Since(nodes[1].Seen).Abs() > time.Minute {
		t.Errorf("instance %q seen %s, want %q and about now", nodes[1].Instance, nodes[1].Seen, b.Instance())
	}
	if err := b.Update(t.Context(), func(i *mesh.Info) { i.State, i.Name = mesh.Draining, "x" }); err != nil {
		t.Fatal(err)
	}
	nodes, err = mesh.Nodes(t.Context(), nc, subject.Space{})
	if err != nil {
		t.Fatal(err)
	}
	if nodes[1].Name != "b" || nodes[1].State != mesh.Draining {
		t.Errorf("after Update: %s is %s, want b draining", nodes[1].Name, nodes[1].State)
	}
	if err := a.Leave(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := a.Leave(t.Context()); err != nil {
		t.Errorf("second Leave = %v, want nil", err)
	}
	<-a.Done()
	if err := a.Update(t.Context(), func(*mesh.Info) {}); !fault.Is(err, fault.Conflict) {
		t.Errorf("Update after Leave = %v, want a conflict", err)
	}
	if got, want := names(t, nc, subject.Space{}), []string{"b"}; !cmp.Equal(got, want) {
		t.Errorf("nodes after a left = %v, want %v", got, want)
	}
}

func TestNodeIsAMicroService(t *testing.T) {
	t.Parallel()
	nc := connect(t, start(t, embed.Config{}))
	join(t, nc, mesh.Info{Name: "a", Version: "devel"})
	subj, err := micro.ControlSubject(micro.InfoVerb, "signald", "")
	if err != nil {
		t.Fatal(err)
	}
	m, err := nc.RequestWithContext(t.Context(), subj, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"node":"a"`, `"space":"sig"`, `"version":"0.0.0"`} {
		if !strings.Contains(string(m.Data), want) {
			t.Errorf("micro info = %s, want %s in it", m.Data, want)
		}
	}
}

func TestSpacesAreApart(t *testing.T) {
	t.Parallel()
	nc := connect(t, start(t, embed.Config{}))
	acme, err := subject.NewSpace("acme")
	if err != nil {
		t.Fatal(err)
	}
	join(t, nc, mesh.Info{Name: "a"})
	join(t, nc, mesh.Info{Name: "a"}, mesh.WithSpace(acme))
	if got := names(t, nc, acme); !cmp.Equal(got, []string{"a"}) {
		t.Errorf("nodes of acme = %v, want [a]", got)
	}
}

func TestNameIsTaken(t *testing.T) {
	t.Parallel()
	s := start(t, embed.Config{})
	first := connect(t, s)
	holder := join(t, first, mesh.Info{Name: "a", Host: "h1", PID: 42})
	nc := connect(t, s)
	_, err := mesh.Join(t.Context(), nc, mesh.Info{Name: "a"})
	if !fault.Is(err, fault.Conflict) || !strings.Contains(err.Error(), "h1") {
		t.Fatalf("Join under a name in use = %v, want a conflict that names the host", err)
	}
	first.Close() // as after kill -9: the record is there, nobody answers for it
	second := join(t, nc, mesh.Info{Name: "a", Host: "h2"})
	if err := holder.Leave(t.Context()); err == nil {
		t.Error("Leave over a closed connection reports nothing")
	}
	if got := names(t, nc, subject.Space{}); !cmp.Equal(got, []string{"a"}) {
		t.Errorf("nodes = %v, want [a]", got)
	}
	if err := second.Err(); err != nil {
		t.Errorf("Err() = %v, want nil", err)
	}
}

func TestBadName(t *testing.T) {
	t.Parallel()
	nc := connect(t, start(t, embed.Config{}))
	if _, err := mesh.Join(t.Context(), nc, mesh.Info{Name: "a.b"}); !fault.Is(err, fault.Invalid) {
		t.Errorf("Join as a.b = %v, want invalid", err)
	}
	nc.Close()
	if _, err := mesh.Join(t.Context(), nc, mesh.Info{Name: "a"}); !fault.Is(err, fault.Unavailable) {
		t.Errorf("Join over a closed connection = %v, want unavailable", err)
	}
	if _, err := mesh.Nodes(t.Context(), nc, subject.Space{}); !fault.Is(err, fault.Unavailable) {
		t.Errorf("Nodes over a closed connection = %v, want unavailable", err)
	}
}

// shortBucket makes the bucket of nodes with a lifetime that a test can wait for.
func shortBucket(t *testing.T, nc *nats.Conn) jetstream.KeyValue {
	t.Helper()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	kv, err := js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{
		Bucket: subject.Space{}.NodesBucket(), TTL: time.Second, LimitMarkerTTL: time.Second, Storage: jetstream.MemoryStorage,
	})
	if err != nil {
		t.Fatal(err)
	}
	return kv
}

// A dead node disappears, a live one stays, and watchers see both.
func TestHeartbeatKeepsTheRecord(t *testing.T) {
	t.Parallel()
	s := start(t, embed.Config{})
	nc := connect(t, s)
	kv := shortBucket(t, nc)
	join(t, nc, mesh.Info{Name: "alive"})
	dying := connect(t, s)
	join(t, dying, mesh.Info{Name: "dead"})
	dying.Close()
	w, err := kv.WatchAll(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = w.Stop() }()
	beats := 0
	for gone := false; !gone || beats < 4; {
		select {
		case e := <-w.Updates():
			switch {
			case e == nil:
			case e.Key() == "dead" && e.Operation() != jetstream.KeyValuePut:
				gone = true
			case e.Key() == "alive" && e.Operation() != jetstream.KeyValuePut:
				t.Fatalf("the live node's record is gone: %s", e.Operation())
			case e.Key() == "alive":
				beats++
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("after 10s: dead node gone %t, %d heartbeats of the live one", gone, beats)
		}
	}
	if got := names(t, nc, subject.Space{}); !cmp.Equal(got, []string{"alive"}) {
		t.Errorf("nodes = %v, want [alive]", got)
	}
}

// The bucket is in memory, so a server that was restarted does not have it.
func TestMemberOutlivesTheServer(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := start(t, embed.Config{Dir: dir})
	port := portOf(t, s)
	nc, err := nats.Connect(s.ClientURL(), nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	m := join(t, nc, mesh.Info{Name: "a"})
	back := make(chan struct{}, 1)
	nc.SetReconnectHandler(func(*nats.Conn) { back <- struct{}{} })
	s.Shutdown()
	start(t, embed.Config{Dir: dir, Port: port})
	<-back
	if got := names(t, nc, subject.Space{}); got != nil {
		t.Fatalf("nodes after the restart = %v: the bucket is not in memory", got)
	}
	if err := m.Update(t.Context(), func(*mesh.Info) {}); err != nil {
		t.Fatalf("heartbeat after the restart: %v", err)
	}
	if got := names(t, nc, subject.Space{}); !cmp.Equal(got, []string{"a"}) {
		t.Errorf("nodes after a heartbeat = %v, want [a]", got)
	}
	if err := errors.Join(m.Err(), m.Leave(t.Context())); err != nil {
		t.Error(err)
	}
}
