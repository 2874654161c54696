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
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	githubSecret = "it-is-a-secret-to-everybody"
	hookSecret   = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
)

// A payload is one webhook as GitHub would send it.
type payload struct {
	event    string // X-GitHub-Event
	delivery string // X-GitHub-Delivery
	body     []byte
	typ      string // the signal type it must become
	byUser   bool   // what the predicate of the route "created" asks
}

// TestGitHub is the main job on a few payloads: webhooks in, stored, routed by wildcards and
// a predicate, delivered signed and through failures, killed in between, nothing lost.
func TestGitHub(t *testing.T) {
	t.Parallel()
	mainJob(t, load(t, "testdata/github", 4))
}

// load reads webhook payloads; the event kind is the file name up to the first dot.
func load(t *testing.T, dir string, least int) []payload {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil || len(files) < least {
		t.Fatalf("found %d payloads in %s (%v), want at least %d", len(files), dir, err, least)
	}
	payloads := make([]payload, len(files))
	for i, file := range files {
		body, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var doc struct {
			Action string
			Sender struct{ Type string }
		}
		if err := json.Unmarshal(body, &doc); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		event, _, _ := strings.Cut(filepath.Base(file), ".")
		typ := "github." + event
		if doc.Action != "" {
			typ += "." + doc.Action
		}
		payloads[i] = payload{
			event: event, typ: typ, body: body, byUser: doc.Sender.Type == "User",
			delivery: fmt.Sprintf("72d3162e-cc78-11e3-81ab-%012d", i),
		}
	}
	return payloads
}

// mainJob posts every payload to a signald that is killed in the middle, and shows that each
// reached every target it matches, no other, exactly as stored, and can be explained.
func mainJob(t *testing.T, payloads []payload) {
	hook := receive(t, 0, signed(t, hookSecret))
	flaky := receive(t, 2, cloudEvent)
	never := receive(t, 0, cloudEvent)
	config := write(t, "signald.yaml", fmt.Sprintf(`
node: {name: e2e, data: %q}
nats: {listen: 127.0.0.1:0}
http: {listen: 127.0.0.1:0}
network: {allow: [127.0.0.0/8]}
sources:
  - name: github
    webhook: {verify: github, secret: "env:GITHUB_SECRET"}
routes:
  - name: everything
    on: github.**
    to:
      - webhook: {url: %q, secret: "env:HOOK_SECRET"}
  - name: created
    on: github.*.created
    when: has(data.sender) && data.sender.type == "User"
    priority: 75
    retry: {max_attempts: 5, min: 20ms, max: 200ms}
    to:
      - http: {url: %q}
  - name: other-forge
    on: gitlab.**
    to:
      - http: {url: %q}
`, t.TempDir(), hook.URL, flaky.URL, never.URL))
	env := []string{"GITHUB_SECRET=" + githubSecret, "HOOK_SECRET=" + hookSecret}

	d := start(t, env, "run", "--config", config)
	var node atomic.Pointer[daemon]
	node.Store(d)
	ids := make([]string, len(payloads))
	next := make(chan int)
	var workers sync.WaitGroup
	for range 4 {
		workers.Go(func() {
			for i := range next {
				ids[i] = postUntilStored(t, &node, payloads[i])
			}
		})
	}
	for i := range payloads {
		if i == len(payloads)/2 {
			d.kill(t)
			d = start(t, env, "run", "--config", config)
			node.Store(d)
		}
		next <- i
	}
	close(next)
	workers.Wait()

	all, created := map[string]bool{}, map[string]bool{}
	for i, p := range payloads {
		all[ids[i]] = true
		if strings.Count(p.typ, ".") == 2 && strings.HasSuffix(p.typ, ".created") && p.byUser {
			created[ids[i]] = true
		}
	}
	if len(all) != len(payloads) || len(created) == 0 {
		t.Fatalf("%d distinct ids of %d payloads, %d match the predicate route; want all and some", len(all), len(payloads), len(created))
	}
	until(t, time.Minute, "every delivery", func() bool {
		return len(hook.seen()) >= len(all) && len(flaky.seen()) >= len(created)
	})
	hook.check(t, "webhook", all)
	flaky.check(t, "flaky http", created)
	never.check(t, "other forge", nil)

	for _, p := range payloads {
		if _, receipt := post(t, d.HTTP, p); !receipt.Duplicate {
			t.Errorf("a repeat of %s was not recognised", p.delivery)
		}
	}
	if n := stored(t, d.NATS); n != uint64(len(payloads)) {
		t.Errorf("%d signals are stored, want %d", n, len(payloads))
	}
	for i := range payloads {
		explained(t, d.HTTP, ids[i], created[ids[i]], i > len(payloads)/2+4) // 4: one for each worker
	}
	if out, _, code := run(t, "sigctl", "--server", d.NATS, "why", ids[0]); code != 0 || !strings.Contains(out, "everything") || !strings.Contains(out, "delivered") {
		t.Errorf("sigctl why = %d\n%s", code, out)
	}
	forged(t, d.HTTP, payloads[0])
}

