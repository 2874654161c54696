//go:build chaos

package chaos_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/signalmesh/signalmesh/chaos/history"
)

// A world is a mesh under load, with everything about it that the judge must know.
type world struct {
	*targets
	nodes   []*daemon
	clients *http.Client
	follow  bool           // a subscription is owed every signal, too
	tailed  *atomic.Uint64 // how far the tail is; nil without one
	rounds  int
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{targets: newTargets(t, new(history.Log))}
	w.clients = &http.Client{Timeout: 15 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 16}}
	t.Cleanup(w.clients.CloseIdleConnections)
	t.Cleanup(func() {
		for _, d := range w.nodes { // together: the last of a cluster would wait for the others
			d.interrupt()
		}
		for _, d := range w.nodes {
			d.stop(t)
		}
	})
	return w
}

// single adds the one node of a mesh without a cluster.
func (w *world) single(t *testing.T) *daemon {
	t.Helper()
	return w.singleOn(t, t.TempDir(), "")
}

// singleOn is single with its data in a folder, and more to say about its server.
func (w *world) singleOn(t *testing.T, data, nats string) *daemon {
	t.Helper()
	d := &daemon{name: "single"}
	d.configs = append(d.configs, write(t, "signald.yaml", fmt.Sprintf(`
node: {name: single, data: %q}
nats: {listen: %q, %s}
http: {listen: %q}
network: {allow: [127.0.0.0/8]}
log: {level: warn}
%s`, data, address(port(t)), nats, address(port(t)), w.routes())))
	w.nodes = append(w.nodes, d)
	return d
}

// load publishes from n goroutines until the function that it returns is called.
func (w *world) load(n int) (stop func()) {
	w.rounds++
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	for p := range n {
		group.Go(func() { w.publisher(ctx, fmt.Sprintf("%d.%d", w.rounds, p)) })
	}
	return func() { cancel(); group.Wait() }
}

// publisher sends signal after signal. A signal that got no answer is sent again, or left
// alone, by chance: both must be right.
func (w *world) publisher(ctx context.Context, name string) {
	tick := time.NewTicker(6 * time.Millisecond)
	defer tick.Stop()
	for i := 0; ; i++ {
		id, typ := fmt.Sprintf("%s.%d", name, i), "chaos."+kinds[rand.IntN(len(kinds))]
		for again := true; again; {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			phase := w.publish(id, typ)
			again = phase == history.Fail || phase == history.Unknown && rand.IntN(2) == 0
		}
	}
}

// publish sends one signal to some node and says how that ended.
func (w *world) publish(id, typ string) history.Phase {
	return w.publishTo(w.nodes[rand.IntN(len(w.nodes))], id, typ)
}

func (w *world) publishTo(d *daemon, id, typ string) history.Phase {
	return w.publishBody(d, id, typ, "")
}

func (w *world) publishBody(d *daemon, id, typ, data string) history.Phase {
	w.log.Add(history.Op{Kind: history.Publish, Phase: history.Invoke, ID: id, Type: typ, Note: d.name})
	phase, note := w.post(d.HTTP, fmt.Sprintf(`{"specversion":"1.0","id":%q,"source":"/chaos","type":%q,"data":%q}`, id, typ, data))
	w.log.Add(history.Op{Kind: history.Publish, Phase: phase, ID: id, Type: typ, Note: note})
	return phase
}

