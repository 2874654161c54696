package node_test

import (
	"net"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/signalmesh/signalmesh/pkg/config"
	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/node"
	"github.com/signalmesh/signalmesh/pkg/testkit"
)

// TestReady shows what a node that is ready says about itself.
func TestReady(t *testing.T) {
	t.Parallel()
	n := start(t, embedded("n1", t.TempDir(), ""))
	for path, want := range map[string]string{
		"/healthz": "ok\n", "/readyz": "ok\n",
		"/readyz?verbose": "[+] nats: ok\n[+] routes: ok\n[+] mesh: ok\n[+] bus default: ok\n    durability: fast\n    version: v1.2.3\nok\n",
	} {
		if status, body := get(t, n.HTTPURL()+path); status != 200 || body != want {
			t.Errorf("GET %s = %d %q, want 200 %q", path, status, body, want)
		}
	}
	if got := n.Durability(); got != "fast" {
		t.Errorf("Durability() = %s, want fast", got)
	}
	n.end()
	if status, _ := get(t, n.HTTPURL()+"/healthz"); status != 0 {
		t.Errorf("GET /healthz after the end = %d, want no answer", status)
	}
}

// TestDurabilityIsSync shows that nobody has to ask for what an acknowledgement should mean.
func TestDurabilityIsSync(t *testing.T) {
	t.Parallel()
	text := strings.Replace(embedded("n1", t.TempDir(), ""), ", durability: fast", "", 1)
	n := start(t, text)
	if got := n.Durability(); got != "sync" {
		t.Errorf("Durability() = %s, want sync", got)
	}
}

// TestRestart shows that a node on the same data has the signals, routes and verdicts of its
// predecessor, and delivers nothing again.
func TestRestart(t *testing.T) {
	t.Parallel()
	target, dir := testkit.Target(t), t.TempDir()
	n := start(t, embedded("n1", dir, "routes:\n"+httpRoute("orders", target.URL)))
	sent := n.send("order.created", `{"n": 1}`)
	target.Wait(1, patience)
	until(t, "the verdict", func() bool {
		_, why := get(t, n.HTTPURL()+"/v1/signals/"+sent.ID+"/why")
		return strings.Contains(why, `"delivered"`)
	})
	n.end()

	n = start(t, embedded("n1", dir, "routes:\n"+httpRoute("orders", target.URL)))
	if status, body := get(t, n.HTTPURL()+"/v1/signals/"+sent.ID); status != 200 || !strings.Contains(body, `{"n": 1}`) {
		t.Errorf("GET the signal after a restart = %d %s", status, body)
	}
	if status, body := get(t, n.HTTPURL()+"/v1/signals/"+sent.ID+"/why"); status != 200 || !strings.Contains(body, `"delivered"`) {
		t.Errorf("GET why after a restart = %d %s", status, body)
	}
	next := n.send("order.created", `{"n": 2}`)
	got := target.Wait(2, patience)
	if id := got[1].Signal(t).ID; id != next.ID || len(got) != 2 {
		t.Errorf("after a restart the target got %v, want only %s more", got, next.ID)
	}
}

// TestPortInUse shows that a node whose address is taken says which, and touches nothing.
func TestPortInUse(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = taken.Close() }) // after the subtests
	address := taken.Addr().String()
	for _, section := range []string{"http", "nats"} {
		t.Run(section, func(t *testing.T) {
			t.Parallel()
			cfg := configOf(t, embedded("n1", t.TempDir(), ""))
			if section == "http" {
				cfg.HTTP.Listen = address
			} else {
				cfg.NATS.Listen = address
			}
			n, err := node.New(cfg, node.Options{})
			if err != nil {
				t.Fatal(err)
			}
			err = n.Run(t.Context())
			_, port, _ := net.SplitHostPort(address)
			if !fault.Is(err, fault.Conflict) || !strings.Contains(err.Error(), "port "+port+" on 127.0.0.1 is in use") || fault.HintOf(err) == "" {
				t.Errorf("Run = %v (%s), want a conflict that names port %s, and a hint", err, fault.CodeOf(err), port)
			}
		})
	}
}

// TestNextFree shows that a node may be told to move on.
func TestNextFree(t *testing.T) {
	t.Parallel()
	first := start(t, embedded("n1", t.TempDir(), ""))
	cfg := embedded("n2", t.TempDir(), "")
	cfg = strings.Replace(cfg, "http: {listen: \"127.0.0.1:0\"}", "http: {listen: \""+strings.TrimPrefix(first.HTTPURL(), "http://")+"\"}", 1)
	cfg = strings.Replace(cfg, "nats: {listen: \"127.0.0.1:0\"", "nats: {listen: \""+strings.TrimPrefix(first.NATSURL(), "nats://")+"\"", 1)
	second := launch(t, cfg, node.Options{NextFreeNATS: true, NextFreeHTTP: true})
	second.await()
	if first.HTTPURL() == second.HTTPURL() || first.NATSURL() == second.NATSURL() {
		t.Errorf("two nodes listen on %s and %s", first.HTTPURL(), first.NATSURL())
	}
}

