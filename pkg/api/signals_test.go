package api_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/signalmesh/signalmesh/pkg/api"
	"github.com/signalmesh/signalmesh/pkg/bus"
	"github.com/signalmesh/signalmesh/pkg/codec"
	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/journal"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

const (
	structured = "application/cloudevents+json"
	batch      = "application/cloudevents-batch+json"
	parent     = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
)

func TestPostSignals(t *testing.T) {
	t.Parallel()
	w := serve(t, nil)
	one := `{"specversion":"1.0","id":"s-1","source":"/shop","type":"order.created","data":{"n":1}}`
	r := w.do("POST", "/v1/signals", one, "Content-Type", structured)
	if got, want := w.accepted(r), (api.Accepted{ID: "s-1", Bus: "default", Sequence: 1}); got != want {
		t.Errorf("POST = %+v, want %+v", got, want)
	}
	if got := r.header.Get("Location"); got != "/v1/signals/s-1" {
		t.Errorf("Location = %q", got)
	}
	if got, want := w.accepted(w.do("POST", "/v1/signals", one, "Content-Type", structured)), (api.Accepted{ID: "s-1", Bus: "default", Sequence: 1, Duplicate: true}); got != want {
		t.Errorf("POST of a repeat = %+v, want %+v", got, want)
	}
	binary := []string{"ce-specversion", "1.0", "ce-id", "s-2", "ce-source", "/shop", "ce-type", "order.paid", "ce-subject", "50%25%20caf%C3%A9", "Content-Type", "text/plain"}
	if got := w.accepted(w.do("POST", "/v1/signals?bus=default", "plain", binary...)); got.Sequence != 2 {
		t.Errorf("POST in binary mode = %+v, want sequence 2", got)
	}
	s := &signal.Signal{ID: "s-3", Source: "/shop", Type: "order.packed", Data: []byte{0, 1, 0xff}, DataContentType: "application/x-box"}
	packed, err := codec.MarshalMsgpack(s)
	if err != nil {
		t.Fatal(err)
	}
	if got := w.accepted(w.do("POST", "/v1/signals", string(packed), "Content-Type", codec.TypeMsgpack)); got.ID != "s-3" {
		t.Errorf("POST of msgpack = %+v", got)
	}
	all := w.stored()
	if len(all) != 3 || string(all[0].Data) != `{"n":1}` || all[1].Subject != "50% café" || string(all[1].Data) != "plain" || !bytes.Equal(all[2].Data, s.Data) {
		t.Errorf("stored are %v", all)
	}
}

func TestPostDelayed(t *testing.T) {
	t.Parallel()
	w := serve(t, nil)
	one := `{"specversion":"1.0","id":"d-1","source":"/shop","type":"order.created"}`
	r := w.do("POST", "/v1/signals?at=2100-01-02T03:04:05Z", one, "Content-Type", structured)
	at := time.Date(2100, 1, 2, 3, 4, 5, 0, time.UTC)
	if got, want := w.accepted(r), (api.Accepted{ID: "d-1", Bus: "default", At: at}); got != want || r.header.Get("Location") != "" {
		t.Errorf("POST = %+v at %q, want %+v at no location", got, r.header.Get("Location"), want)
	}
	before := time.Now()
	got := w.accepted(w.do("POST", "/v1/in/order.paid?delay=1h&id=d-2", `{}`))
	if d := got.At.Sub(before); got.ID != "d-2" || d < time.Hour || d > 2*time.Hour {
		t.Errorf("POST = %+v, want d-2 in an hour", got)
	}
	if n := len(w.stored()); n != 0 {
		t.Errorf("%d signals are on the bus, want none", n)
	}
	for _, query := range []string{"at=2020-01-01T00:00:00Z", "delay=0s"} {
		if got := w.accepted(w.do("POST", "/v1/in/order.now?"+query, `{}`)); got.Sequence == 0 || !got.At.IsZero() {
			t.Errorf("POST with %s = %+v, want it stored at once", query, got)
		}
	}
	for _, query := range []string{"at=tomorrow", "delay=soon", "delay=-1s", "delay=1s&at=2100-01-02T03:04:05Z"} {
		w.problem(w.do("POST", "/v1/in/order.bad?"+query, `{}`), http.StatusBadRequest, fault.Invalid)
		w.problem(w.do("POST", "/v1/signals?"+query, one, "Content-Type", structured), http.StatusBadRequest, fault.Invalid)
	}
}