func (w *world) post(base, event string) (history.Phase, string) {
	resp, err := w.clients.Post(base+"/v1/signals", "application/cloudevents+json", strings.NewReader(event))
	if err != nil {
		var op *net.OpError
		if errors.As(err, &op) && op.Op == "dial" {
			return history.Fail, "nobody listens"
		}
		return history.Unknown, err.Error()
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	switch {
	case resp.StatusCode == http.StatusAccepted: // the status line alone is the promise
		return history.OK, ""
	case resp.StatusCode >= 500, resp.StatusCode == http.StatusTooManyRequests:
		return history.Unknown, string(body)
	}
	return history.Fail, fmt.Sprintf("%d %s %v", resp.StatusCode, body, err)
}

// broken puts something on the bus that is no signal, with a plain NATS client.
func (w *world) broken(t *testing.T, js jetstream.JetStream, id string) {
	t.Helper()
	m := nats.NewMsg("sig.default.chaos.broken")
	m.Header.Set("Chaos-Id", id)
	m.Data = []byte{0xc1, 0xff, 0}
	w.log.Add(history.Op{Kind: history.Publish, Phase: history.Invoke, ID: id, Type: "broken"})
	phase := history.OK
	if _, err := js.PublishMsg(t.Context(), m); err != nil {
		phase = history.Unknown
	}
	w.log.Add(history.Op{Kind: history.Publish, Phase: phase, ID: id, Type: "broken"})
}

// owed is what the configuration promises.
func (w *world) owed() history.Owed {
	return history.Owed{Receivers: func(typ string) []string {
		if typ == "broken" {
			return []string{"undecodable"}
		}
		to := []string{"all"}
		if kind := strings.TrimPrefix(typ, "chaos."); kind != "fine" {
			to = append(to, kind)
		}
		if w.follow {
			to = append(to, "sub")
		}
		if w.tailed != nil {
			to = append(to, "tail")
		}
		return to
	}, OrderBy: map[string]func(string) string{"tail": func(string) string { return "all" }}}
}

// judge waits for the mesh to come to rest, looks at what is in it and holds the history to
// what is owed.
func (w *world) judge(t *testing.T, what string) history.Report {
	t.Helper()
	for _, d := range w.nodes {
		select {
		case <-d.dead:
			t.Errorf("%s: node %s ended by itself: %s", what, d.name, d.log.tail())
		default:
		}
	}
	js, done := w.connect(t)
	defer done()
	w.rest(t, js)
	r := w.check(t, js)
	t.Logf("%s: %s", what, r)
	if err := r.Err(); err != nil {
		t.Errorf("%s: %v", what, err)
	}
	if r.Accepted != r.Accounted() || r.Acknowledged == 0 {
		t.Errorf("%s: %d deliveries accepted, %d accounted for; want the same, and more than none", what, r.Accepted, r.Accounted())
	}
	if t.Failed() {
		for _, d := range w.nodes {
			t.Logf("log of %s: %s", d.name, d.log.tail())
		}
	}
	return r
}

// check looks at what is in the mesh before it looks at the deliveries: what waits now may
// be delivered next.
func (w *world) check(t *testing.T, js jetstream.JetStream) history.Report {
	t.Helper()
	found := w.found(t, js)
	return history.Check(append(w.log.Ops(), found...), w.owed())
}

// rest waits until nothing is under way: what is not settled is parked for later.
func (w *world) rest(t *testing.T, js jetstream.JetStream) {
	t.Helper()
	consumers := [][2]string{{"SIG_default", "routes"}, {"SIG_default_LATER", "routes"}}
	if w.follow {
		consumers = append(consumers, [2]string{"SIG_default", "sub-follow"})
	}
	var state []string
	if !waited(90*time.Second, func() bool {
		state = state[:0]
		idle := true
		for _, c := range consumers {
			info, err := consumerInfo(t, js, c[0], c[1])
			if err != nil {
				state, idle = append(state, err.Error()), false
				continue
			}
			idle = idle && info.NumPending == 0 && info.NumAckPending == 0
			state = append(state, fmt.Sprintf("%v: %d not taken, %d not settled", c, info.NumPending, info.NumAckPending))
		}
		if behind := w.behind(t, js); behind != "" {
			state, idle = append(state, behind), false
		}
		if w.tailed != nil {
			idle = idle && w.ended(t, js)
			state = append(state, fmt.Sprintf("tail at %d", w.tailed.Load()))
		}
		return idle
	}) {
		for _, d := range w.nodes {
			t.Logf("log of %s: %s", d.name, d.log.tail())
		}
		t.Fatalf("the mesh does not come to rest: %s", strings.Join(state, "; "))
	}
}

// behind names the first copy of the bus that is not complete.
func (w *world) behind(t *testing.T, js jetstream.JetStream) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	s, err := js.Stream(ctx, "SIG_default")
	if err != nil {
		return err.Error()
	}
	if c := s.CachedInfo().Cluster; c != nil {
		for _, p := range c.Replicas {
			if !p.Current || p.Offline || p.Lag > 0 {
				return fmt.Sprintf("the copy on %s is not complete: %+v (leader %s)", p.Name, *p, c.Leader)
			}
		}
	}
	return ""
}

