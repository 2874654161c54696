package bus

import (
	"context"
	"sync"

	"github.com/nats-io/nats.go"

	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/internal/batch"
)

// alone is how many publishes are on their way each by itself. Those that come while so
// many are wait for no one but each other: they go together in groups, which a server that
// syncs before it answers stores with one sync each.
const alone = 4

// A committer stores lone messages, in groups where many publish at once.
type committer struct {
	b      *Bus
	groups *batch.Publisher
	work   sync.WaitGroup // the goroutine that stores groups

	mu      sync.Mutex
	flying  int // messages on their way by themselves
	queue   []*waiting
	grouped bool // a goroutine takes care of the queue
}

// waiting is a message that goes with the next group.
type waiting struct {
	msg    *nats.Msg
	result chan batch.Result
}

func newCommitter(b *Bus) (*committer, error) {
	groups, err := batch.New(b.nc)
	if err != nil {
		return nil, err
	}
	return &committer{b: b, groups: groups}, nil
}

// close waits for the groups on their way.
func (c *committer) close() {
	c.work.Wait()
	c.groups.Close()
}

// store stores one message that carries its Nats-Msg-Id.
func (c *committer) store(ctx context.Context, m *nats.Msg) (stored, error) {
	w := c.admit(m)
	if w == nil {
		defer c.landed()
		return c.b.send(ctx, m)
	}
	select {
	case r := <-w.result:
		if r.Err == nil {
			return stored{r.Sequence, r.Duplicate}, nil
		}
		if !transient(r.Err) && !fault.Is(r.Err, fault.Unavailable) {
			return stored{}, coded(r.Err)
		}
		return c.b.send(ctx, single(m))
	case <-ctx.Done():
		return stored{}, unanswered(ctx, ctx.Err())
	}
}

// admit lets m go by itself, with nil, or puts it into the queue.
func (c *committer) admit(m *nats.Msg) *waiting {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.flying < alone && !c.grouped {
		c.flying++
		return nil
	}
	w := &waiting{msg: m, result: make(chan batch.Result, 1)}
	c.queue = append(c.queue, w)
	if !c.grouped {
		c.grouped = true
		c.work.Go(c.drain) // ends when the queue is empty
	}
	return w
}

func (c *committer) landed() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.flying--
}

// drain stores group after group until nobody waits.
func (c *committer) drain() {
	for {
		group := c.next()
		if group == nil {
			return
		}
		msgs := make([]*nats.Msg, len(group))
		for i, w := range group {
			msgs[i] = w.msg
		}
		// Bounded by batch.DefaultTimeout; who waits has a context of their own.
		for i, r := range c.groups.Publish(context.Background(), msgs) {
			group[i].result <- r
		}
	}
}

func (c *committer) next() []*waiting {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := min(len(c.queue), batch.MaxMessages)
	if n == 0 {
		c.grouped = false
		return nil
	}
	group := c.queue[:n:n]
	c.queue = c.queue[n:]
	return group
}

// single returns m without what a batch has written into it.
func single(m *nats.Msg) *nats.Msg {
	c := &nats.Msg{Subject: m.Subject, Data: m.Data, Header: make(nats.Header, len(m.Header))}
	for name, values := range m.Header {
		if name != headerBatchID && name != headerBatchSequence && name != headerBatchCommit {
			c.Header[name] = values
		}
	}
	return c
}