func TestPostBatch(t *testing.T) {
	t.Parallel()
	w := serve(t, nil)
	event := func(id, typ string) string {
		return `{"specversion":"1.0","id":"` + id + `","source":"/shop","type":"` + typ + `"}`
	}
	var got []api.Accepted
	r := w.do("POST", "/v1/signals", "["+event("b-1", "a.b")+","+event("b-2", "a.c")+"]", "Content-Type", batch+"; charset=utf-8")
	if err := json.Unmarshal([]byte(r.body), &got); err != nil || r.status != http.StatusAccepted || len(got) != 2 {
		t.Fatalf("POST of a batch = %d %s", r.status, r.body)
	}
	if got[0].ID != "b-1" || got[1].ID != "b-2" || got[1].Sequence != got[0].Sequence+1 {
		t.Errorf("POST of a batch = %+v", got)
	}
	if r := w.do("POST", "/v1/signals", "["+event("b-3", "a.b")+"]", "Content-Type", batch); !strings.HasPrefix(r.body, "[") {
		t.Errorf("POST of a batch of one = %s, want a list", r.body)
	}
	if r := w.do("POST", "/v1/signals", "[]", "Content-Type", batch); r.status != http.StatusAccepted || r.body != "[]\n" {
		t.Errorf("POST of an empty batch = %d %q", r.status, r.body)
	}
	before := len(w.stored())
	for name, bad := range map[string]string{
		"bad type":     event("b-5", "a..b"),
		"no id":        event("", "a.b"),
		"not an event": `7`,
	} {
		p := w.problem(w.do("POST", "/v1/signals", "["+event("b-4", "a.b")+","+bad+"]", "Content-Type", batch), http.StatusBadRequest, fault.Invalid)
		if !strings.Contains(p.Detail, "signal 1") {
			t.Errorf("%s: detail = %q, want it to say which", name, p.Detail)
		}
	}
	many := strings.Repeat(event("m", "a")+",", codec.MaxBatch) + event("m", "a")
	w.problem(w.do("POST", "/v1/signals", "["+many+"]", "Content-Type", batch), http.StatusRequestEntityTooLarge, fault.TooLarge)
	if after := len(w.stored()); after != before {
		t.Errorf("%d signals of refused batches are stored", after-before)
	}
}

func TestPostSignalsRefused(t *testing.T) {
	t.Parallel()
	w := serve(t, func(cfg *api.Config, _ *world) { cfg.MaxBody = 1000 })
	tests := map[string]struct {
		body    string
		headers []string
		status  int
		code    fault.Code
	}{
		"plain JSON":         {`{"a":1}`, []string{"Content-Type", "application/json"}, 400, fault.Invalid},
		"garbage":            {`{`, []string{"Content-Type", structured}, 400, fault.Invalid},
		"repeated attribute": {`{"specversion":"1.0","id":"a","id":"b","source":"/","type":"a"}`, []string{"Content-Type", structured}, 400, fault.Invalid},
		"other version":      {`{"specversion":"0.3","id":"a","source":"/","type":"a"}`, []string{"Content-Type", structured}, 400, fault.Invalid},
		"killer msgpack":     {"\xdd\xff\xff\xff\xff", []string{"Content-Type", codec.TypeMsgpack}, 400, fault.Invalid},
		"too large":          {strings.Repeat("x", 1001), []string{"Content-Type", structured}, 413, fault.TooLarge},
		"compressed":         {"\x1f\x8b", []string{"Content-Type", structured, "Content-Encoding", "gzip"}, 415, fault.Invalid},
		"type too long":      {`{"specversion":"1.0","id":"a","source":"/","type":"` + strings.Repeat("a", 300) + `"}`, []string{"Content-Type", structured}, 413, fault.TooLarge},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w.problem(w.do("POST", "/v1/signals", tt.body, tt.headers...), tt.status, tt.code)
		})
	}
	p := w.problem(w.do("POST", "/v1/signals", `{"a":1}`), 400, fault.Invalid)
	if !strings.Contains(p.Hint, "/v1/in/") {
		t.Errorf("hint = %q, want the way for plain JSON", p.Hint)
	}
	if len(w.stored()) != 0 {
		t.Error("something was stored")
	}
}

