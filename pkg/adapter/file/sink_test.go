package file_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	_ "github.com/signalmesh/signalmesh/pkg/adapter/file"
	"github.com/signalmesh/signalmesh/pkg/dispatch"
	"github.com/signalmesh/signalmesh/pkg/dispatch/dispatchtest"
	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConformance(t *testing.T) {
	dispatchtest.Run(t, func(t *testing.T) *dispatchtest.Subject {
		return &dispatchtest.Subject{Adapter: "file", Options: `{"path":"` + filepath.Join(t.TempDir(), "out.ndjson") + `","sync":true}`}
	}, dispatchtest.Features{Remote: true})
}

func open(t *testing.T, options string) dispatch.Adapter {
	t.Helper()
	a, err := dispatch.Open(t.Context(), "file", []byte(options), dispatch.Env{})
	if err != nil {
		t.Fatalf("Open(%s) = %v", options, err)
	}
	t.Cleanup(func() {
		if err := dispatch.Close(a); err != nil {
			t.Error(err)
		}
	})
	return a
}

func deliver(t *testing.T, a dispatch.Adapter, id string, data any, opts ...signal.Option) *signal.Signal {
	t.Helper()
	s, err := signal.New("order.created", data, append(opts, signal.WithID(id))...)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Deliver(t.Context(), s); err != nil {
		t.Fatalf("Deliver(%s) = %v", id, err)
	}
	return s
}

// ids are the ids in a file of lines, each of which must be a signal.
func ids(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for sc := bufio.NewScanner(bytes.NewReader(b)); sc.Scan(); {
		var s signal.Signal
		if err := json.Unmarshal(sc.Bytes(), &s); err != nil {
			found = append(found, "broken")
			continue
		}
		found = append(found, s.ID)
	}
	return strings.Join(found, " ")
}

func TestLinesAreSignals(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "out.ndjson")
	a := open(t, `{"path":"`+path+`"}`)
	deliver(t, a, "json", json.RawMessage("{\n \"a\": 1\n}"))
	deliver(t, a, "text", "two\nlines", signal.ContentType("text/plain"))
	deliver(t, a, "bytes", []byte{0, '\n', 0xff})
	deliver(t, a, "none", nil)
	if got, want := ids(t, path), "json text bytes none"; got != want {
		t.Errorf("the file holds %q, want %q", got, want)
	}
}

func TestRotation(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "out.ndjson")
	a := open(t, `{"path":"`+path+`","max_size":700,"keep":2}`)
	line := strings.Repeat("x", 300) // two lines don't fit
	for i := range 5 {
		deliver(t, a, fmt.Sprint(i), line)
	}
	for name, want := range map[string]string{"": "4", ".1": "3", ".2": "2"} {
		if got := ids(t, path+name); got != want {
			t.Errorf("%s%s holds %q, want %q", filepath.Base(path), name, got, want)
		}
	}
	if _, err := os.Stat(path + ".3"); !os.IsNotExist(err) {
		t.Errorf("Stat(.3) = %v, want that it doesn't exist", err)
	}
	none := open(t, `{"path":"`+path+`.none","max_size":700,"keep":0}`)
	deliver(t, none, "a", line)
	deliver(t, none, "b", line)
	if got := ids(t, path+".none"); got != "b" {
		t.Errorf("the file holds %q, want b", got)
	}
}

// Targets that share a path share its size, and the last to close it closes it.
func TestSharedPath(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "out.ndjson")
	a, b := open(t, `{"path":"`+path+`","max_size":700}`), open(t, `{"path":"`+path+`","max_size":700}`)
	line := strings.Repeat("x", 100)
	for i := range 3 {
		deliver(t, a, fmt.Sprintf("a%d", i), line)
		deliver(t, b, fmt.Sprintf("b%d", i), line)
	}
	all := ids(t, path+".2") + " " + ids(t, path+".1") + " " + ids(t, path)
	if want := "a0 b0 a1 b1 a2 b2"; all != want {
		t.Errorf("the files hold %q, want %q", all, want)
	}
	if err := dispatch.Close(a); err != nil {
		t.Fatal(err)
	}
	deliver(t, b, "b3", nil)
}

func TestUnfinishedLineIsClosedOff(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "out.ndjson")
	if err := os.WriteFile(path, []byte(`{"specversion":"1.0","id":"cut`), 0o600); err != nil {
		t.Fatal(err)
	}
	deliver(t, open(t, `{"path":"`+path+`"}`), "next", nil)
	if got := ids(t, path); got != "broken next" {
		t.Errorf("the file holds %q, want the broken line and the next", got)
	}
}

// Tools that rotate logs move the file away, or copy and empty it.
func TestOthersMoveTheFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "out.ndjson")
	a := open(t, `{"path":"`+path+`"}`)
	deliver(t, a, "1", nil)
	if err := os.Rename(path, path+".old"); err != nil {
		t.Fatal(err)
	}
	deliver(t, a, "2", nil)
	if got := ids(t, path); got != "2" {
		t.Errorf("after a rename the file holds %q, want 2", got)
	}
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	deliver(t, a, "3", nil)
	if got := ids(t, path); got != "3" {
		t.Errorf("after a truncation the file holds %q, want 3", got)
	}
}

// A full disk leaves no half line behind.
func TestBrokenWriteLeavesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out.ndjson")
	a := open(t, `{"path":"`+path+`","max_size":0}`)
	deliver(t, a, "1", nil)
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
	small := limit
	small.Cur = uint64(info.Size()) + 50
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &small); err != nil {
		t.Fatal(err)
	}
	s, err := signal.New("order.created", strings.Repeat("x", 200), signal.WithID("2"))
	if err != nil {
		t.Fatal(err)
	}
	err = a.Deliver(t.Context(), s)
	if restoreErr := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); restoreErr != nil {
		t.Fatal(restoreErr)
	}
	if err == nil || fault.IsPermanent(err) {
		t.Errorf("Deliver(no room) = %v, want a temporary error", err)
	}
	deliver(t, a, "3", nil)
	if got := ids(t, path); got != "1 3" {
		t.Errorf("the file holds %q, want 1 3", got)
	}
}

func TestOpenErrors(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]fault.Code{
		"out.ndjson": fault.Invalid, "/a/../b": fault.Invalid, filepath.Join(dir, "no", "such"): fault.NotFound,
		pipe: fault.Invalid, dir: fault.Unavailable,
	} {
		if _, err := dispatch.Open(t.Context(), "file", []byte(`{"path":"`+path+`"}`), dispatch.Env{}); !fault.Is(err, want) {
			t.Errorf("Open(%s) = %v, want %q", path, err, want)
		}
	}
}
