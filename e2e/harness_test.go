// Package e2e_test runs the built commands as an operator would: real processes, real files,
// real signatures, and a kill -9 in the middle.
package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// binaries builds both commands once per test process.
var binaries = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "signalmesh-e2e-")
	if err != nil {
		return "", err
	}
	out, err := exec.Command("go", "build", "-o", dir+string(filepath.Separator), "../cmd/signald", "../cmd/sigctl").CombinedOutput()
	if err != nil {
		return dir, errors.New(string(out))
	}
	return dir, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if dir, _ := binaries(); dir != "" {
		_ = os.RemoveAll(dir)
	}
	os.Exit(code)
}

// bin returns the path of a built command.
func bin(t *testing.T, name string) string {
	t.Helper()
	dir, err := binaries()
	if err != nil {
		t.Fatalf("build: %v", err)
	}
	return filepath.Join(dir, name)
}

// A daemon is one running signald.
type daemon struct {
	cmd  *exec.Cmd
	log  *syncBuffer
	dead chan struct{}
	NATS string `json:"nats"`
	HTTP string `json:"http"`
	PID  int    `json:"pid"`
}

// start runs signald with the arguments and waits for its ready file.
func start(t *testing.T, env []string, args ...string) *daemon {
	t.Helper()
	ready := filepath.Join(t.TempDir(), "ready.json")
	d := &daemon{log: new(syncBuffer), dead: make(chan struct{})}
	d.cmd = exec.Command(bin(t, "signald"), append(args, "--ready-file", ready)...)
	d.cmd.Env = append(os.Environ(), env...)
	d.cmd.Stdout, d.cmd.Stderr = d.log, d.log
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { _ = d.cmd.Wait(); close(d.dead) }() // ends with the process, which stop ends
	t.Cleanup(func() { d.stop(t) })
	until(t, 20*time.Second, "signald to be ready", func() bool {
		select {
		case <-d.dead:
			t.Fatalf("signald ended: %s", d.log)
		default:
		}
		doc, err := os.ReadFile(ready)
		return err == nil && json.Unmarshal(doc, d) == nil && d.PID == d.cmd.Process.Pid
	})
	return d
}

// kill ends the process as a power cut would.
func (d *daemon) kill(t *testing.T) {
	t.Helper()
	if err := d.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-d.dead
}

// stop asks the process to end and waits until it has.
func (d *daemon) stop(t *testing.T) {
	t.Helper()
	_ = d.cmd.Process.Signal(os.Interrupt)
	select {
	case <-d.dead:
	case <-time.After(20 * time.Second):
		t.Errorf("signald did not end within 20 s of an interrupt:\n%s", d.log)
		d.kill(t)
	}
}

// run executes a command to its end and returns what it printed and its exit code.
func run(t *testing.T, name string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, bin(t, name), args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("%s %v: %v", name, args, err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// until waits for a condition and fails the test when it does not come.
func until(t *testing.T, within time.Duration, what string, cond func() bool) {
	t.Helper()
	deadline := time.Now().Add(within)
	for tick := time.NewTicker(10 * time.Millisecond); !cond(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("waited %s in vain for %s", within, what)
		}
	}
}

// A receiver counts what arrives at an HTTP target, by signal id.
type receiver struct {
	*httptest.Server
	mu       sync.Mutex
	got      map[string]int // accepted requests by signal id
	attempts map[string]int
	problems []string
}

// receive starts a receiver. judge reads a request and returns the signal's id, or an error
// to be reported by the test. The first failures attempts of each id are answered with 503.
func receive(t *testing.T, failures int, judge func(r *http.Request, body []byte) (id string, err error)) *receiver {
	t.Helper()
	rc := &receiver{got: map[string]int{}, attempts: map[string]int{}}
	rc.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		id, err := judge(r, body)
		rc.mu.Lock()
		defer rc.mu.Unlock()
		if err != nil {
			rc.problems = append(rc.problems, err.Error())
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		if rc.attempts[id]++; rc.attempts[id] <= failures {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		rc.got[id]++
	}))
	t.Cleanup(rc.Close)
	return rc
}

// cloudEvent is a judge that takes the id from a structured CloudEvent.
func cloudEvent(_ *http.Request, body []byte) (string, error) {
	var event struct{ ID, SpecVersion, Type, Source string }
	if err := json.Unmarshal(body, &event); err != nil {
		return "", err
	}
	if event.SpecVersion != "1.0" || event.ID == "" || event.Type == "" || event.Source == "" {
		return "", errors.New("not a CloudEvent: " + string(body[:min(len(body), 200)]))
	}
	return event.ID, nil
}

// signed is a judge that checks the Standard Webhooks signature with that project's own
// library before it reads the event.
func signed(t *testing.T, secret string) func(*http.Request, []byte) (string, error) {
	t.Helper()
	wh, err := standardwebhooks.NewWebhook(secret)
	if err != nil {
		t.Fatal(err)
	}
	return func(r *http.Request, body []byte) (string, error) {
		if err := wh.Verify(body, r.Header); err != nil {
			return "", err
		}
		return cloudEvent(r, body)
	}
}

// seen returns how often each id was accepted.
func (rc *receiver) seen() map[string]int {
	rc.mu.Lock()
	defer rc.mu.Unlock()
	m := make(map[string]int, len(rc.got))
	for id, n := range rc.got {
		m[id] = n
	}
	return m
}

func (rc *receiver) check(t *testing.T, name string, want map[string]bool) {
	t.Helper()
	rc.mu.Lock()
	defer rc.mu.Unlock()
	for _, p := range rc.problems {
		t.Errorf("%s: %s", name, p)
	}
	for id := range want {
		if rc.got[id] == 0 {
			t.Errorf("%s never got %s", name, id)
		}
	}
	for id := range rc.attempts {
		if !want[id] {
			t.Errorf("%s got %s, which does not match its route", name, id)
		}
	}
}

// syncBuffer collects a process's output while the test may read it.
type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
