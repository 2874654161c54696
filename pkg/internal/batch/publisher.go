package batch

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/signalmesh/signalmesh/pkg/fault"
)

// MaxMessages is how many messages one call of [Publisher.Publish] takes; the server allows
// no more in one atomic batch.
const MaxMessages = 1000

// DefaultTimeout bounds the wait for acknowledgements when the context has no nearer end.
const DefaultTimeout = 5 * time.Second

// A Result is the fate of one message.
type Result struct {
	Sequence  uint64 // position in the stream
	Duplicate bool   // the stream had it already, by its Nats-Msg-Id
	Err       error  // why it is not stored, or not known to be
}

// A Publisher publishes groups of messages. It may be used concurrently; one group is on its
// way at a time.
type Publisher struct {
	nc     *nats.Conn
	sub    *nats.Subscription
	prefix string        // of every reply subject
	closed chan struct{} // the subscription has ended, with or without our doing
	turn   chan struct{} // held by the Publish that is on its way
	pace   pace          // guarded by turn
	atomic bool          // guarded by turn; false once a stream refused

	batches uint64 // guarded by turn; how many were begun, for their ids

	mu     sync.Mutex
	rounds uint64
	round  string   // of rounds; late replies to an earlier one are told by it
	reply  []string // reply subjects of this round, made as needed
	group  *group   // on its way, or nil
}

// New returns a publisher on the connection, which the caller keeps and closes.
func New(nc *nats.Conn) (*Publisher, error) {
	p := &Publisher{
		nc: nc, prefix: nc.NewInbox() + ".", pace: newPace(), atomic: true, round: "0",
		closed: make(chan struct{}), turn: make(chan struct{}, 1),
	}
	sub, err := nc.Subscribe(p.prefix+"*", p.receive)
	if err != nil {
		return nil, fault.Newf(fault.Unavailable, "subscribe to acknowledgements: %w", err)
	}
	sub.SetClosedHandler(func(string) { close(p.closed) })
	p.sub = sub
	return p, nil
}

// Close ends the subscription. A Publish under way returns with unknown results.
func (p *Publisher) Close() { _ = p.sub.Unsubscribe() } // an error means it has ended already

// Publish stores the messages of one stream and returns the fate of each, in order. Their
// reply and their Nats-Batch headers are overwritten. The order of storing is that of the
// slice. Up to [MaxMessages] messages are taken; more are an error of the program, and panic.
//
// The group is not all or nothing: look at every result.
func (p *Publisher) Publish(ctx context.Context, msgs []*nats.Msg) []Result {
	if len(msgs) > MaxMessages {
		panic(fmt.Sprintf("batch: %d messages in one group, at most %d", len(msgs), MaxMessages))
	}
	select {
	case p.turn <- struct{}{}:
		defer func() { <-p.turn }()
	case <-ctx.Done():
		return all(len(msgs), unknown(ctx.Err()))
	}
	if !p.atomic {
		return p.pipeline(ctx, msgs)
	}
	var head []Result
	if n := p.pace.sample(len(msgs), time.Now()); n > 0 {
		head, msgs = p.pipeline(ctx, msgs[:n]), msgs[n:]
	}
	if len(msgs) == 0 {
		return head
	}
	return append(head, p.cheapest(ctx, msgs)...)
}

// cheapest publishes as one batch if that pays.
func (p *Publisher) cheapest(ctx context.Context, msgs []*nats.Msg) []Result {
	if !p.pace.batchPays(len(msgs)) {
		return p.pipeline(ctx, msgs)
	}
	results := p.batch(ctx, msgs)
	if err := results[0].Err; batchOnly(err) || hopeless(err) {
		p.atomic = !errors.Is(err, errDisabled)
		return p.pipeline(ctx, msgs)
	}
	return results
}

// pipeline publishes each message by itself, without waiting in between.
func (p *Publisher) pipeline(ctx context.Context, msgs []*nats.Msg) []Result {
	g := p.begin(len(msgs), false)
	for i, m := range msgs {
		clearBatch(m)
		m.Reply = g.replies[i]
		if err := p.nc.PublishMsg(m); hopeless(err) {
			p.fail(g, i, publishError(err))
		} else if err != nil {
			p.failFrom(g, i, publishError(err))
			break
		}
	}
	p.wait(ctx, g)
	p.pace.pipelined(len(msgs), g.last.Sub(g.first))
	return g.results
}