// TestChunkedTooLarge: a body whose length is not announced is cut off at the limit.
func TestChunkedTooLarge(t *testing.T) {
	t.Parallel()
	w := serve(t, func(cfg *api.Config, _ *world) { cfg.MaxBody = 1000 })
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.url+"/v1/in/a", struct{ *strings.Reader }{strings.NewReader(strings.Repeat("1", 5000))})
	if err != nil {
		t.Fatal(err)
	}
	req.ContentLength = -1
	resp, err := w.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("POST = %d, want 413", resp.StatusCode)
	}
}

func TestPostPlain(t *testing.T) {
	t.Parallel()
	w := serve(t, nil)
	tests := map[string]struct {
		path, body string
		headers    []string
		want       signal.Signal
	}{
		"json":        {"/v1/in/order.created", `{"n":1}`, []string{"Content-Type", "application/json"}, signal.Signal{Type: "order.created", Source: "/http", DataContentType: "application/json", Data: []byte(`{"n":1}`)}},
		"curl -d":     {"/v1/in/a.b", `[1,2]`, []string{"Content-Type", "application/x-www-form-urlencoded"}, signal.Signal{Type: "a.b", Source: "/http", DataContentType: "application/json", Data: []byte(`[1,2]`)}},
		"nothing":     {"/v1/in/tick", ``, nil, signal.Signal{Type: "tick", Source: "/http"}},
		"a number":    {"/v1/in/a", `7`, nil, signal.Signal{Type: "a", Source: "/http", DataContentType: "application/json", Data: []byte(`7`)}},
		"text":        {"/v1/in/a", `hello`, []string{"Content-Type", "text/plain"}, signal.Signal{Type: "a", Source: "/http", DataContentType: "text/plain", Data: []byte(`hello`)}},
		"query":       {"/v1/in/a?source=/shop&subject=o-1", `{}`, nil, signal.Signal{Type: "a", Source: "/shop", Subject: "o-1", DataContentType: "application/json", Data: []byte(`{}`)}},
		"ce- headers": {"/v1/in/a", `{}`, []string{"ce-source", "/x", "ce-subject", "s%20t", "ce-partitionkey", "k"}, signal.Signal{Type: "a", Source: "/x", Subject: "s t", DataContentType: "application/json", Data: []byte(`{}`), Extensions: map[string]any{"partitionkey": "k"}}},
		"escaped":     {"/v1/in/com.github%2Fpush%20v1", `{}`, nil, signal.Signal{Type: "com.github/push v1", Source: "/http", DataContentType: "application/json", Data: []byte(`{}`)}},
		"dispatch":    {"/v1/in/a", `{}`, []string{"ce-dispatch", "logger"}, signal.Signal{Type: "a", Source: "/http", DataContentType: "application/json", Data: []byte(`{}`), Extensions: map[string]any{"dispatch": "logger"}}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			a := w.accepted(w.do("POST", tt.path, tt.body, tt.headers...))
			entry, err := w.bus.Get(t.Context(), a.Sequence)
			if err != nil {
				t.Fatal(err)
			}
			got := entry.Signal
			if _, err := signal.ParseID(got.ID); err != nil {
				t.Errorf("id = %q, want a fresh one", got.ID)
			}
			tt.want.ID, tt.want.Time = got.ID, got.Time
			if a, b := string(got.AppendJSON(nil)), string(tt.want.AppendJSON(nil)); a != b {
				t.Errorf("stored is %s, want %s", a, b)
			}
		})
	}
}

func TestPostPlainRefused(t *testing.T) {
	t.Parallel()
	w := serve(t, nil)
	w.problem(w.do("POST", "/v1/in/a", `{`), 400, fault.Invalid)
	w.problem(w.do("POST", "/v1/in/a", `{`, "Content-Type", "application/json"), 400, fault.Invalid)
	w.problem(w.do("POST", "/v1/in/a", `a=b`, "Content-Type", "application/x-www-form-urlencoded"), 400, fault.Invalid)
	w.problem(w.do("POST", "/v1/in/a..b", `{}`), 400, fault.Invalid)
	w.problem(w.do("POST", "/v1/in/a", `{}`, "Content-Type", structured), 400, fault.Invalid)
	w.problem(w.do("POST", "/v1/in/a", `{}`, "ce-time", "yesterday"), 400, fault.Invalid)
	if len(w.stored()) != 0 {
		t.Error("something was stored")
	}
}

