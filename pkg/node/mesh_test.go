package node_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/signalmesh/signalmesh/pkg/embed"
	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/internal/plug"
	"github.com/signalmesh/signalmesh/pkg/mesh"
	"github.com/signalmesh/signalmesh/pkg/node"
	"github.com/signalmesh/signalmesh/pkg/route"
	"github.com/signalmesh/signalmesh/pkg/subject"
	"github.com/signalmesh/signalmesh/pkg/testkit"
)

// nodes lists who is in the mesh, with its state.
func nodes(t *testing.T) []string {
	t.Helper()
	all, err := mesh.Nodes(t.Context(), testkit.Conn(t), subject.Space{})
	if err != nil {
		t.Fatal(err)
	}
	names := make([]string, len(all))
	for i, n := range all {
		names[i] = n.Name + " " + string(n.State)
	}
	return names
}

func openStore(t *testing.T) *route.Store {
	t.Helper()
	store, err := route.OpenStore(t.Context(), testkit.Conn(t), subject.Space{})
	if err != nil {
		t.Fatal(err)
	}
	return store
}

// apply puts routes into the mesh, as somebody at a keyboard would.
func apply(t *testing.T, store *route.Store, text string) {
	t.Helper()
	doc, err := plug.Parse([]byte(text), "routes.yaml")
	if err != nil {
		t.Fatal(err)
	}
	specs, err := route.ParseAll(doc)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.Apply(t.Context(), specs, "ana", route.Take()); err != nil {
		t.Fatal(err)
	}
}

// TestTwoNodes shows that nodes of one mesh know each other, follow the same routes without
// a restart, and share the deliveries.
func TestTwoNodes(t *testing.T) {
	t.Parallel()
	url, target := testkit.Server(t).ClientURL(), testkit.Target(t)
	first := start(t, attached("n1", url, ""))
	second := start(t, attached("n2", url, ""))
	if got, want := nodes(t), []string{"n1 ready", "n2 ready"}; !slices.Equal(got, want) {
		t.Errorf("nodes = %v, want %v", got, want)
	}
	for _, n := range []*run{first, second} {
		if _, body := get(t, n.HTTPURL()+"/readyz?verbose"); !strings.Contains(body, "durability: unknown\n") {
			t.Errorf("readyz of %s = %s, want durability: unknown", n.Name(), body)
		}
	}
	apply(t, openStore(t), "routes:\n"+httpRoute("orders", target.URL))
	for _, n := range []*run{first, second} {
		until(t, "the route on "+n.Name(), func() bool { return strings.Contains(n.log.String(), "routes=1") })
	}
	sent := map[string]bool{}
	for i := range 40 {
		sent[[]*run{first, second}[i%2].send("order.created", `{}`).ID] = true
	}
	for _, r := range target.Wait(len(sent), patience) {
		delete(sent, r.Signal(t).ID)
	}
	if len(sent) > 0 {
		t.Errorf("%d signals did not reach the target", len(sent))
	}
	second.end()
	if got, want := nodes(t), []string{"n1 ready"}; !slices.Equal(got, want) {
		t.Errorf("nodes after one has left = %v, want %v", got, want)
	}
	id := first.send("order.created", `{}`).ID
	target.WaitFor("the signal after one node left", func(got []testkit.Request) bool {
		return got[len(got)-1].Signal(t).ID == id
	}, patience)
}

// TestSameName shows that a second node of a name is refused before it has changed anything:
// the routes of the first are still there.
func TestSameName(t *testing.T) {
	t.Parallel()
	url := testkit.Server(t).ClientURL()
	start(t, attached("n1", url, "routes:\n  - {name: mine, on: \"**\", to: [{noop: {}}]}\n"))
	second := launch(t, attached("n1", url, "routes:\n  - {name: other, on: \"**\", to: [{noop: {}}]}\n"), node.Options{})
	if err := second.wait(); !fault.Is(err, fault.Conflict) || fault.HintOf(err) == "" {
		t.Errorf("Run = %v (%s), want a conflict with a hint", err, fault.CodeOf(err))
	}
	routes, err := openStore(t).List(t.Context())
	if err != nil || len(routes) != 1 || routes[0].Name != "mine" {
		t.Errorf("routes = %v, %v, want mine", routes, err)
	}
}

