package node

import (
	"context"
	"math"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/signalmesh/signalmesh/pkg/agent"
	"github.com/signalmesh/signalmesh/pkg/journal"
)

const (
	lookEvery   = 5 * time.Second // at the server, however often metrics are read
	lookTimeout = 2 * time.Second
)

// A backlog is what waits on one bus, over all nodes.
type backlog struct {
	journal       float64 // signals that are not recorded
	routes        float64 // signals that no agent has taken
	delivering    float64 // signals that agents hold
	oldest        float64 // seconds since the oldest signal without all its verdicts was stored
	parked        float64 // deliveries that wait for their time or an agent
	subscriptions float64 // signals that durable subscriptions have not taken, added up
	dead          float64 // dead letters that are kept
}

// unknown is what gauges show while the server does not answer.
var unknown = backlog{math.NaN(), math.NaN(), math.NaN(), math.NaN(), math.NaN(), math.NaN(), math.NaN()}

// A watcher looks at the backlog of a bus when metrics are read, not too often.
type watcher struct {
	node *Node
	lane *lane

	mu   sync.Mutex
	at   time.Time
	last backlog
}

// gauges shows what waits on the bus of l.
func (n *Node) gauges(l *lane) {
	w := &watcher{node: n, lane: l}
	show := func(name, help string, value func(backlog) float64) {
		n.metrics.Gauge(name, help, l.bus.Name(), func() float64 { return value(w.look()) })
	}
	show("journal_lag", "Signals on the bus that the journal has not recorded yet, over all nodes.", func(b backlog) float64 { return b.journal })
	show("routes_pending", "Signals that no agent has taken yet, over all nodes.", func(b backlog) float64 { return b.routes })
	show("routes_delivering", "Signals that agents have taken and not settled, over all nodes.", func(b backlog) float64 { return b.delivering })
	show("routes_oldest_pending_seconds", "Age of the oldest signal that is not settled, 0 if there is none.", func(b backlog) float64 { return b.oldest })
	show("deliveries_parked", "Retries and redrives that wait in the stream.", func(b backlog) float64 { return b.parked })
	show("subscriptions_pending", "Signals that durable subscriptions have not taken yet, added up.", func(b backlog) float64 { return b.subscriptions })
	show("dead_letters_kept", "Dead letters that are kept.", func(b backlog) float64 { return b.dead })
}

// look returns the backlog as it was at most lookEvery ago.
func (w *watcher) look() backlog {
	w.mu.Lock()
	defer w.mu.Unlock()
	if time.Since(w.at) >= lookEvery {
		w.last, w.at = w.ask(), time.Now()
	}
	return w.last
}

// ask asks the server. What it does not answer is unknown.
func (w *watcher) ask() backlog {
	b := unknown
	if !w.node.conn.IsConnected() {
		return b
	}
	ctx, cancel := context.WithTimeout(context.Background(), lookTimeout)
	defer cancel()
	js, space, name := w.lane.bus.JetStream(), w.node.space, w.lane.bus.Name()
	if c, err := js.Consumer(ctx, space.Stream(name), journal.RecorderName); err == nil {
		b.journal = float64(c.CachedInfo().NumPending) + float64(c.CachedInfo().NumAckPending)
	}
	if c, err := js.Consumer(ctx, space.Stream(name), agent.Consumer); err == nil {
		b.routes, b.delivering = float64(c.CachedInfo().NumPending), float64(c.CachedInfo().NumAckPending)
		b.oldest = oldest(ctx, js, c.CachedInfo())
	}
	if s, err := js.Stream(ctx, space.LaterStream(name)); err == nil {
		b.parked = float64(s.CachedInfo().State.Msgs)
	}
	if s, err := js.Stream(ctx, space.DeadStream(name)); err == nil {
		b.dead = float64(s.CachedInfo().State.Msgs)
	}
	if subs, err := w.lane.bus.Subscriptions(ctx); err == nil {
		b.subscriptions = 0
		for _, s := range subs {
			b.subscriptions += float64(s.Waiting)
		}
	}
	return b
}

// oldest is the age in seconds of the first message above the consumer's floor.
func oldest(ctx context.Context, js jetstream.JetStream, c *jetstream.ConsumerInfo) float64 {
	if c.NumPending == 0 && c.NumAckPending == 0 {
		return 0
	}
	stream, err := js.Stream(ctx, c.Stream)
	if err != nil {
		return math.NaN()
	}
	m, err := stream.GetMsg(ctx, c.AckFloor.Stream+1, jetstream.WithGetMsgSubject(">"))
	if err != nil {
		return math.NaN()
	}
	return max(time.Since(m.Time).Seconds(), 0)
}