func TestIdempotencyKey(t *testing.T) {
	t.Parallel()
	w := serve(t, nil)
	first := w.accepted(w.do("POST", "/v1/in/a", `{}`, "Idempotency-Key", "k-1"))
	again := w.accepted(w.do("POST", "/v1/in/a", `{}`, "Idempotency-Key", "k-1"))
	if first.ID != "k-1" || first.Duplicate || !again.Duplicate || again.Sequence != first.Sequence {
		t.Errorf("POST = %+v and then %+v, want a duplicate", first, again)
	}
}

func TestTraceParent(t *testing.T) {
	t.Parallel()
	w := serve(t, nil)
	own := "00-11111111111111111111111111111111-2222222222222222-00"
	tests := map[string]struct {
		headers            []string
		parent, traceState string
	}{
		"inherited": {[]string{"Traceparent", parent, "Tracestate", "a=1"}, parent, "a=1"},
		"own":       {[]string{"Traceparent", parent, "ce-traceparent", own, "Tracestate", "a=1"}, own, ""},
		"malformed": {[]string{"Traceparent", "00-zz", "Tracestate", "a=1"}, "", ""},
		"twice":     {[]string{"Traceparent", parent, "Traceparent", own}, "", ""},
		"none":      {nil, "", ""},
		"too much":  {[]string{"Traceparent", parent, "Tracestate", "a=" + strings.Repeat("x", 600)}, parent, ""},
	}
	for name, tt := range tests {
		a := w.accepted(w.do("POST", "/v1/in/a", `{}`, tt.headers...))
		entry, err := w.bus.Get(t.Context(), a.Sequence)
		if err != nil {
			t.Fatal(err)
		}
		s := entry.Signal
		if s.TraceParent() != tt.parent || s.ExtString(signal.ExtTraceState) != tt.traceState {
			t.Errorf("%s: trace is %q %q, want %q %q", name, s.TraceParent(), s.ExtString(signal.ExtTraceState), tt.parent, tt.traceState)
		}
	}
}

// TestNATSHeaders: a header that would empty the stream gets nowhere near it.
func TestNATSHeaders(t *testing.T) {
	t.Parallel()
	w := serve(t, nil)
	w.do("POST", "/v1/in/a", `{"n":1}`)
	hostile := []string{"Nats-Rollup", "all", "Nats-Msg-Id", "forged", "nats-ttl", "1s", "Nats-Expected-Last-Sequence", "99"}
	a := w.accepted(w.do("POST", "/v1/in/a", `{"n":2}`, hostile...))
	if n := len(w.stored()); n != 2 {
		t.Errorf("%d signals are stored, want 2", n)
	}
	stream, err := w.bus.JetStream().Stream(t.Context(), w.bus.Space().Stream(bus.DefaultName))
	if err != nil {
		t.Fatal(err)
	}
	msg, err := stream.GetMsg(t.Context(), a.Sequence)
	if err != nil {
		t.Fatal(err)
	}
	if id := msg.Header.Get(jetstream.MsgIDHeader); id == "forged" || msg.Header.Get("Nats-Rollup") != "" {
		t.Errorf("stored headers are %v", msg.Header)
	}
}

func TestGet(t *testing.T) {
	t.Parallel()
	w := serve(t, nil)
	a := w.accepted(w.do("POST", "/v1/in/order.created?subject=o-1", `{"n":1}`))
	r := w.do("GET", "/v1/signals/"+a.ID, "") // at once: the journal may not have it yet
	var s signal.Signal
	if err := json.Unmarshal([]byte(r.body), &s); err != nil || r.status != 200 || r.header.Get("Content-Type") != structured {
		t.Fatalf("GET = %d %s %s", r.status, r.header.Get("Content-Type"), r.body)
	}
	if s.ID != a.ID || string(s.Data) != `{"n":1}` || s.Subject != "o-1" {
		t.Errorf("GET = %s", r.body)
	}
	w.problem(w.do("GET", "/v1/signals/unknown", ""), 404, fault.NotFound)
	w.problem(w.do("GET", "/v1/signals/x?nope=1", ""), 400, fault.Invalid)
}

