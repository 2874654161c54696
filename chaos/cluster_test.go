//go:build chaos

package chaos_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/signalmesh/signalmesh/chaos/history"
)

// How long the engine may take to miss a killed leader and elect another (docs/adr/004), and
// a publish to be sent again.
const (
	publishAgain = 11 * time.Second
	consumeAgain = 12 * time.Second
)

// cluster adds three nodes that keep three copies of everything. between returns the
// address under which the others reach a node's cluster port; nil is the port itself.
func (w *world) cluster(t *testing.T, between func(name, address string) string) {
	t.Helper()
	const size = 3
	var listen, routes [size]string
	for i := range size {
		listen[i] = address(port(t))
		routes[i] = listen[i]
		if between != nil {
			routes[i] = between(nodeName(i), listen[i])
		}
	}
	for i := range size {
		d := &daemon{name: nodeName(i)}
		table := ""
		if i == 0 {
			table = w.routes()
		}
		d.configs = append(d.configs, write(t, "signald.yaml", fmt.Sprintf(`
node: {name: %s, data: %q}
nats:
  listen: %q
  cluster: {name: chaos, listen: %q, advertise: %q, routes: [%s]}
buses: [{name: default, replicas: 3}]
http: {listen: %q}
network: {allow: [127.0.0.0/8]}
%s`, d.name, t.TempDir(), address(port(t)), listen[i], routes[i], strings.Join(routes[:], ", "), address(port(t)), table)))
		w.nodes = append(w.nodes, d)
	}
	start(t, w.nodes...)
	until(t, 10*time.Second, "the routes to be in force on every node", func() bool {
		return !slices.ContainsFunc(w.nodes, func(d *daemon) bool { return !strings.Contains(d.log.String(), "routes=9") })
	})
}

func nodeName(i int) string { return fmt.Sprintf("n%d", i+1) }

// leader finds the node that leads the stream of signals, and one that does not.
func (w *world) leader(t *testing.T) (leader, follower *daemon) {
	t.Helper()
	js, done := w.connect(t)
	defer done()
	var name string
	until(t, 30*time.Second, "a leader", func() bool {
		s, err := js.Stream(t.Context(), "SIG_default")
		if err == nil && s.CachedInfo().Cluster != nil {
			name = s.CachedInfo().Cluster.Leader
		}
		return name != ""
	})
	for _, d := range w.nodes {
		if d.name == name {
			leader = d
		} else {
			follower = d
		}
	}
	return leader, follower
}

// connect is a client of any node.
func (w *world) connect(t *testing.T) (jetstream.JetStream, func()) {
	t.Helper()
	var urls []string
	for _, d := range w.nodes {
		urls = append(urls, d.NATS)
	}
	return connect(t, strings.Join(urls, ","))
}

// probe publishes to a node every so often, whether or not what it asked before is answered,
// until the function that it returns is called.
func (w *world) probe(d *daemon) (stop func()) {
	w.rounds++
	round, end := w.rounds, make(chan struct{})
	var group sync.WaitGroup
	group.Go(func() {
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for i := 0; ; i++ {
			select {
			case <-end:
				return
			case <-tick.C:
				group.Go(func() { w.publishTo(d, fmt.Sprintf("probe.%d.%d", round, i), "chaos.fine") })
			}
		}
	})
	return func() { close(end); group.Wait() }
}

// gaps is how long, after a moment, publishers and receivers had to wait for the next
// success: that of a publish that began after it, and of a delivery of such a signal.
func (w *world) gaps(since time.Time) (publish, consume time.Duration) {
	begun := map[string]bool{}
	for _, op := range w.log.Ops() {
		switch {
		case op.At.Before(since):
		case op.Kind == history.Publish && op.Phase == history.Invoke:
			begun[op.ID] = true
		case op.Kind == history.Publish && op.Phase == history.OK && begun[op.ID] && publish == 0:
			publish = op.At.Sub(since)
		case op.Kind == history.Deliver && op.Receiver == "all" && begun[op.ID] && consume == 0:
			consume = op.At.Sub(since)
		}
	}
	return publish, consume
}

// TestClusterKill ends the leader, a follower, and all nodes of a cluster under load.
func TestClusterKill(t *testing.T) {
	w := newWorld(t)
	w.cluster(t, nil)
	w.tail(t)
	var publish, consume []time.Duration
	for round := range times(1, 7) {
		stop := w.load(3)
		let(500*time.Millisecond, 1500*time.Millisecond)
		leader, follower := w.leader(t)
		leader.kill(t)
		at := time.Now()
		end := w.probe(follower)
		let(12*time.Second, 13*time.Second)
		end()
		p, c := w.gaps(at)
		t.Logf("round %d: leader %s killed: published again after %s, delivered again after %s", round+1, leader.name, p, c)
		publish, consume = append(publish, p), append(consume, c)
		if p == 0 || c == 0 {
			t.Errorf("round %d: nothing was published or delivered for 12 s", round+1)
		}
		start(t, leader)

		_, follower = w.leader(t)
		let(200*time.Millisecond, time.Second)
		follower.kill(t)
		let(500*time.Millisecond, 2*time.Second)
		start(t, follower)

		let(200*time.Millisecond, time.Second)
		for _, d := range w.nodes {
			d.kill(t)
		}
		start(t, w.nodes...)
		let(500*time.Millisecond, time.Second)
		stop()
		w.judge(t, fmt.Sprintf("leader, follower and all killed, round %d", round+1))
		if t.Failed() {
			return
		}
	}
	if p, c := median(publish), median(consume); p > publishAgain || c > consumeAgain {
		t.Errorf("after the end of a leader: published again after %s, delivered again after %s; want %s and %s", p, c, publishAgain, consumeAgain)
	}
}

func median(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)/2]
}

// TestClusterCutOff takes the leader off the others while clients still reach it, and heals
// that. The side without a majority takes nothing; what it was asked is unknown, not lost.
// In the long form only.
func TestClusterCutOff(t *testing.T) {
	if times(0, 1) > 0 {
		cutOff(t)
	}
}

func cutOff(t *testing.T) {
	w, wall := newWorld(t), newWall()
	w.cluster(t, wall.between(t))
	w.tail(t)
	for round := range 5 {
		stop := w.load(3)
		let(500*time.Millisecond, time.Second)
		leader, follower := w.leader(t)
		at := time.Now()
		if n := wall.cut(leader.name); n == 0 {
			t.Fatal("there was nothing to cut")
		}
		end := w.probe(follower)
		let(4*time.Second, 13*time.Second)
		wall.cut("")
		end()
		p, c := w.gaps(at)
		t.Logf("round %d: leader %s cut off: published again after %s, delivered again after %s", round+1, leader.name, p, c)
		let(time.Second, 2*time.Second)
		stop()
		w.judge(t, fmt.Sprintf("leader cut off and healed, round %d", round+1))
		if t.Failed() {
			return
		}
	}
}
