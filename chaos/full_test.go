//go:build chaos

package chaos_test

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"os/exec"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/signalmesh/signalmesh/chaos/history"
)

// TestStoreFull makes the streams of dead letters and of the journal refuse everything for a
// while. Nothing may be settled without them, and nothing may be lost.
func TestStoreFull(t *testing.T) {
	w := newWorld(t)
	start(t, w.single(t))
	js, done := w.connect(t)
	defer done()
	for _, name := range []string{"SIG_default_DLQ", "KV_SIG_default_JOURNAL"} {
		limit(t, js, name, 1)
		stop := w.load(2)
		let(time.Second, 2*time.Second)
		stop()
		if info, err := consumerInfo(t, js, "SIG_default", "routes"); err != nil || info.NumAckPending == 0 {
			t.Errorf("%s is full, and everything is settled (%v)", name, err)
		}
		limit(t, js, name, -1)
		w.judge(t, name+" full, and emptied")
	}
}

// limit bounds a stream, which refuses what is beyond.
func limit(t *testing.T, js jetstream.JetStream, name string, bytes int64) {
	t.Helper()
	s, err := js.Stream(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	c := s.CachedInfo().Config
	c.MaxBytes, c.Discard = bytes, jetstream.DiscardNew
	if _, err := js.UpdateStream(t.Context(), c); err != nil {
		t.Fatalf("limit %s: %v", name, err)
	}
}

// TestDiskFull fills the disk of a node, which then says that it is not ready. What was
// acknowledged is there when the disk has room again and the node was restarted, which the
// engine needs after a write that failed. In the long form only, because it needs to mount.
func TestDiskFull(t *testing.T) {
	for range times(0, 1) {
		diskFull(t)
	}
}

func diskFull(t *testing.T) {
	disk := smallDisk(t, "24m")
	w := newWorld(t)
	d := w.singleOn(t, disk, "max_store: 4GiB") // more than there is, as when others fill the disk
	start(t, d)
	stop := w.load(2)
	let(300*time.Millisecond, 500*time.Millisecond)
	ballast := rand.Text() // which does not compress
	for len(ballast) < 200<<10 {
		ballast += rand.Text()
	}
	full := false
	for i := 0; !full && i < 1000; i++ {
		full = w.publishBody(d, fmt.Sprintf("ballast.%d", i), "chaos.fine", ballast) != history.OK
	}
	stop()
	if !full {
		t.Fatal("the disk did not fill")
	}
	until(t, 10*time.Second, "a node with a full disk to say that it is not ready", func() bool {
		resp, err := w.clients.Get(d.HTTP + "/readyz")
		if err != nil {
			return false
		}
		_ = resp.Body.Close()
		return resp.StatusCode == http.StatusServiceUnavailable
	})
	if out, err := exec.Command("mount", "-o", "remount,size=512m", disk).CombinedOutput(); err != nil {
		t.Fatalf("remount: %v: %s", err, out)
	}
	d.stop(t)
	start(t, d)
	if phase := w.publishTo(d, "after", "chaos.fine"); phase != history.OK {
		t.Errorf("publish after the restart = %s, want ok", phase)
	}
	w.judge(t, "disk full, and room again")
}

// smallDisk mounts a disk that is soon full.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size="+size, "signalmesh", dir).CombinedOutput(); err != nil {
		t.Fatalf("mount: %v: %s (the long form needs to be root)", err, out)
	}
	t.Cleanup(func() { _ = exec.Command("umount", dir).Run() })
	return dir
}
