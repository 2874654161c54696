package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/signalmesh/signalmesh/pkg/config"
	"github.com/signalmesh/signalmesh/pkg/node"
)

func TestMain(m *testing.M) { testscript.Main(m, map[string]func(){"sigctl": main}) }

// Each script has a node of its own, in this process: NATS_URL names it, HTTP_URL its API.
func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "script"),
		RequireExplicitExec: true,
		Setup:               startNode,
		Cmds:                map[string]func(*testscript.TestScript, bool, []string){"eventually": eventually},
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

// Every script of the folder is run; a folder that lost them must not pass.
func TestThereAreScripts(t *testing.T) {
	t.Parallel()
	found, err := filepath.Glob(filepath.Join("testdata", "script", "*.txtar"))
	if err != nil || len(found) < 12 {
		t.Errorf("%d scripts, %v, want one for each verb", len(found), err)
	}
}
