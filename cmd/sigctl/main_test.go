package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/signalmesh/signalmesh/pkg/bus"
	"github.com/signalmesh/signalmesh/pkg/config"
	"github.com/signalmesh/signalmesh/pkg/mesh"
	"github.com/signalmesh/signalmesh/pkg/node"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

func TestMain(m *testing.M) { testscript.Main(m, map[string]func(){"sigctl": main}) }

// Each script has a node of its own, in this process: NATS_URL names it, HTTP_URL its API.
func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "script"),
		RequireExplicitExec: true,
		Setup:               startNode,
		Cmds:                map[string]func(*testscript.TestScript, bool, []string){"eventually": eventually, "subscribe": subscribe, "member": member},
	})
}

func startNode(env *testscript.Env) error {
	cfg, err := config.Parse(fmt.Appendf(nil, `
node: {name: n1, data: %q}
nats: {listen: "127.0.0.1:0", durability: fast}
http: {listen: "127.0.0.1:0"}
network: {allow: [127.0.0.0/8]}
`, filepath.Join(env.WorkDir, ".data")), "node.yaml")
	if err != nil {
		return err
	}
	n, err := node.New(cfg, node.Options{Log: slog.New(slog.DiscardHandler), Stdout: io.Discard})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- n.Run(ctx) }() // ends with the script
	env.Defer(func() { cancel(); <-ended })
	select {
	case <-n.Ready():
	case err := <-ended:
		ended <- err
		return err
	}
	env.Setenv("NATS_URL", n.NATSURL())
	env.Setenv("HTTP_URL", n.HTTPURL())
	return nil
}

// eventually PATTERN COMMAND... runs the command until its output matches.
func eventually(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: eventually PATTERN COMMAND...")
	}
	want, err := regexp.Compile(args[0])
	ts.Check(err)
	for deadline := time.Now().Add(15 * time.Second); ; {
		err := ts.Exec(args[1], args[2:]...)
		out := ts.ReadFile("stdout")
		if err == nil && want.MatchString(out) {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%v never matched %s; last: %v\n%s", args[1:], args[0], err, out)
		}
	}
}

// subscribe NAME PATTERN makes a durable subscription that lasts until the script ends.
func subscribe(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: subscribe NAME PATTERN")
	}
	nc, err := nats.Connect(ts.Getenv("NATS_URL"))
	ts.Check(err)
	ts.Defer(nc.Close)
	b, err := bus.Open(context.Background(), nc)
	ts.Check(err)
	ts.Defer(b.Close)
	_, err = b.Subscribe(context.Background(), args[1], func(context.Context, *signal.Signal) error { return nil }, bus.Durable(args[0]))
	ts.Check(err)
}

// member NAME REVISION [PROBLEM] joins the mesh as a node that says so of its routes, and does
// nothing else, until the script ends or another one comes.
func member(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 || len(args) > 3 {
		ts.Fatalf("usage: member NAME REVISION [PROBLEM]")
	}
	revision, err := strconv.ParseUint(args[1], 10, 64)
	ts.Check(err)
	info := mesh.Info{Name: args[0], Routes: revision}
	if len(args) == 3 {
		info.RoutesProblem = args[2]
	}
	nc, err := nats.Connect(ts.Getenv("NATS_URL"))
	ts.Check(err)
	ts.Defer(nc.Close)
	m, err := mesh.Join(context.Background(), nc, info, mesh.WithLogger(slog.New(slog.DiscardHandler)))
	ts.Check(err)
	ts.Defer(func() { _ = m.Leave(context.Background()) })
}

// Every script of the folder is run; a folder that lost them must not pass.
func TestThereAreScripts(t *testing.T) {
	t.Parallel()
	found, err := filepath.Glob(filepath.Join("testdata", "script", "*.txtar"))
	if err != nil || len(found) < 12 {
		t.Errorf("%d scripts, %v, want one for each verb", len(found), err)
	}
}

func TestArrange(t *testing.T) {
	t.Parallel()
	app := new(program).app()
	for _, tt := range []struct{ in, want string }{
		{"", ""},
		{"pub a.b", "pub -- a.b"},
		{"pub a.b --data x -e k=v --count=3", "pub --data x -e k=v --count=3 -- a.b"},
		{"--server u -o json routes ls", "routes ls --server u -o json"},
		{"routes -b x apply -f f --prune", "routes apply -b x -f f --prune"},
		{"dlq show -Ab3_x", "dlq show -- -Ab3_x"},
		{"dlq show -- --Ab3_x", "dlq show -- --Ab3_x"},
		{"pub a.b --data -", "pub --data - -- a.b"},
		{"get pub", "get -- pub"},
		{"trace x --backward y", "trace --backward -- x y"},
		{"get x --frobnicate", "get --frobnicate -- x"},
		{"-h", "-h"},
		{"routes -help", "routes -help"},
	} {
		in := append([]string{"sigctl"}, strings.Fields(tt.in)...)
		want := append([]string{"sigctl"}, strings.Fields(tt.want)...)
		if got := arrange(app, in); !slices.Equal(got, want) {
			t.Errorf("arrange(%q) = %q, want %q", tt.in, got, want)
		}
	}
}

func TestMoment(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 10, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]string{
		"90m": "2026-03-10T10:30:00Z", "2d": "2026-03-08T12:00:00Z", "1d12h": "2026-03-09T00:00:00Z",
		"2026-01-31T08:00:00Z": "2026-01-31T08:00:00Z",
	} {
		if got, err := moment(text, now); err != nil || got.Format(time.RFC3339) != want {
			t.Errorf("moment(%s) = %s, %v, want %s", text, got, err, want)
		}
	}
	for _, text := range []string{"", "d", "x", "-1h", "-2d", "1h2d", "yesterday"} {
		if got, err := moment(text, now); err == nil {
			t.Errorf("moment(%q) = %s, want an error", text, got)
		}
	}
}

// Whatever is in a signal, nothing of it can reach the terminal.
func TestNothingReachesTheTerminal(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"\x1b[31m", "a\nb", "\u202eabc", "\x9b", "\xff"} {
		for _, r := range clean(text) {
			if r < ' ' || r == 0x7f || r == 0x9b || r == 0x202e {
				t.Errorf("clean(%q) = %q", text, clean(text))
			}
		}
	}
	if got := clean(`plain "text" täglich`); got != `plain "text" täglich` {
		t.Errorf("clean changes plain text to %s", got)
	}
}
