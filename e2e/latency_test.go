//go:build e2e

package e2e_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"
)

// TestLatency measures webhook in to webhook out on loopback at 200 a second, every signal
// synced to disk, and prints the figures. Absolute times depend on the machine, so it fails
// only when they are far from what the design allows (p50 of 5 ms).
func TestLatency(t *testing.T) {
	const rate, total = 200, 1000
	var mu sync.Mutex
	arrived := make(map[string]time.Time, total)
	hook := receive(t, 0, func(r *http.Request, body []byte) (string, error) {
		now := time.Now()
		id, err := signed(t, hookSecret)(r, body)
		mu.Lock()
		defer mu.Unlock()
		arrived[id] = now
		return id, err
	})
	config := write(t, "signald.yaml", fmt.Sprintf(`
node: {name: latency, data: %q}
nats: {listen: 127.0.0.1:0}
http: {listen: 127.0.0.1:0}
log: {level: warn}
network: {allow: [127.0.0.0/8]}
sources:
  - {name: github, webhook: {verify: github, secret: "env:GITHUB_SECRET"}}
routes:
  - {name: out, on: github.**, to: [{webhook: {url: %q, secret: "env:HOOK_SECRET"}}]}
`, t.TempDir(), hook.URL))
	d := start(t, []string{"GITHUB_SECRET=" + githubSecret, "HOOK_SECRET=" + hookSecret, "GOMAXPROCS=2"}, "run", "--config", config)

	sent := make([]time.Time, total)
	accepted := make([]time.Duration, total)
	var senders sync.WaitGroup
	tick := time.NewTicker(time.Second / rate)
	defer tick.Stop()
	for i := range total {
		due := <-tick.C
		senders.Go(func() {
			sent[i] = due // when it should have been sent: a late sender counts against us
			accepted[i] = postQuickly(t, d.HTTP, i, due)
		})
	}
	senders.Wait()
	until(t, 30*time.Second, "all deliveries", func() bool { return len(hook.seen()) == total })

	through := make([]time.Duration, total)
	for i := range total {
		through[i] = arrived[deliveryID(i)].Sub(sent[i])
	}
	report := func(what string, d []time.Duration) time.Duration {
		slices.Sort(d)
		t.Logf("%s: p50 %s, p90 %s, p99 %s, max %s", what, d[total/2], d[total*9/10], d[total*99/100], d[total-1])
		return d[total/2]
	}
	report("webhook in to 202", accepted)
	if p50 := report("webhook in to webhook out", through); p50 > 50*time.Millisecond {
		t.Errorf("p50 from webhook in to webhook out = %s, want about 5ms", p50)
	}
}

func deliveryID(i int) string { return fmt.Sprintf("latency-%d", i) }

func postQuickly(t *testing.T, base string, i int, due time.Time) time.Duration {
	body, _ := json.Marshal(map[string]any{"ref": "refs/heads/main", "n": i, "repository": map[string]string{"full_name": "acme/engine"}})
	mac := hmac.New(sha256.New, []byte(githubSecret))
	mac.Write(body)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, base+"/v1/hooks/github", bytes.NewReader(body))
	if err != nil {
		t.Error(err)
		return 0
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-GitHub-Event", "push")
	req.Header.Set("X-GitHub-Delivery", deliveryID(i))
	req.Header.Set("X-Hub-Signature-256", "sha256="+hex.EncodeToString(mac.Sum(nil)))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Error(err)
		return 0
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
	if resp.StatusCode != http.StatusAccepted {
		t.Errorf("status %d", resp.StatusCode)
	}
	return time.Since(due)
}
