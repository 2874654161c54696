package bus

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/signalmesh/signalmesh/pkg/internal/pull"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

const (
	tailIdle  = time.Minute     // after which the server forgets a consumer that nobody uses
	tailSetup = 5 * time.Second // for one try to make a consumer anew
)

// A tail reads a stream in order and without gaps, from a position on, and acknowledges
// nothing. Its consumer is in the server's memory and is made anew where the tail left off
// whenever it is lost or has skipped something.
type tail struct {
	b      *Bus
	stream string
	config jetstream.ConsumerConfig
	handle func(*pull.Msg)
	ended  context.CancelFunc // ends what is being set up
	done   chan struct{}

	mu      sync.Mutex
	loop    *pull.Loop
	stopped bool
	err     error

	order, last uint64 // of what was handed over; the loop's own
}

// newTail begins to read and reports how many messages are waiting. config says where to
// begin and what to filter.
func (b *Bus) newTail(ctx context.Context, stream string, config jetstream.ConsumerConfig, handle func(*pull.Msg)) (*tail, uint64, error) {
	config.AckPolicy, config.MemoryStorage, config.Replicas = jetstream.AckNonePolicy, true, 1
	config.InactiveThreshold = tailIdle
	life, cancel := context.WithCancel(context.WithoutCancel(ctx))
	t := &tail{b: b, stream: stream, config: config, handle: handle, ended: cancel, done: make(chan struct{})}
	pending, err := t.open(ctx)
	if err != nil {
		cancel()
		return nil, 0, err
	}
	if err = b.adopt(t); err != nil {
		t.Stop()
	}
	go t.run(life) // ends with Stop, or when the connection is closed
	return t, pending, err
}

// open makes a consumer that begins after what was handed over.
func (t *tail) open(ctx context.Context) (pending uint64, err error) {
	config := t.config
	config.Name = "tail-" + signal.NewID().String()
	if t.last > 0 {
		config.DeliverPolicy, config.OptStartSeq, config.OptStartTime = jetstream.DeliverByStartSequencePolicy, t.last+1, nil
	}
	c, err := t.b.js.CreateConsumer(ctx, t.stream, config)
	if err != nil {
		return 0, coded(err)
	}
	t.order = 0
	loop, err := pull.Start(t.b.js, pull.Config{Stream: t.stream, Consumer: config.Name, NoAck: true, Log: t.b.log}, t.receive)
	if err != nil {
		return 0, coded(err)
	}
	t.mu.Lock()
	t.loop = loop
	stopped := t.stopped
	t.mu.Unlock()
	if stopped {
		loop.Stop()
	}
	return c.CachedInfo().NumPending, nil
}

// receive hands over what follows. A gap ends the loop, and run goes on behind what was
// handed over last.
func (t *tail) receive(m *pull.Msg) {
	if m.Order != t.order+1 {
		t.current().Stop()
		return
	}
	t.order, t.last = m.Order, m.Sequence
	t.handle(m)
	_ = m.Ack() // which only counts, for how much is taken in advance
}

func (t *tail) current() *pull.Loop {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.loop
}

func (t *tail) run(ctx context.Context) {
	defer close(t.done)
	defer t.b.disown(t)
	defer t.ended()
	for {
		loop := t.current()
		<-loop.Done()
		t.remove(loop.Consumer())
		if errors.Is(loop.Err(), pull.ErrClosed) {
			t.fail(loop.Err())
			return
		}
		if !t.reopen(ctx) {
			return
		}
	}
}

// reopen tries until there is a consumer again; false means that the tail ends.
func (t *tail) reopen(ctx context.Context) bool {
	for try := 0; ctx.Err() == nil; try++ {
		setup, cancel := context.WithTimeout(ctx, tailSetup)
		_, err := t.open(setup)
		cancel()
		switch {
		case err == nil:
			return true
		case t.b.nc.IsClosed() || errors.Is(err, jetstream.ErrStreamNotFound):
			t.fail(err)
			return false
		}
		t.b.log.Debug("reading goes on later", "stream", t.stream, "error", err)
		pause(ctx, try)
	}
	return false
}

// remove deletes a consumer; the server does so by itself if this fails.
func (t *tail) remove(name string) {
	if !t.b.nc.IsConnected() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), tailSetup)
	defer cancel()
	if err := t.b.js.DeleteConsumer(ctx, t.stream, name); err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
		t.b.log.Debug("consumer left to expire", "stream", t.stream, "consumer", name, "error", err)
	}
}

func (t *tail) fail(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.err = err
}

// waiting asks how many messages the consumer has not delivered yet.
func (t *tail) waiting(ctx context.Context) (uint64, error) {
	c, err := t.b.js.Consumer(ctx, t.stream, t.current().Consumer())
	if err != nil {
		return 0, coded(err)
	}
	return c.CachedInfo().NumPending, nil
}

// Stop ends the tail; nothing is handed over after Done.
func (t *tail) Stop() {
	t.mu.Lock()
	t.stopped = true
	loop := t.loop
	t.mu.Unlock()
	t.ended()
	loop.Stop()
}

func (t *tail) Done() <-chan struct{} { return t.done }

// Err says why the tail ended without Stop.
func (t *tail) Err() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return coded(t.err)
}

var _ part = (*tail)(nil)