// TestBadRouteLeavesWhatRuns changes a route so that it can't be put in force here, and
// another so that it can't even be read. Both go on as they were, visibly.
func TestBadRouteLeavesWhatRuns(t *testing.T) {
	t.Parallel()
	url, target := testkit.Server(t).ClientURL(), testkit.Target(t)
	n := start(t, attached("n1", url, "routes:\n"+httpRoute("orders", target.URL)+httpRoute("audit", target.URL)))
	store := openStore(t)
	apply(t, store, `routes: [{name: orders, on: order.**, to: [{webhook: {url: "`+target.URL+`", secret: "env:NODE_TEST_NO_SUCH_SECRET"}}]}]`)
	js, err := jetstream.New(testkit.Conn(t))
	if err != nil {
		t.Fatal(err)
	}
	kv, err := js.KeyValue(t.Context(), subject.Space{}.RoutesBucket())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kv.PutString(t.Context(), "audit", "{"); err != nil {
		t.Fatal(err)
	}
	var status int
	var body string
	until(t, "both problems to be reported", func() bool {
		status, body = get(t, n.HTTPURL()+"/readyz?verbose")
		return strings.Contains(body, "[!] routes: ") && strings.Contains(body, "route orders") && strings.Contains(body, "route audit")
	})
	if status != 200 || !strings.HasSuffix(body, "ok\n") {
		t.Errorf("readyz = %d %s, want 200: a wrong route takes no node out of service", status, body)
	}
	n.send("order.created", `{}`)
	for _, r := range target.Wait(2, patience) {
		if r.Header.Get("Webhook-Signature") != "" {
			t.Errorf("request %s is of the new route, want the one that ran", r)
		}
	}

	apply(t, store, "routes:\n"+httpRoute("orders", target.URL)+httpRoute("audit", target.URL))
	until(t, "the problems to go", func() bool {
		_, body = get(t, n.HTTPURL()+"/readyz?verbose")
		return strings.Contains(body, "[+] routes: ok")
	})
}

// TestReload shows that routes and sources follow a changed configuration, together or not
// at all, and that the rest is named.
func TestReload(t *testing.T) {
	t.Parallel()
	const hook = "sources:\n  - {name: %, webhook: {verify: none}, type: \"'a.b'\", source: \"'/x'\"}\n"
	named := func(name string) string { return strings.Replace(hook, "%", name, 1) }
	target := testkit.Target(t)
	dir := t.TempDir()
	n := start(t, embedded("n1", dir, named("old")+"routes:\n"+httpRoute("old", target.URL)))
	status := func(hook string) int {
		res, err := client.Post(n.HTTPURL()+"/v1/hooks/"+hook, "application/json", strings.NewReader(`{}`))
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		return res.StatusCode
	}
	if got := status("old"); got != 202 {
		t.Fatalf("POST to the source = %d, want 202", got)
	}

	bad := configOf(t, embedded("n1", dir, named("new")))
	bad.Sources[0].Bus = "nowhere"
	if err := n.Reload(t.Context(), bad); !fault.Is(err, fault.Invalid) {
		t.Errorf("Reload with a source on no bus = %v, want invalid", err)
	}
	if got := status("old"); got != 202 {
		t.Errorf("POST to the source after a refused reload = %d, want 202", got)
	}

	next := configOf(t, embedded("n1", dir, named("new")+"routes:\n"+httpRoute("new", target.URL)+"log: {level: debug}\n"))
	if err := n.Reload(t.Context(), next); err != nil {
		t.Fatal(err)
	}
	if was, is := status("old"), status("new"); was != 404 || is != 202 {
		t.Errorf("POST to the old source = %d, to the new one = %d, want 404 and 202", was, is)
	}
	until(t, "the new route alone", func() bool {
		_, why := get(t, n.HTTPURL()+"/v1/signals/"+n.send("order.created", `{}`).ID+"/why")
		return strings.Contains(why, `"route":"new"`) && !strings.Contains(why, `"route":"old"`)
	})
	if log := n.log.String(); !strings.Contains(log, "sections=[log]") {
		t.Errorf("the log does not name the section that waits for a restart:\n%s", log)
	}
}

// TestServerGoesAndComes shows that a node says when its server is gone, and goes on when
// it is back.
func TestServerGoesAndComes(t *testing.T) {
	t.Parallel()
	target, dir := testkit.Target(t), t.TempDir()
	serve := func(port int) *embed.Server {
		s, err := embed.Start(t.Context(), embed.Config{Dir: dir, Port: port, Durability: embed.Fast})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Shutdown)
		return s
	}
	server := serve(embed.RandomPort)
	url := server.ClientURL()
	_, port, err := splitPort(url)
	if err != nil {
		t.Fatal(err)
	}
	server.Shutdown()

	n := launch(t, attached("n1", url, "routes:\n"+httpRoute("orders", target.URL)), node.Options{ConnectTimeout: time.Minute})
	until(t, "the node to wait for its server", func() bool { return strings.Contains(n.log.String(), "nats does not answer yet") })
	server = serve(port)
	n.await()
	n.send("order.created", `{}`)
	target.Wait(1, patience)

	server.Shutdown()
	until(t, "the node to be unready", func() bool {
		status, body := get(t, n.HTTPURL()+"/readyz?verbose")
		return status == 503 && strings.Contains(body, "[-] nats: ")
	})
	serve(port)
	until(t, "the node to be ready again", func() bool {
		status, _ := get(t, n.HTTPURL()+"/readyz")
		return status == 200
	})
	n.send("order.created", `{}`)
	target.Wait(2, patience)
	n.end()
}

// TestUnreachable shows that a server that never comes is an error in time.
func TestUnreachable(t *testing.T) {
	t.Parallel()
	n := launch(t, attached("n1", "nats://127.0.0.1:1", ""), node.Options{ConnectTimeout: time.Millisecond})
	err := n.wait()
	if !fault.Is(err, fault.Unavailable) || !strings.Contains(err.Error(), "nats://127.0.0.1:1") || fault.HintOf(err) == "" {
		t.Errorf("Run = %v (%s), want unavailable, with the URL and a hint", err, fault.CodeOf(err))
	}
}
