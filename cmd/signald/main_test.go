package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	commands := map[string]func(){"signald": main}
	if _, err := exec.LookPath("curl"); err != nil || filepath.Base(os.Args[0]) == "curl" {
		commands["curl"] = curl
	}
	testscript.Main(m, commands)
}

var update = flag.Bool("update", false, "rewrite what scripts compare with")

// patience is how long a test waits for what should come in a moment.
const patience = 15 * time.Second

// TestScripts runs the command as a shell would, as processes of their own.
func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join("testdata", "script"), RequireExplicitExec: true, UpdateScripts: *update,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits, "ready": ready, "signal": send, "request": request, "delivered": delivered, "occupy": occupy, "leftovers": leftovers,
		},
	})
}

// exits CODE ARG... runs signald and wants that exit code.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: exits CODE [ARG...]")
	}
	err := ts.Exec("signald", args[1:]...)
	code := 0
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		code = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if strconv.Itoa(code) != args[0] {
		ts.Fatalf("signald %s: exit code %d, want %s", strings.Join(args[1:], " "), code, args[0])
	}
}

// ready FILE waits for the ready file, and sets NATS, HTTP and PID to what it says.
func ready(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: ready FILE")
	}
	var a address
	if !wait(func() bool {
		text, err := os.ReadFile(ts.MkAbs(args[0]))
		return err == nil && json.Unmarshal(text, &a) == nil
	}) {
		ts.Fatalf("no %s after %s", args[0], patience)
	}
	ts.Setenv("NATS", a.NATS)
	ts.Setenv("HTTP", a.HTTP)
	ts.Setenv("PID", strconv.Itoa(a.PID))
}

// signal NAME sends TERM, INT or HUP to the node that was ready last.
func send(ts *testscript.TestScript, neg bool, args []string) {
	names := map[string]os.Signal{"TERM": syscall.SIGTERM, "INT": os.Interrupt, "HUP": syscall.SIGHUP}
	if neg || len(args) != 1 || names[args[0]] == nil {
		ts.Fatalf("usage: signal TERM|INT|HUP")
	}
	pid, err := strconv.Atoi(ts.Getenv("PID"))
	ts.Check(err)
	p, err := os.FindProcess(pid)
	ts.Check(err)
	ts.Check(p.Signal(names[args[0]]))
}

// request METHOD PATH STATUS [BODY] asks the node until it answers with the status, and
// logs the answer.
func request(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: request METHOD PATH STATUS [BODY]")
	}
	body, got := strings.Join(args[3:], " "), ""
	if !wait(func() bool {
		req, err := http.NewRequestWithContext(context.Background(), args[0], ts.Getenv("HTTP")+args[1], strings.NewReader(body))
		ts.Check(err)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			got = err.Error()
			return false
		}
		defer func() { _ = res.Body.Close() }()
		text, _ := io.ReadAll(res.Body)
		got = fmt.Sprintf("%d %s", res.StatusCode, text)
		return strconv.Itoa(res.StatusCode) == args[2]
	}) {
		ts.Fatalf("%s %s: %s, want %s", args[0], args[1], got, args[2])
	}
	ts.Logf("%s", got)
}

// delivered ID waits until every delivery of the signal has arrived.
func delivered(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: delivered ID")
	}
	var report struct{ Routes []struct{ Status string } }
	if !wait(func() bool {
		req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, ts.Getenv("HTTP")+"/v1/signals/"+args[0]+"/why", nil)
		ts.Check(err)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			return false
		}
		defer func() { _ = res.Body.Close() }()
		report.Routes = nil
		if json.NewDecoder(res.Body).Decode(&report) != nil || len(report.Routes) == 0 {
			return false
		}
		for _, r := range report.Routes {
			if r.Status != "delivered" {
				return false
			}
		}
		return true
	}) {
		ts.Fatalf("%s is not delivered: %+v", args[0], report)
	}
}

// occupy ADDRESS... keeps ports in use until the script ends, and sets ADDRESS to the last one.
func occupy(ts *testscript.TestScript, neg bool, args []string) {
	for _, address := range args {
		l, err := net.Listen("tcp", address)
		if errors.Is(err, syscall.EADDRINUSE) {
			continue // by somebody else: just as well
		}
		ts.Check(err)
		ts.Defer(func() { _ = l.Close() })
		ts.Setenv("ADDRESS", l.Addr().String())
	}
}