type receipt struct {
	ID, Bus   string
	Sequence  uint64
	Duplicate bool
}

// post sends one webhook, signed as GitHub signs it.
func post(t *testing.T, base string, p payload) (int, receipt) {
	t.Helper()
	mac := hmac.New(sha256.New, []byte(githubSecret))
	mac.Write(p.body)
	return send(t, base, p, "sha256="+hex.EncodeToString(mac.Sum(nil)))
}

func send(t *testing.T, base string, p payload, signature string) (int, receipt) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, base+"/v1/hooks/github", bytes.NewReader(p.body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-GitHub-Event", p.event)
	req.Header.Set("X-GitHub-Delivery", p.delivery)
	req.Header.Set("X-Hub-Signature-256", signature)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, receipt{} // the node is down: nothing was accepted
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, receipt{}
	}
	var r receipt
	if resp.StatusCode == http.StatusAccepted {
		if err := json.Unmarshal(body, &r); err != nil {
			t.Errorf("202 with %s: %v", body, err)
		}
	} else if resp.StatusCode < 500 && signature != "" {
		t.Errorf("%s: %d %s", p.typ, resp.StatusCode, body)
	}
	return resp.StatusCode, r
}

// postUntilStored repeats a webhook, as a sender does, until it is accepted.
func postUntilStored(t *testing.T, node *atomic.Pointer[daemon], p payload) string {
	t.Helper()
	var r receipt
	deadline := time.Now().Add(30 * time.Second)
	for tick := time.NewTicker(20 * time.Millisecond); r.ID == "" && time.Now().Before(deadline); {
		if _, r = post(t, node.Load().HTTP, p); r.ID == "" {
			<-tick.C
		}
	}
	if r.ID != p.delivery || r.Sequence == 0 {
		t.Errorf("receipt of %s = %+v, want that id and a sequence", p.delivery, r)
	}
	return r.ID
}

// forged shows that a wrong signature is refused and leaves nothing behind.
func forged(t *testing.T, base string, p payload) {
	t.Helper()
	p.delivery = "forged"
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, base+"/v1/hooks/github", bytes.NewReader(p.body))
	req.Header.Set("X-GitHub-Event", p.event)
	req.Header.Set("X-GitHub-Delivery", p.delivery)
	req.Header.Set("X-Hub-Signature-256", "sha256="+strings.Repeat("0", 64))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusUnauthorized || !strings.HasPrefix(resp.Header.Get("Content-Type"), "application/problem+json") {
		t.Errorf("a forged webhook = %d %s, want 401 application/problem+json", resp.StatusCode, resp.Header.Get("Content-Type"))
	}
	if status, _ := get(t, base+"/v1/signals/forged"); status != http.StatusNotFound {
		t.Errorf("GET of the forged signal = %d, want 404", status)
	}
}

// explained asks the node about one signal: it can be read, traced, and each route answers.
// Attempts are told one by one, unless the process that made them was killed meanwhile.
func explained(t *testing.T, base, id string, created, undisturbed bool) {
	t.Helper()
	if status, body := get(t, base+"/v1/signals/"+id); status != 200 || !strings.Contains(body, id) {
		t.Errorf("GET signal %s = %d %.200s", id, status, body)
	}
	if status, body := get(t, base+"/v1/signals/"+id+"/trace"); status != 200 || !strings.Contains(body, id) {
		t.Errorf("GET trace of %s = %d %.200s", id, status, body)
	}
	var why struct {
		Routes []struct {
			Route, Status string
			Deliveries    []struct {
				Status   string
				Attempts []struct{ Status int }
			}
		}
	}
	until(t, 10*time.Second, "the verdicts of "+id, func() bool {
		status, body := get(t, base+"/v1/signals/"+id+"/why")
		why.Routes = nil
		if status != 200 || json.Unmarshal([]byte(body), &why) != nil {
			return false
		}
		status2 := map[string]string{}
		for _, r := range why.Routes {
			status2[r.Route] = r.Status
		}
		return status2["everything"] == "delivered" && status2["other-forge"] == "unmatched" &&
			(status2["created"] == "delivered") == created
	})
	for _, r := range why.Routes {
		if r.Route == "created" && created && undisturbed && (len(r.Deliveries) != 1 || len(r.Deliveries[0].Attempts) < 3) {
			t.Errorf("%s: deliveries of created = %+v, want one with at least three attempts", id, r.Deliveries)
		}
	}
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

// stored counts the messages of the default bus with a plain NATS client.
func stored(t *testing.T, url string) uint64 {
	t.Helper()
	nc, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := js.Stream(t.Context(), "SIG_default")
	if err != nil {
		t.Fatal(err)
	}
	return stream.CachedInfo().State.Msgs
}

// write puts a file into a folder of the test's own and returns its path.
func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
