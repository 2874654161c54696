package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// A step is a block of commands of the README, and the output that it shows for them.
type step struct {
	commands []string
	want     []string
}

// A tour is a reader of the README, in a folder of their own.
type tour struct {
	t     *testing.T
	dir   string
	env   []string
	ports *strings.Replacer // what the README says, to what is free here
	node  *exec.Cmd
	out   *buffer // of the node
}

// TestTour does what the README tells a new user to do, and sees what they are to see.
func TestTour(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	steps := stepsOf(string(text), "## Five minutes")
	if len(steps) < 5 {
		t.Fatalf("the README has %d steps, want the tour", len(steps))
	}
	r := &tour{t: t, dir: t.TempDir(), env: os.Environ(), ports: strings.NewReplacer()}
	t.Cleanup(func() {
		if r.node != nil {
			_ = r.node.Process.Kill() // a failed test has left it
			_ = r.node.Wait()
		}
	})
	for _, s := range steps {
		r.take(s)
	}
	r.endNode()
}

// stepsOf finds the blocks of a section: those of the language sh are commands, those of
// none are output.
func stepsOf(text, heading string) (steps []step) {
	_, text, _ = strings.Cut(text, heading+"\n")
	text, _, _ = strings.Cut(text, "\n## ")
	for i, block := range strings.Split("\n"+text, "\n```") {
		if i%2 == 0 {
			continue
		}
		language, body, _ := strings.Cut(block, "\n")
		switch {
		case language == "sh":
			steps = append(steps, step{commands: commandsOf(body)})
		case language == "" && len(steps) > 0:
			steps[len(steps)-1].want = strings.Split(body, "\n")
		}
	}
	return steps
}

// commandsOf splits a block into commands: lines, and here-documents whole.
func commandsOf(body string) (commands []string) {
	open := false
	for line := range strings.Lines(body + "\n") {
		if open {
			commands[len(commands)-1] += line
			open = line != "EOF\n"
			continue
		}
		if strings.TrimSpace(line) != "" {
			commands = append(commands, line)
		}
		open = strings.HasSuffix(line, "<<'EOF'\n")
	}
	return commands
}

// take runs the commands of a step. Questions are asked again until all that they show is
// there: a reader is slower than a delivery.
func (r *tour) take(s step) {
	r.t.Helper()
	outputs := make([]string, len(s.commands))
	for i, command := range s.commands {
		outputs[i] = r.run(strings.TrimSpace(command))
	}
	all, missing := "", ""
	if !wait(func() bool {
		all = strings.Join(outputs, "")
		missing = r.lacks(all, s.want)
		if missing == "" || !slices.ContainsFunc(s.commands, isQuestion) {
			return true
		}
		for i, command := range s.commands {
			if isQuestion(command) {
				outputs[i] = r.run(strings.TrimSpace(command))
			}
		}
		return false
	}) || missing != "" {
		r.t.Fatalf("the output of\n%slacks the line\n%s\nit is\n%s", strings.Join(s.commands, ""), missing, all)
	}
}

var question = regexp.MustCompile(`^bin/sigctl (replay|get|trace|why|routes ls|routes test) `)

func isQuestion(command string) bool { return question.MatchString(command) }

// lacks returns the first line that the output does not have, "" if there is none. One
// space is as good as many, and … stands for anything.
func (r *tour) lacks(out string, want []string) string {
	for _, line := range want {
		text := strings.Join(strings.Fields(r.ports.Replace(line)), " ")
		if text == "" {
			continue
		}
		text = strings.ReplaceAll(regexp.QuoteMeta(text), "…", ".*")
		text = strings.ReplaceAll(text, " ", " +")
		if !regexp.MustCompile(`(?m)^ *` + text).MatchString(out) {
			return line
		}
	}
	return ""
}

// run runs one command as the README has it, but for what depends on the machine.
func (r *tour) run(command string) string {
	r.t.Helper()
	switch {
	case strings.HasPrefix(command, "go build -o bin/ "):
		bin := filepath.Join(r.dir, "bin") + string(filepath.Separator)
		return r.shell(filepath.Join("..", ".."), strings.Replace(command, "bin/", bin, 1))
	case strings.Contains(command, "bin/signald dev"), strings.Contains(command, "bin/signald run"):
		r.endNode()
		r.startNode(command)
		return r.out.String()
	case strings.HasPrefix(command, "bin/sigctl "):
		command += " -o table" // which is what a terminal gets
	}
	before := r.swaps()
	out := r.shell(r.dir, r.ports.Replace(command))
	if strings.HasPrefix(command, "bin/sigctl routes apply ") && !wait(func() bool { return r.swaps() > before }) {
		r.t.Fatalf("the node does not follow %s:\n%s", command, r.out)
	}
	return out
}

// swaps is how often the node has put routes in force. It takes a tenth of a second, which
// a reader does not notice.
func (r *tour) swaps() int {
	if r.out == nil {
		return 0
	}
	return strings.Count(r.out.String(), "routes are in force")
}

// shell wants the command to succeed.
func (r *tour) shell(dir, command string) string {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-c", command)
	cmd.Dir, cmd.Env = dir, r.env
	out, err := cmd.CombinedOutput()
	if err != nil {
		r.t.Fatalf("%s: %v\n%s", command, err, out)
	}
	return string(out)
}

// startNode runs a node in the background, on ports that are free.
func (r *tour) startNode(command string) {
	r.t.Helper()
	ready := filepath.Join(r.dir, "ready.json")
	r.out = new(buffer)
	r.node = exec.Command("sh", "-c", "exec env "+command+" --ready-file "+ready)
	r.node.Dir, r.node.Stdout, r.node.Stderr = r.dir, r.out, r.out
	r.node.Env = append(os.Environ(), "SIGNALD_NATS_LISTEN=127.0.0.1:0", "SIGNALD_HTTP_LISTEN=127.0.0.1:0")
	if err := r.node.Start(); err != nil {
		r.t.Fatal(err)
	}
	var a address
	if !wait(func() bool {
		text, err := os.ReadFile(ready)
		return err == nil && json.Unmarshal(text, &a) == nil
	}) {
		r.t.Fatalf("%s is not ready:\n%s", command, r.out)
	}
	r.env = append(os.Environ(), "NATS_URL="+a.NATS)
	r.ports = strings.NewReplacer("nats://127.0.0.1:4222", a.NATS, "http://127.0.0.1:8222", a.HTTP, "127.0.0.1:9999", "127.0.0.1:1")
}

// endNode is Ctrl-C.
func (r *tour) endNode() {
	r.t.Helper()
	if r.node == nil {
		return
	}
	node := r.node
	r.node = nil
	if err := node.Process.Signal(os.Interrupt); err != nil {
		r.t.Fatal(err)
	}
	if err := node.Wait(); err != nil {
		r.t.Errorf("signald ended with %v:\n%s", err, r.out)
	}
}

// curl stands in for curl on a machine that has only Go: curl -d DATA URL.
func curl() {
	if len(os.Args) != 4 || os.Args[1] != "-d" {
		fmt.Fprintln(os.Stderr, "usage: curl -d DATA URL")
		os.Exit(2)
	}
	res, err := http.Post(os.Args[3], "application/x-www-form-urlencoded", strings.NewReader(os.Args[2]))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(7)
	}
	defer func() { _ = res.Body.Close() }()
	_, _ = io.Copy(os.Stdout, res.Body)
}
