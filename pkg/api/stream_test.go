package api_test

import (
	"bufio"
	"encoding/json"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/signalmesh/signalmesh/pkg/api"
	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/signal"
	"github.com/signalmesh/signalmesh/pkg/testkit"
)

// sse reads a stream.
type sse struct {
	t      *testing.T
	resp   *http.Response
	lines  *bufio.Scanner
	beats  int
	closed bool
}

// stream opens a stream and waits until it has begun.
func (w *world) stream(query string, headers ...string) *sse {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), http.MethodGet, w.url+"/v1/stream"+query, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := w.client.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { resp.Body.Close() })
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "text/event-stream" {
		w.t.Fatalf("GET /v1/stream%s = %d %s", query, resp.StatusCode, resp.Header.Get("Content-Type"))
	}
	return &sse{t: w.t, resp: resp, lines: bufio.NewScanner(resp.Body)}
}

// next is the next event: its id and its signal. It is zero at the end.
func (s *sse) next() (uint64, signal.Signal) {
	s.t.Helper()
	var id uint64
	var got signal.Signal
	for s.lines.Scan() {
		line := s.lines.Text()
		switch field, value, _ := strings.Cut(line, ": "); field {
		case "":
			if strings.HasPrefix(line, ": ") {
				s.beats++
			} else if id > 0 {
				return id, got
			}
		case "id":
			n, err := strconv.ParseUint(value, 10, 64)
			if err != nil {
				s.t.Fatal(err)
			}
			id = n
		case "data":
			if err := json.Unmarshal([]byte(value), &got); err != nil {
				s.t.Fatalf("data %q: %v", value, err)
			}
		}
	}
	s.closed = true
	return 0, signal.Signal{}
}

func TestStream(t *testing.T) {
	t.Parallel()
	w := serve(t, nil)
	w.do("POST", "/v1/in/order.created", `"before"`)
	s := w.stream("?type=order.**")
	w.do("POST", "/v1/in/other", `1`)
	a := w.accepted(w.do("POST", "/v1/in/order.created", "{\n\"n\":\r\n1}"))
	b := w.accepted(w.do("POST", "/v1/in/order.paid", `2`))
	id, got := s.next()
	if id != a.Sequence || got.ID != a.ID || got.Type != "order.created" {
		t.Errorf("first event is %d %s %s, want %d %s", id, got.ID, got.Type, a.Sequence, a.ID)
	}
	var data struct{ N int }
	if err := got.Decode(&data); err != nil || data.N != 1 {
		t.Errorf("data = %s, %v", got.Data, err)
	}
	if id, got = s.next(); id != b.Sequence || got.ID != b.ID {
		t.Errorf("second event is %d %s, want %d %s", id, got.ID, b.Sequence, b.ID)
	}
}

func TestStreamStart(t *testing.T) {
	t.Parallel()
	w := serve(t, nil)
	for _, n := range []string{"1", "2", "3"} {
		w.do("POST", "/v1/in/a", n)
	}
	tests := map[string]struct {
		query   string
		headers []string
		want    uint64
	}{
		"resumed":        {"", []string{"Last-Event-ID", "1"}, 2},
		"resumed, query": {"?last_event_id=2", nil, 3},
		"from":           {"?from=3&type=a", nil, 3},
		"from 0":         {"?from=0", nil, 1},
		"since":          {"?since=1h", nil, 1},
		"since a time":   {"?since=2020-01-01T00:00:00Z", nil, 1},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if id, _ := w.stream(tt.query, tt.headers...).next(); id != tt.want {
				t.Errorf("first event is %d, want %d", id, tt.want)
			}
		})
	}
	s := w.stream("", "Last-Event-ID", "3")
	a := w.accepted(w.do("POST", "/v1/in/a", "4"))
	if id, _ := s.next(); id != a.Sequence {
		t.Errorf("first event after the end is %d, want %d", id, a.Sequence)
	}
}

