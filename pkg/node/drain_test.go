package node_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/signalmesh/signalmesh/pkg/node"
	"github.com/signalmesh/signalmesh/pkg/testkit"
)

// TestRequestInFlightFinishes shows that a request whose body is still on its way when the
// node is told to end is answered, and that its signal is stored.
func TestRequestInFlightFinishes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	n := start(t, embedded("n1", dir, ""))
	body, write := io.Pipe()
	begun := make(chan struct{})
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{Got100Continue: func() { close(begun) }})
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, n.HTTPURL()+"/v1/in/order.created", body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Expect", "100-continue")
	type result struct {
		res *http.Response
		err error
	}
	answered := make(chan result, 1)
	slow := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, ExpectContinueTimeout: patience}}
	go func() { // ends with the answer
		res, err := slow.Do(req)
		answered <- result{res, err}
	}()
	<-begun // the node reads the body
	n.stop()
	until(t, "the node to let nobody else in", func() bool {
		status, _ := get(t, n.HTTPURL()+"/healthz")
		return status == 0
	})
	if _, err := io.WriteString(write, `{"n": 1}`); err != nil {
		t.Fatal(err)
	}
	_ = write.Close()
	got := <-answered
	if got.err != nil {
		t.Fatalf("the request was cut off: %v", got.err)
	}
	sent := answer(t, got.res)
	n.end()

	n = start(t, embedded("n1", dir, ""))
	if status, body := get(t, n.HTTPURL()+"/v1/signals/"+sent.ID); status != 200 {
		t.Errorf("GET the signal = %d %s, want 200", status, body)
	}
}

// TestDeliveryInFlightFinishes shows that a drain waits for an attempt under way and keeps
// its verdict: the next node has nothing to deliver.
func TestDeliveryInFlightFinishes(t *testing.T) {
	t.Parallel()
	target, dir := testkit.Target(t), t.TempDir()
	release := make(chan struct{})
	target.AnswerWith(func(http.ResponseWriter, *http.Request) { <-release })
	config := embedded("n1", dir, "routes:\n"+httpRoute("orders", target.URL))
	n := start(t, config)
	sent := n.send("order.created", `{}`)
	target.Wait(1, patience)
	n.stop()
	until(t, "the drain", func() bool { return strings.Contains(n.log.String(), "node drains") })
	close(release)
	n.end()

	n = start(t, config)
	_, why := get(t, n.HTTPURL()+"/v1/signals/"+sent.ID+"/why")
	if got := len(target.Requests()); got != 1 || !strings.Contains(why, `"delivered"`) {
		t.Errorf("the target got %d requests and why is %s, want one, delivered", got, why)
	}
}

// TestNothingAcceptedIsLost ends a node under load, and its successor too. Each signal that
// was answered with 202 must reach the target.
func TestNothingAcceptedIsLost(t *testing.T) {
	t.Parallel()
	target, dir := testkit.Target(t), t.TempDir()
	config := embedded("n1", dir, "routes:\n"+httpRoute("orders", target.URL))
	var mu sync.Mutex
	taken := map[string]bool{}
	for range 2 {
		n := start(t, config)
		seen := len(target.Requests())
		var senders sync.WaitGroup
		for range 4 {
			senders.Go(func() { // ends with the node
				for {
					id, ok := try(t, n)
					if !ok {
						return
					}
					mu.Lock()
					taken[id] = true
					mu.Unlock()
				}
			})
		}
		target.Wait(seen+20, patience)
		n.end()
		senders.Wait()
	}
	start(t, config)
	target.WaitFor("every accepted signal", func(got []testkit.Request) bool {
		reached := map[string]bool{}
		for _, r := range got {
			for _, s := range r.Signals {
				reached[s.ID] = true
			}
		}
		for id := range taken {
			if !reached[id] {
				return false
			}
		}
		return true
	}, patience)
	t.Logf("%d accepted", len(taken))
}

// try sends a signal until the node lets nobody in any more.
func try(t *testing.T, n *run) (id string, ok bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, n.HTTPURL()+"/v1/in/order.created", strings.NewReader(`{}`))
	if err != nil {
		t.Error(err)
		return "", false
	}
	res, err := client.Do(req)
	if err != nil {
		return "", false // refused or cut off: nothing was promised
	}
	if res.StatusCode != http.StatusAccepted {
		_ = res.Body.Close()
		return "", false
	}
	return answer(t, res).ID, true
}

// TestStartCutShort shows that a node which is told to end while it starts does so without
// an error.
func TestStartCutShort(t *testing.T) {
	t.Parallel()
	n := launch(t, attached("n1", "nats://127.0.0.1:1", ""), node.Options{ConnectTimeout: time.Hour})
	until(t, "the attempt", func() bool { return strings.Contains(n.log.String(), "nats does not answer yet") })
	n.end()
}
