//go:build chaos

// Package chaos_test breaks a running mesh, built from the commands as an operator has them,
// and holds what it did to its promises.
//
// Publishers, receivers and the state at the end are written into one history, which
// chaos/history judges: what was acknowledged and what is accounted for must match
// exactly. With -short each fault happens a few times, as in CI; without it often.
package chaos_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"
)

// binaries builds signald once per test process.
var binaries = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "signalmesh-chaos-")
	if err != nil {
		return "", err
	}
	out, err := exec.Command("go", "build", "-o", dir+string(filepath.Separator), "../cmd/signald").CombinedOutput()
	if err != nil {
		return dir, errors.New(string(out))
	}
	return dir, nil
})

func TestMain(m *testing.M) {
	if os.Getenv(subscriberURL) != "" {
		os.Exit(subscriber())
	}
	code := m.Run()
	if dir, _ := binaries(); dir != "" {
		_ = os.RemoveAll(dir)
	}
	os.Exit(code)
}

// A daemon is a signald that can be started again after its end, with the same
// configuration and the same addresses.
type daemon struct {
	name       string
	configs    []string
	log        syncBuffer // of all its lives
	cmd        *exec.Cmd
	dead       chan struct{}
	NATS, HTTP string // known from the first start on; they stay
}

// launch starts the process and does not wait for it to be ready.
func (d *daemon) launch(t *testing.T) (ready func() bool) {
	t.Helper()
	dir, err := binaries()
	if err != nil {
		t.Fatalf("build: %v", err)
	}
	file := filepath.Join(t.TempDir(), "ready.json")
	args := []string{"run"}
	for _, c := range d.configs {
		args = append(args, "--config", c)
	}
	d.cmd = exec.Command(filepath.Join(dir, "signald"), append(args, "--ready-file", file)...)
	d.cmd.Stdout, d.cmd.Stderr = &d.log, &d.log
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	cmd, dead := d.cmd, make(chan struct{})
	d.dead = dead
	go func() { _ = cmd.Wait(); close(dead) }() // ends with the process, which stop ends
	return func() bool {
		select {
		case <-dead:
			t.Fatalf("signald %s ended: %s", d.name, d.log.tail())
		default:
		}
		var doc struct {
			NATS, HTTP string
			PID        int
		}
		text, err := os.ReadFile(file)
		if err != nil || json.Unmarshal(text, &doc) != nil || doc.PID != cmd.Process.Pid {
			return false
		}
		if d.HTTP == "" {
			d.NATS, d.HTTP = doc.NATS, doc.HTTP
		}
		return true
	}
}

// start starts daemons and waits until all of them are ready.
func start(t *testing.T, daemons ...*daemon) {
	t.Helper()
	var ready []func() bool
	for _, d := range daemons {
		ready = append(ready, d.launch(t))
	}
	for i, r := range ready {
		if !waited(time.Minute, r) {
			for _, other := range daemons {
				t.Logf("log of %s: %s", other.name, other.log.tail())
			}
			t.Fatalf("signald %s is not ready after a minute: %s", daemons[i].name, daemons[i].log.tail())
		}
	}
}

// kill ends the process as a power cut would.
func (d *daemon) kill(t *testing.T) {
	t.Helper()
	if err := d.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-d.dead
}

// interrupt asks the process to end.
func (d *daemon) interrupt() {
	if d.cmd != nil {
		_ = d.cmd.Process.Signal(os.Interrupt)
	}
}

// stop asks the process to end and waits until it has.
func (d *daemon) stop(t *testing.T) {
	t.Helper()
	if d.cmd == nil {
		return
	}
	d.interrupt()
	select {
	case <-d.dead:
	case <-time.After(30 * time.Second):
		t.Errorf("signald %s did not end within 30 s of an interrupt: %s", d.name, d.log.tail())
		d.kill(t)
	}
}

// until waits for a condition and fails the test when it does not come.
func until(t *testing.T, within time.Duration, what string, cond func() bool) {
	t.Helper()
	if !waited(within, cond) {
		t.Fatalf("waited %s in vain for %s", within, what)
	}
}

func waited(within time.Duration, cond func() bool) bool {
	deadline := time.Now().Add(within)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		if time.Now().After(deadline) {
			return false
		}
		<-tick.C
	}
	return true
}

// let lets the mesh run for a time by chance.
func let(low, high time.Duration) { <-time.After(low + rand.N(high-low)) }

// port finds a port for a process that is to have it again after a restart: below those
// that the system gives to clients, one of which might take it meanwhile.
func port(t *testing.T) int {
	t.Helper()
	for range 100 {
		p := 20000 + rand.IntN(12000)
		l, err := net.Listen("tcp", address(p))
		if err == nil {
			_ = l.Close()
			return p
		}
	}
	t.Fatal("no free port between 20000 and 32000")
	return 0
}

func address(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// write puts a file into a folder of the test's own and returns its path.
func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// times is how often a fault happens.
func times(short, long int) int {
	if testing.Short() {
		return short
	}
	return long
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

// tail is what is worth printing of a log.
func (b *syncBuffer) tail() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	text := b.buf.Bytes()
	return "\n" + string(text[max(0, len(text)-6000):])
}