func TestStreamRefused(t *testing.T) {
	t.Parallel()
	w := serve(t, func(cfg *api.Config, _ *world) { cfg.MaxStreams = 1 })
	w.problem(w.do("GET", "/v1/stream?type=a.**.**", ""), 400, fault.Invalid)
	w.problem(w.do("GET", "/v1/stream?type=a..b", ""), 400, fault.Invalid)
	w.problem(w.do("GET", "/v1/stream?since=yesterday", ""), 400, fault.Invalid)
	w.problem(w.do("GET", "/v1/stream?from=x", ""), 400, fault.Invalid)
	w.problem(w.do("GET", "/v1/stream", "", "Last-Event-ID", "x"), 400, fault.Invalid)
	w.problem(w.do("GET", "/v1/stream", "", "Last-Event-ID", "99"), 409, fault.Conflict)
	w.problem(w.do("GET", "/v1/stream?bus=nope", ""), 404, fault.NotFound)
	w.stream("")
	w.problem(w.do("GET", "/v1/stream", ""), 429, fault.Exhausted)
}

func TestStreamHeartbeat(t *testing.T) {
	t.Parallel()
	w := serve(t, func(cfg *api.Config, _ *world) { cfg.Heartbeat = 5 * time.Millisecond })
	s := w.stream("")
	for s.beats < 3 && s.lines.Scan() {
		if strings.HasPrefix(s.lines.Text(), ":") {
			s.beats++
		}
	}
	if s.beats < 3 {
		t.Errorf("%d comments came, want more", s.beats)
	}
}

func TestStreamEndsWithTheNode(t *testing.T) {
	t.Parallel()
	w := serve(t, nil)
	s := w.stream("")
	if err := w.api.Close(); err != nil {
		t.Fatal(err)
	}
	if err := w.api.Close(); err != nil {
		t.Errorf("second Close = %v", err)
	}
	if s.next(); !s.closed {
		t.Error("the stream goes on after Close")
	}
}

// TestStreamReaderLeaves: the place of a reader that is gone is free again.
func TestStreamReaderLeaves(t *testing.T) {
	t.Parallel()
	w := serve(t, func(cfg *api.Config, _ *world) { cfg.MaxStreams = 1 })
	w.stream("").resp.Body.Close()
	w.awaitPlace()
}

// awaitPlace waits until a stream can be opened.
func (w *world) awaitPlace() {
	w.t.Helper()
	for deadline := time.Now().Add(testkit.Patience); time.Now().Before(deadline); {
		req, err := http.NewRequestWithContext(w.t.Context(), http.MethodGet, w.url+"/v1/stream", nil)
		if err != nil {
			w.t.Fatal(err)
		}
		resp, err := w.client.Do(req)
		if err != nil {
			w.t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			return
		}
	}
	w.t.Error("the place is still taken")
}

// TestStreamSlowReader: one that does not read is cut off, and holds nothing meanwhile.
func TestStreamSlowReader(t *testing.T) {
	t.Parallel()
	w := serve(t, func(cfg *api.Config, _ *world) { cfg.MaxStreams, cfg.StreamTimeout = 1, 50*time.Millisecond })
	conn, err := net.Dial("tcp", strings.TrimPrefix(w.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("GET /v1/stream?from=1 HTTP/1.1\r\nHost: x\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Read(make([]byte, 1)); err != nil { // it has begun
		t.Fatal(err)
	}
	big := `"` + strings.Repeat("x", 1<<20) + `"`
	for range 16 { // more than the buffers of the kernel hold
		w.accepted(w.do("POST", "/v1/in/big", big))
	}
	w.awaitPlace()
}

func TestStreamHead(t *testing.T) {
	t.Parallel()
	w := serve(t, nil)
	if r := w.do("HEAD", "/v1/stream", ""); r.status != http.StatusOK || r.header.Get("Content-Type") != "text/event-stream" {
		t.Errorf("HEAD /v1/stream = %d %s", r.status, r.header.Get("Content-Type"))
	}
}