func consumerInfo(t *testing.T, js jetstream.JetStream, stream, name string) (*jetstream.ConsumerInfo, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	c, err := js.Consumer(ctx, stream, name)
	if err != nil {
		return nil, err
	}
	return c.CachedInfo(), nil
}

// A document is what signals, dead letters and parked deliveries have in common.
type document struct {
	ID     string
	Kind   string
	Name   string
	Header map[string][]string
	Signal struct{ ID string }
}

// found reads the streams of the bus with a plain NATS client.
func (w *world) found(t *testing.T, js jetstream.JetStream) (ops []history.Op) {
	t.Helper()
	each(t, js, "SIG_default_LATER", func(m *message, doc document) {
		ops = append(ops, history.Op{Kind: history.Waiting, Phase: history.OK, ID: doc.Signal.ID, Receiver: doc.receiver()})
	})
	each(t, js, "SIG_default_DLQ", func(m *message, doc document) {
		id := doc.Signal.ID
		if values := doc.Header["Chaos-Id"]; id == "" && len(values) == 1 {
			id = values[0]
		}
		ops = append(ops, history.Op{Kind: history.Dead, Phase: history.OK, ID: id, Receiver: doc.receiver()})
	})
	each(t, js, "SIG_default", func(m *message, doc document) {
		if strings.HasPrefix(m.Subject, "sig.default.mesh.") {
			return // what the mesh says about itself
		}
		ops = append(ops, history.Op{Kind: history.Stored, Phase: history.OK, ID: cmp.Or(m.header.Get("Chaos-Id"), doc.ID), Sequence: m.Seq})
	})
	return ops
}

func (d document) receiver() string {
	if d.Kind == "subscription" {
		return "sub"
	}
	return d.Name
}

// each reads a stream from its beginning to its end, which may move. It asks the leader: a
// direct get may be answered by a server that is behind.
func each(t *testing.T, js jetstream.JetStream, name string, see func(*message, document)) {
	t.Helper()
	for next := uint64(1); ; {
		m, err := leaderGet(t.Context(), js, name, next)
		if err != nil {
			t.Fatalf("read %s at %d: %v", name, next, err)
		}
		if m == nil {
			return
		}
		var doc document
		if err := json.NewDecoder(bytes.NewReader(m.Data)).Decode(&doc); err != nil && m.header.Get("Chaos-Id") == "" {
			t.Errorf("%s at %d: %v", name, m.Seq, err)
		}
		see(m, doc)
		next = m.Seq + 1
	}
}

// A message is one of a stream, as its leader has it.
type message struct {
	Subject    string
	Seq        uint64
	Hdrs, Data []byte
	header     nats.Header
}

// leaderGet reads the first message from a position on; nil is the end.
func leaderGet(ctx context.Context, js jetstream.JetStream, stream string, from uint64) (*message, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	resp, err := js.Conn().RequestWithContext(ctx, "$JS.API.STREAM.MSG.GET."+stream, fmt.Appendf(nil, `{"seq":%d,"next_by_subj":">"}`, from))
	if err != nil {
		return nil, err
	}
	var answer struct {
		Message *message
		Error   *jetstream.APIError
	}
	if err := json.Unmarshal(resp.Data, &answer); err != nil {
		return nil, err
	}
	switch {
	case answer.Error != nil && answer.Error.ErrorCode == jetstream.JSErrCodeMessageNotFound:
		return nil, nil
	case answer.Error != nil:
		return nil, answer.Error
	}
	m := answer.Message
	if len(m.Hdrs) > 0 {
		m.header, err = nats.DecodeHeadersMsg(m.Hdrs)
	}
	return m, err
}

func connect(t *testing.T, url string) (jetstream.JetStream, func()) {
	t.Helper()
	nc, err := nats.Connect(url, nats.MaxReconnects(-1), nats.ReconnectWait(100*time.Millisecond), nats.Timeout(5*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js, nc.Close
}