// TestRefused shows what New does not take, though it was not read from a file.
func TestRefused(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		change func(*config.Config)
		code   fault.Code
		text   string
	}{
		"strangers by HTTP":  {func(c *config.Config) { c.HTTP.Listen = "0.0.0.0:0" }, fault.Denied, "http.listen"},
		"strangers by NATS":  {func(c *config.Config) { c.NATS.Listen = ":4222" }, fault.Denied, "nats.listen"},
		"no data":            {func(c *config.Config) { c.Node.Data = "" }, fault.Invalid, "node.data"},
		"two buses, a name":  {func(c *config.Config) { c.Buses = []config.Bus{{Name: "a"}, {Name: "a"}} }, fault.Invalid, `"a"`},
		"a name with dots":   {func(c *config.Config) { c.Node.Name = "a.b" }, fault.Invalid, "node.name"},
		"a prefix with dots": {func(c *config.Config) { c.NATS.Prefix = "a.b" }, fault.Invalid, "nats.prefix"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := configOf(t, embedded("n1", t.TempDir(), ""))
			tt.change(cfg)
			_, err := node.New(cfg, node.Options{})
			if !fault.Is(err, tt.code) || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("New = %v (%s), want %s about %s", err, fault.CodeOf(err), tt.code, tt.text)
			}
		})
	}
}

// TestToken shows that clients of the embedded server must show the token, that the node
// itself does, and that it is told to nobody.
func TestToken(t *testing.T) {
	t.Setenv("NODE_TEST_TOKEN", "opensesame")
	text := strings.Replace(embedded("n1", t.TempDir(), ""), "durability: fast", "durability: fast, token: \"env:NODE_TEST_TOKEN\"", 1)
	n := start(t, text)
	n.send("order.created", `{}`)
	if nc, err := nats.Connect(n.NATSURL()); err == nil {
		nc.Close()
		t.Error("Connect without the token succeeded")
	}
	nc, err := nats.Connect(n.NATSURL(), nats.Token("opensesame"))
	if err != nil {
		t.Fatalf("Connect with the token = %v", err)
	}
	nc.Close()

	second := start(t, strings.Replace(attached("n2", n.NATSURL(), ""), "nats: {", "nats: {token: \"env:NODE_TEST_TOKEN\", ", 1))
	second.send("order.created", `{}`)
	third := launch(t, attached("n3", n.NATSURL(), ""), node.Options{})
	if err := third.wait(); !fault.Is(err, fault.Unauthenticated) {
		t.Errorf("Run without the token = %v (%s), want unauthenticated", err, fault.CodeOf(err))
	}
	if log := n.log.String() + second.log.String(); strings.Contains(log, "opensesame") {
		t.Errorf("the token is in the log:\n%s", log)
	}
}

// TestCredentialsInURL shows that a password in the URL of a server is not passed on.
func TestCredentialsInURL(t *testing.T) {
	t.Parallel()
	u, err := url.Parse(testkit.Server(t).ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	n := start(t, attached("n1", "nats://ana:opensesame@"+u.Host, ""))
	if got, want := n.NATSURL(), "nats://"+u.Host; got != want {
		t.Errorf("NATSURL() = %s, want %s", got, want)
	}
	n.end()
	if log := n.log.String(); strings.Contains(log, "opensesame") {
		t.Errorf("the password is in the log:\n%s", log)
	}
}

// TestMetrics shows that what waits can be read, over all nodes.
func TestMetrics(t *testing.T) {
	t.Parallel()
	n := start(t, embedded("n1", t.TempDir(), "routes:\n  - {name: all, on: \"**\", to: [{noop: {}}]}\n"))
	sent := n.send("order.created", `{}`)
	until(t, "the verdict", func() bool {
		_, why := get(t, n.HTTPURL()+"/v1/signals/"+sent.ID+"/why")
		return strings.Contains(why, `"delivered"`)
	})
	until(t, "no backlog", func() bool { return settledBacklog(t, n) })
	_, body := get(t, n.HTTPURL()+"/metrics")
	for _, want := range []string{
		`signald_build_info\{.*version="v1.2.3"\} 1`,
		`signald_signals_ingested_total\{.*outcome="stored"\} 1`,
		`signald_deliveries_total\{bus="default",route="all",status="delivered"\} 1`,
		`signald_journal_lag\{bus="default"\} 0`,
		`signald_routes_pending\{bus="default"\} 0`,
		`signald_routes_delivering\{bus="default"\} 0`,
		`signald_routes_oldest_pending_seconds\{bus="default"\} 0`,
		`signald_deliveries_parked\{bus="default"\} 0`,
		`signald_subscriptions_pending\{bus="default"\} 0`,
		`signald_dead_letters_kept\{bus="default"\} 0`,
	} {
		if !regexp.MustCompile(`(?m)^` + want + `$`).MatchString(body) {
			t.Errorf("metrics lack %s", want)
		}
	}
	if t.Failed() {
		t.Log(body)
	}
}

// settledBacklog reads the gauges, which are as old as five seconds.
func settledBacklog(t *testing.T, n *run) bool {
	t.Helper()
	_, body := get(t, n.HTTPURL()+"/metrics")
	return strings.Contains(body, `signald_routes_delivering{bus="default"} 0`) && strings.Contains(body, `signald_journal_lag{bus="default"} 0`)
}