// TestLocation: the answer to a publish leads to the signal, whatever its id looks like.
func TestLocation(t *testing.T) {
	t.Parallel()
	w := serve(t, nil)
	for _, id := range []string{"a/b", "a b", "50%", "é?x=1#y", "a//b"} {
		a := w.do("POST", "/v1/in/a?id="+url.QueryEscape(id), `{}`)
		w.accepted(a)
		r := w.do("GET", a.header.Get("Location"), "")
		if quoted, _ := json.Marshal(id); r.status != 200 || !strings.Contains(r.body, string(quoted)) {
			t.Errorf("GET %s = %d %s, want the signal %q", a.header.Get("Location"), r.status, r.body, id)
		}
	}
}

func TestGetAmbiguous(t *testing.T) {
	t.Parallel()
	w := serve(t, nil)
	w.do("POST", "/v1/in/a?id=x&source=/one", `1`)
	w.do("POST", "/v1/in/a?id=x&source=/two", `2`)
	if err := w.journal.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.problem(w.do("GET", "/v1/signals/x", ""), 400, fault.Invalid)
	if r := w.do("GET", "/v1/signals/x?source=/two", ""); r.status != 200 || !strings.Contains(r.body, "/two") {
		t.Errorf("GET ?source=/two = %d %s", r.status, r.body)
	}
}

func TestGetTrace(t *testing.T) {
	t.Parallel()
	w := serve(t, nil)
	cause := w.accepted(w.do("POST", "/v1/in/a", `1`))
	effect := w.accepted(w.do("POST", "/v1/in/b", `2`, "ce-causationid", cause.ID))
	if err := w.journal.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string][]string{
		cause.ID + "/trace":                     {cause.ID, effect.ID},
		cause.ID + "/trace?direction=forward":   {cause.ID, effect.ID},
		cause.ID + "/trace?limit=1":             {cause.ID},
		cause.ID + "/trace?direction=backward":  {cause.ID},
		effect.ID + "/trace?direction=backward": {effect.ID, cause.ID},
	} {
		r := w.do("GET", "/v1/signals/"+path, "")
		var trace journal.Trace
		if err := json.Unmarshal([]byte(r.body), &trace); err != nil || r.status != 200 {
			t.Fatalf("GET %s = %d %s", path, r.status, r.body)
		}
		var got []string
		for _, n := range trace.Nodes {
			got = append(got, n.ID)
		}
		if strings.Join(got, " ") != strings.Join(want, " ") {
			t.Errorf("GET %s = %q, want %q", path, got, want)
		}
	}
	w.problem(w.do("GET", "/v1/signals/"+cause.ID+"/trace?direction=up", ""), 400, fault.Invalid)
	w.problem(w.do("GET", "/v1/signals/"+cause.ID+"/trace?limit=0", ""), 400, fault.Invalid)
	w.problem(w.do("GET", "/v1/signals/unknown/trace", ""), 404, fault.NotFound)
}

func TestGetWhy(t *testing.T) {
	t.Parallel()
	w := serve(t, nil)
	if r := w.do("GET", "/v1/signals/x-1/why", ""); r.status != 200 || r.body != `{"explained":"x-1"}`+"\n" {
		t.Errorf("GET why = %d %s", r.status, r.body)
	}
	w.problem(w.do("GET", "/v1/signals/unknown/why", ""), 404, fault.NotFound)
}

// TestUnservedParts: what a bus does not have is not served, and says so.
func TestUnservedParts(t *testing.T) {
	t.Parallel()
	w := serve(t, func(cfg *api.Config, _ *world) {
		cfg.Buses = map[string]api.Bus{"default": {}}
		cfg.Hooks = func(string) (api.Hook, bool) { return api.Hook{Receiver: constant(nil)}, true }
	})
	for _, path := range []string{"/v1/signals/x", "/v1/signals/x/trace", "/v1/signals/x/why", "/v1/stream"} {
		w.problem(w.do("GET", path, ""), 404, fault.NotFound)
	}
	w.problem(w.do("POST", "/v1/in/a", "{}"), 404, fault.NotFound)
}
