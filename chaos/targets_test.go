//go:build chaos

package chaos_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/signalmesh/signalmesh/chaos/history"
)

// targets are the receivers of a mesh, good and bad. What one of them has taken is in the
// history under the name of its route.
type targets struct {
	log  *history.Log
	drop string // receiver that answers well and takes nothing: a fault planted by a test

	mu       sync.Mutex
	attempts map[string]int // by receiver and signal

	base, garbage, halfOpen, dead string
}

func newTargets(t *testing.T, log *history.Log) *targets {
	t.Helper()
	ts := &targets{log: log, attempts: map[string]int{}}
	server := httptest.NewServer(http.HandlerFunc(ts.serve))
	t.Cleanup(server.Close)
	ts.base = server.URL
	ts.garbage = "http://" + ts.raw(t, func(c net.Conn) {
		_, _ = c.Read(make([]byte, 64))
		_, _ = c.Write([]byte("\x00\x17\xff this is not HTTP \r\n\r\n"))
	})
	ts.halfOpen = "http://" + ts.raw(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }) // until the other side gives up
	ts.dead = "http://" + address(port(t))
	return ts
}

// raw listens and lets serve have each connection.
func (ts *targets) raw(t *testing.T, serve func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() { // ends when the listener is closed
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { // ends with the connection
				defer c.Close()
				serve(c)
			}()
		}
	}()
	return l.Addr().String()
}

// serve is every target that speaks HTTP. The path is the receiver's name.
func (ts *targets) serve(w http.ResponseWriter, r *http.Request) {
	receiver := strings.Trim(r.URL.Path, "/")
	var s struct{ ID string }
	body, err := io.ReadAll(r.Body)
	if err != nil || json.Unmarshal(body, &s) != nil || s.ID == "" {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	ts.mu.Lock()
	ts.attempts[receiver+" "+s.ID]++
	n := ts.attempts[receiver+" "+s.ID]
	ts.mu.Unlock()
	switch {
	case receiver == "limited" && n == 1:
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(http.StatusTooManyRequests)
		return
	case receiver == "flaky" && n%2 == 1:
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	case receiver == "poison":
		w.WriteHeader(http.StatusUnprocessableEntity)
		return
	case receiver == "slow":
		<-time.After(300 * time.Millisecond)
	}
	if receiver != ts.drop {
		ts.log.Add(history.Op{Kind: history.Deliver, Phase: history.OK, ID: s.ID, Receiver: receiver, Key: r.Header.Get("Idempotency-Key"), Note: r.Header.Get("X-Note")})
	}
	if receiver == "reset" {
		reset(w)
	}
}

// reset promises an answer of a thousand bytes and cuts the connection after four.
func reset(w http.ResponseWriter) {
	c, buf, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	defer c.Close()
	_, _ = buf.WriteString("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf")
	_ = buf.Flush()
	_ = c.(*net.TCPConn).SetLinger(0)
}

// routes is the table: every signal goes to "all", and those of one kind to the receiver
// of that name.
func (ts *targets) routes() string {
	var b strings.Builder
	b.WriteString("routes:\n")
	add := func(name, on, url, retry string) {
		fmt.Fprintf(&b, "  - {name: %s, on: %q, retry: %s, to: [{http: {url: %q, timeout: 500ms}}]}\n", name, on, retry, url)
	}
	patient := "{max_attempts: 12, min: 20ms, max: 200ms}" // nothing that works must die
	brief := "{max_attempts: 3, min: 20ms, max: 100ms}"
	add("all", "chaos.**", ts.base+"/all", patient)
	for _, name := range []string{"slow", "flaky", "limited"} {
		add(name, "chaos."+name, ts.base+"/"+name, patient)
	}
	for _, name := range []string{"reset", "poison"} {
		add(name, "chaos."+name, ts.base+"/"+name, brief)
	}
	add("garbage", "chaos.garbage", ts.garbage, brief)
	add("halfopen", "chaos.halfopen", ts.halfOpen, brief)
	add("dead", "chaos.dead", ts.dead, brief)
	return b.String()
}

// kinds are the last words of the types that are published, as often as they come.
var kinds = strings.Fields("fine fine fine fine fine fine fine fine fine fine fine fine slow slow flaky limited reset garbage halfopen dead poison")
