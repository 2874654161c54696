package bus

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/signalmesh/signalmesh/pkg/signal"
)

const (
	alone    = 4  // messages that always go by themselves: who publishes alone never waits
	smallest = 8  // a group with fewer messages is not worth a batch
	crowd    = 16 // messages on their way that make it worth comparing the two ways

	trial = 25 * time.Millisecond // how long a way is timed
	stale = 10 * time.Second      // how long what was found is believed
)

// A committer stores lone messages: each by itself, or, where many publish at once and it
// is cheaper, in groups that are one atomic batch. A server that syncs before it answers
// syncs once per batch; one that does not is faster without. Which of the two it is nobody
// tells us, so the committer times both ways under load and takes the cheaper.
type committer struct {
	b    *Bus
	work sync.WaitGroup // the goroutine that stores groups

	mu      sync.Mutex
	flying  int // messages without an answer
	queue   []*waiting
	grouped bool   // a goroutine takes care of the queue
	never   bool   // the stream takes no batches
	way     int    // direct or group
	ways    [2]way // what each is found to cost
	began   time.Time
	landed  int // messages since then
}

// The ways.
const (
	direct = iota
	group
)

// way is what a message costs on one way.
type way struct {
	each time.Duration
	at   time.Time // when that was found
}

// waiting is a message that goes with the next group.
type waiting struct {
	msg    *nats.Msg
	result chan grouped
}

// grouped is the fate of a message that went with a group.
type grouped struct {
	at  stored
	err error
}

// errGoAlone tells a message that its group came to nothing.
var errGoAlone = errors.New("go alone")

func newCommitter(b *Bus) *committer { return &committer{b: b} }

// close waits for the groups on their way.
func (c *committer) close() { c.work.Wait() }

// store stores one message that carries its Nats-Msg-Id. If its group comes to nothing, or
// nobody knows to what, it is sent once more by itself: the id keeps it from being stored
// twice.
func (c *committer) store(ctx context.Context, m *nats.Msg) (stored, error) {
	w := c.take(m)
	defer c.land()
	if w == nil {
		return c.b.send(ctx, m)
	}
	select {
	case r := <-w.result:
		if r.err == nil {
			return r.at, nil
		}
		return c.b.send(ctx, m)
	case <-ctx.Done():
		return stored{}, unanswered(ctx, ctx.Err())
	}
}

// take lets m go by itself, with nil, or puts it into the queue.
func (c *committer) take(m *nats.Msg) *waiting {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.flying++; c.flying == crowd {
		c.began, c.landed = time.Now(), 0
	}
	if c.flying <= alone || c.way == direct {
		return nil
	}
	w := &waiting{msg: m, result: make(chan grouped, 1)}
	c.queue = append(c.queue, w)
	if !c.grouped {
		c.grouped = true
		c.work.Go(c.drain) // ends when the queue is empty
	}
	return w
}

// land notes that a message has its answer, and compares the ways every now and then.
func (c *committer) land() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.flying--
	if c.landed++; c.flying < crowd || c.landed%crowd != 0 {
		return
	}
	now := time.Now()
	d := now.Sub(c.began)
	if d < trial {
		return
	}
	w := &c.ways[c.way]
	each := d / time.Duration(c.landed)
	if w.each > 0 && now.Sub(w.at) < stale {
		each = w.each + (each-w.each)/4
	}
	*w = way{each, now}
	c.way = c.cheaper(now)
	c.began, c.landed = now, 0
}

// cheaper returns the way to go on with: the other one if it has not been tried lately.
func (c *committer) cheaper(now time.Time) int {
	other := group - c.way
	switch {
	case c.never:
		return direct
	case now.Sub(c.ways[other].at) > stale, c.ways[other].each < c.ways[c.way].each:
		return other
	}
	return c.way
}

// drain stores group after group until nobody waits.
func (c *committer) drain() {
	for {
		ws := c.next()
		if ws == nil {
			return
		}
		first, err := c.commit(ws)
		for i, w := range ws {
			w.result <- grouped{stored{sequence: first + uint64(i)}, err}
		}
	}
}

func (c *committer) next() []*waiting {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := min(len(c.queue), MaxBatch)
	if n == 0 {
		c.grouped, c.queue = false, nil
		return nil
	}
	ws := c.queue[:n:n]
	c.queue = c.queue[n:]
	return ws
}

// commit stores a group and returns the position of its first message.
func (c *committer) commit(ws []*waiting) (first uint64, err error) {
	if len(ws) < smallest {
		return 0, errGoAlone
	}
	msgs := make([]*nats.Msg, len(ws))
	for i, w := range ws {
		msgs[i] = w.msg
	}
	// Who waits has a context of their own, and goes alone when this takes long.
	ctx, cancel := context.WithTimeout(context.Background(), answerFirst)
	defer cancel()
	last, err := c.b.stage(ctx, signal.NewID().String(), msgs)
	if err == nil {
		return last - uint64(len(ws)-1), nil
	}
	if apiCode(err) == codeBatchDisabled {
		c.mu.Lock()
		c.never, c.way = true, direct
		c.mu.Unlock()
	}
	return 0, err
}