// leftovers NUMBER wants that many data folders of dev nodes in the folder for such.
func leftovers(ts *testscript.TestScript, neg bool, args []string) {
	found, err := filepath.Glob(filepath.Join(ts.Getenv("TMPDIR"), "signald-dev-*"))
	ts.Check(err)
	if neg || len(args) != 1 || strconv.Itoa(len(found)) != args[0] {
		ts.Fatalf("data folders: %v, want %v", found, args)
	}
}

func wait(cond func() bool) bool {
	deadline := time.After(patience)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-deadline:
			return false
		}
	}
	return true
}

// TestDevIsQuick holds a node to its start-up time: the best of three, because what else the
// machine does is not its fault.
func TestDevIsQuick(t *testing.T) { //nolint:paralleltest // it is timed
	best := time.Hour
	for range 3 {
		began := time.Now()
		n := launch(t, "dev", "--nats", "127.0.0.1:0", "--http", "127.0.0.1:0")
		best = min(best, time.Since(began))
		n.end()
	}
	t.Logf("ready after %s", best)
	if best > 2*time.Second {
		t.Errorf("signald dev is ready after %s, want less than 2 s", best)
	}
}

// TestBadReload shows that a file which became wrong is explained and changes nothing, and
// that the node then follows the repaired one.
func TestBadReload(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "signald.yaml")
	write := func(source string) {
		text := "sources: [{name: " + source + ", webhook: {verify: none}, type: \"'a.b'\", source: \"'/x'\"}]\n"
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("old")
	n := launch(t, "dev", "--config", file, "--nats", "127.0.0.1:0", "--http", "127.0.0.1:0")
	write("new, typ: x")
	n.hangUp <- syscall.SIGHUP
	n.hangUp <- syscall.SIGHUP // taken when the first one is dealt with
	if got := n.stderr.String(); !strings.Contains(got, "signald: the configuration is not reloaded: ") || !strings.Contains(got, "sources[0].typ: unknown key") {
		t.Errorf("stderr = %s, want the reason", got)
	}
	write("newer")
	n.hangUp <- syscall.SIGHUP
	n.hangUp <- syscall.SIGHUP
	for hook, want := range map[string]int{"old": 404, "newer": 202} {
		res, err := http.Post(n.HTTP+"/v1/hooks/"+hook, "application/json", strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode != want {
			t.Errorf("POST to %s = %d, want %d", hook, res.StatusCode, want)
		}
	}
	n.end()
	if got := n.stderr.String(); strings.Contains(got, "action=delete") {
		t.Errorf("a reload took the demo route away:\n%s", got)
	}
}

// A launched program runs within the test process.
type launched struct {
	address
	tb             testing.TB
	hangUp         chan os.Signal
	stdout, stderr *buffer
	stop           context.CancelFunc
	code           chan int
}

// launch runs signald and waits for its ready file.
func launch(tb testing.TB, args ...string) *launched {
	tb.Helper()
	file := filepath.Join(tb.TempDir(), "ready.json")
	l := &launched{tb: tb, hangUp: make(chan os.Signal), stdout: new(buffer), stderr: new(buffer), code: make(chan int, 1)}
	p := program{stdout: l.stdout, stderr: l.stderr, hangUp: l.hangUp}
	var ctx context.Context
	ctx, l.stop = context.WithCancel(tb.Context())
	go func() { // ends with stop
		l.code <- p.run(ctx, append(append([]string{"signald"}, args...), "--ready-file", file))
	}()
	tb.Cleanup(l.stop)
	if !wait(func() bool {
		text, err := os.ReadFile(file)
		return err == nil && json.Unmarshal(text, &l.address) == nil
	}) {
		tb.Fatalf("signald %v is not ready:\n%s", args, l.stderr)
	}
	return l
}

// end drains it; the exit code must be 0.
func (l *launched) end() {
	l.tb.Helper()
	l.stop()
	select {
	case code := <-l.code:
		if code != 0 {
			l.tb.Errorf("exit code %d, want 0:\n%s", code, l.stderr)
		}
	case <-time.After(2 * patience):
		l.tb.Fatal("signald does not end")
	}
}

// buffer collects output that is read meanwhile.
type buffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
