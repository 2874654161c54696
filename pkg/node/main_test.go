package node_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	_ "github.com/signalmesh/signalmesh/pkg/adapter/std"
	"github.com/signalmesh/signalmesh/pkg/config"
	"github.com/signalmesh/signalmesh/pkg/node"
	"github.com/signalmesh/signalmesh/pkg/testkit"
)

func TestMain(m *testing.M) {
	const server = "github.com/nats-io/nats-server/v2/server"
	goleak.VerifyTestMain(m, // what the engine leaves behind of streams that are gone
		goleak.IgnoreAnyFunction(server+".(*fileStore).flushStreamStateLoop"),
		goleak.IgnoreAnyFunction(server+".(*msgBlock).flushLoop"),
		goleak.IgnoreAnyFunction(server+"/ats.Register.func1"))
}

// patience is how long a test waits for what should come in a moment.
const patience = testkit.Patience

// A run is one node from its start to its end.
type run struct {
	*node.Node
	tb    testing.TB
	log   *logBuffer
	stop  context.CancelFunc
	ended chan struct{}
	err   error // of Run, once ended is closed
}

// launch runs a node in the background.
func launch(tb testing.TB, text string, opts node.Options) *run {
	tb.Helper()
	r := &run{tb: tb, log: new(logBuffer), ended: make(chan struct{})}
	opts.Log = slog.New(slog.NewTextHandler(r.log, nil))
	if opts.Stdout == nil {
		opts.Stdout = io.Discard
	}
	var err error
	if r.Node, err = node.New(configOf(tb, text), opts); err != nil {
		tb.Fatal(err)
	}
	ctx, stop := context.WithCancel(tb.Context())
	r.stop = stop
	go func() { // ends with stop
		defer close(r.ended)
		r.err = r.Run(ctx)
	}()
	tb.Cleanup(func() {
		stop()
		<-r.ended
		if tb.Failed() {
			tb.Logf("log of node %s:\n%s", r.Name(), r.log)
		}
	})
	return r
}

// start runs a node and waits until it is ready.
func start(tb testing.TB, text string) *run {
	tb.Helper()
	r := launch(tb, text, node.Options{Version: "v1.2.3"})
	r.await()
	return r
}

func (r *run) await() {
	r.tb.Helper()
	select {
	case <-r.Ready():
	case <-r.ended:
		r.tb.Fatalf("node %s ended: %v", r.Name(), r.err)
	case <-time.After(patience):
		r.tb.Fatalf("node %s is not ready after %s", r.Name(), patience)
	}
}

// end drains the node, which must take no longer than patience and be no error.
func (r *run) end() {
	r.tb.Helper()
	r.stop()
	if err := r.wait(); err != nil {
		r.tb.Errorf("Run = %v, want nil after a drain", err)
	}
}

// wait returns what Run returned.
func (r *run) wait() error {
	r.tb.Helper()
	select {
	case <-r.ended:
		return r.err
	case <-time.After(2 * patience):
		r.tb.Fatalf("node %s does not end", r.Name())
		return nil
	}
}

// embedded is the configuration of a node with a server of its own in dir.
func embedded(name, dir, more string) string {
	return fmt.Sprintf("node: {name: %s, data: %q}\nnats: {listen: \"127.0.0.1:0\", durability: fast}\n", name, dir) + common + more
}

// attached is the configuration of a node that joins a server.
func attached(name, url, more string) string {
	return fmt.Sprintf("node: {name: %s}\nnats: {url: %q}\n", name, url) + common + more
}

const common = "http: {listen: \"127.0.0.1:0\"}\nnetwork: {allow: [127.0.0.0/8]}\n"

// httpRoute is a route of everything below order to an endpoint.
func httpRoute(name, url string) string {
	return fmt.Sprintf("  - {name: %s, on: order.**, retry: {min: 10ms, max: 50ms}, to: [{http: {url: %q}}]}\n", name, url)
}

func configOf(tb testing.TB, text string) *config.Config {
	tb.Helper()
	cfg, err := config.Parse([]byte(text), "node.yaml")
	if err != nil {
		tb.Fatal(err)
	}
	return cfg
}

// client leaves no connection behind.
var client = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}

// get returns the status and the body of a GET; 0 when nobody answers.
func get(tb testing.TB, url string) (status int, body string) {
	tb.Helper()
	res, err := client.Get(url)
	if err != nil {
		return 0, err.Error()
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return 0, err.Error()
	}
	return res.StatusCode, string(text)
}

// accepted is the answer to one signal.
type accepted struct {
	ID        string
	Sequence  uint64
	Duplicate bool
}

// send posts data as a signal and wants it taken.
func (r *run) send(typ, data string) accepted {
	r.tb.Helper()
	res, err := client.Post(r.HTTPURL()+"/v1/in/"+typ, "application/json", strings.NewReader(data))
	if err != nil {
		r.tb.Fatal(err)
	}
	return answer(r.tb, res)
}

func answer(tb testing.TB, res *http.Response) (a accepted) {
	tb.Helper()
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusAccepted {
		tb.Fatalf("POST = %d %s (%v), want 202", res.StatusCode, text, err)
	}
	if err := json.Unmarshal(text, &a); err != nil {
		tb.Fatal(err)
	}
	return a
}

// until waits for a condition and fails the test when it does not come.
func until(tb testing.TB, what string, cond func() bool) {
	tb.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-deadline:
			tb.Fatalf("waited %s in vain for %s", patience, what)
		}
	}
}

// logBuffer collects the log of a node.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// splitPort takes the address of a server apart.
func splitPort(url string) (host string, port int, err error) {
	host, text, err := net.SplitHostPort(strings.TrimPrefix(url, "nats://"))
	if err != nil {
		return "", 0, err
	}
	port, err = strconv.Atoi(text)
	return host, port, err
}