// batch publishes the messages as one atomic batch. The first message is answered too, since
// only that answer says why a batch was not begun.
func (p *Publisher) batch(ctx context.Context, msgs []*nats.Msg) []Result {
	start, n := time.Now(), len(msgs)
	g := p.begin(n, true)
	id := p.batchID()
	for i, m := range msgs {
		setBatch(m, id, i+1, i == n-1)
		m.Reply = ""
		if i == 0 || i == n-1 {
			m.Reply = g.replies[i]
		}
		if err := p.nc.PublishMsg(m); err != nil {
			p.failAll(g, publishError(err))
			break
		}
	}
	p.wait(ctx, g)
	if g.results[0].Err == nil {
		p.pace.batched(n, time.Since(start))
	}
	return g.results
}

// A group is the messages of one pipeline or batch, waiting for replies.
type group struct {
	replies []string
	results []Result
	known   []bool
	missing int  // results
	batch   bool // the reply to the last message is the reply to all
	first   time.Time
	last    time.Time // of the replies
	done    chan struct{}
}

// batchID is unique as the inbox is, and short, since the server keeps it with each message.
func (p *Publisher) batchID() string {
	p.batches++
	inbox := strings.TrimSuffix(p.prefix, ".")
	return inbox[strings.LastIndexByte(inbox, '.')+1:] + "-" + strconv.FormatUint(p.batches, 36)
}

// begin prepares for the replies to n messages.
func (p *Publisher) begin(n int, batch bool) *group {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := len(p.reply); i < n; i++ {
		p.reply = append(p.reply, p.prefix+p.round+"-"+strconv.Itoa(i))
	}
	p.group = &group{
		replies: p.reply, results: make([]Result, n), known: make([]bool, n),
		missing: n, batch: batch, done: make(chan struct{}),
	}
	return p.group
}

// wait returns when the group is complete, or fills in why it never will be.
func (p *Publisher) wait(ctx context.Context, g *group) {
	timer := time.NewTimer(DefaultTimeout)
	defer timer.Stop()
	var err error
	select {
	case <-g.done:
	case <-ctx.Done():
		err = ctx.Err()
	case <-p.closed:
		err = nats.ErrConnectionClosed
	case <-timer.C:
		err = fmt.Errorf("no acknowledgement within %s", DefaultTimeout)
	}
	if err != nil {
		p.failAll(g, unknown(err))
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.group = nil
	if err != nil || g.batch && g.results[0].Err != nil {
		// Replies may still come, so they must meet no one.
		p.rounds++
		p.round, p.reply = strconv.FormatUint(p.rounds, 36), nil
	}
}

// receive takes one reply.
func (p *Publisher) receive(m *nats.Msg) {
	round, slot, ok := strings.Cut(m.Subject[len(p.prefix):], "-")
	i, err := strconv.Atoi(slot)
	if !ok || err != nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	g := p.group
	if g == nil || round != p.round || i >= len(g.results) || g.known[i] {
		return
	}
	if g.batch {
		g.settleBatch(i, m)
		return
	}
	g.settle(i, parseAck(m))
}

// settleBatch takes the answer to the first or the last message of a batch.
func (g *group) settleBatch(i int, m *nats.Msg) {
	n := len(g.results)
	if i != n-1 && len(m.Data) == 0 && len(m.Header) == 0 {
		return // begun
	}
	last := parseAck(m)
	for j := range g.results {
		r := Result{Err: last.Err}
		if last.Err == nil {
			r.Sequence = last.Sequence - uint64(n-1-j)
		}
		g.settle(j, r)
	}
}

// settle notes one result, and the end of the group with the last one.
func (g *group) settle(i int, r Result) {
	if g.known[i] {
		return
	}
	g.results[i], g.known[i] = r, true
	g.last = time.Now()
	if g.first.IsZero() {
		g.first = g.last
	}
	if g.missing--; g.missing == 0 {
		close(g.done)
	}
}

func (p *Publisher) failFrom(g *group, i int, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for ; i < len(g.results); i++ {
		g.settle(i, Result{Err: err})
	}
}

// fail settles one message that was not sent.
func (p *Publisher) fail(g *group, i int, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	g.settle(i, Result{Err: err})
}

func (p *Publisher) failAll(g *group, err error) { p.failFrom(g, 0, err) }

func all(n int, err error) []Result {
	results := make([]Result, n)
	for i := range results {
		results[i].Err = err
	}
	return results
}
