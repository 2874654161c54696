package pull

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Why a loop can end by itself.
var (
	ErrDeleted = errors.New("consumer was deleted")
	ErrClosed  = errors.New("connection is closed")
)

const (
	// suspectAfter is how many deliveries without an outcome are put down to bad luck.
	suspectAfter = 2
	// isolation is how long a suspect is left alone; what kills a process does it soon.
	isolation = time.Second

	expires  = 30 * time.Second // of one request
	farewell = 2 * time.Second  // for the server to confirm that it sends no more
	probing  = 2 * time.Second  // for the server to say whether the consumer is there
	deletion = 2 * time.Second  // how long it must be missing without having been seen to go
	// recreation is how long one that was seen to go may take to come back: a consumer is
	// deleted and made anew to begin earlier than it ever did.
	recreation = time.Second
	calmMin    = 100 * time.Millisecond // first pause after a refused request
	calmMax    = 2 * time.Second        // longest such pause
)

// Defaults of [Config].
const (
	DefaultPrefetch  = 256
	DefaultMaxBytes  = 8 << 20
	DefaultHeartbeat = time.Second
)

// Config says where to pull from. Stream and Consumer are required.
type Config struct {
	Stream, Consumer string

	Prefetch  int           // most messages taken in advance; DefaultPrefetch
	MaxBytes  int           // most bytes asked for at once; DefaultMaxBytes
	Heartbeat time.Duration // of the server while it has nothing; DefaultHeartbeat

	// KeepAlive makes the loop tell the server at about this interval that each message it
	// holds, handed over or not, is in progress. Choose a third of AckWait. 0: never.
	KeepAlive time.Duration

	NoAck bool         // the consumer wants no verdicts; none is sent
	Log   *slog.Logger // nil logs nothing
}

func (c Config) withDefaults() Config {
	if c.Prefetch <= 0 {
		c.Prefetch = DefaultPrefetch
	}
	if c.MaxBytes <= 0 {
		c.MaxBytes = DefaultMaxBytes
	}
	if c.Heartbeat <= 0 {
		c.Heartbeat = DefaultHeartbeat
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// A Loop takes messages until it is stopped, the consumer is deleted or the connection is
// closed for good.
type Loop struct {
	cfg    Config
	js     jetstream.JetStream
	nc     *nats.Conn
	handle func(*Msg)
	inbox  string
	next   string // subject of a request
	pace   pace   // of the handler; run's own

	sub    *nats.Subscription
	status chan nats.Status
	wake   chan struct{} // something changed; one slot
	gone   chan struct{} // closed when the subscription has ended
	stop   chan struct{} // closed when the loop is to end
	done   chan struct{} // closed when it has ended

	timer *time.Timer // of run

	settled atomic.Uint64 // messages, altogether

	mu    sync.Mutex
	buf   queue
	flow  flow
	ended bool
	err   error
	held  map[*Msg]struct{} // not settled; nil without KeepAlive
	idle  chan struct{}     // closed when ended and nothing is held
}

// Start begins to pull. handle is called for one message at a time; it may block, and must
// see to it that each message is settled some time.
func Start(js jetstream.JetStream, cfg Config, handle func(*Msg)) (*Loop, error) {
	nc := js.Conn()
	l := &Loop{
		cfg: cfg.withDefaults(), js: js, nc: nc, handle: handle,
		inbox: nc.NewInbox(), next: nextSubject(js.Options(), cfg.Stream, cfg.Consumer),
		wake: make(chan struct{}, 1), gone: make(chan struct{}),
		stop: make(chan struct{}), done: make(chan struct{}),
		timer: time.NewTimer(time.Hour), idle: make(chan struct{}),
	}
	l.pace = newPace(l.cfg.Prefetch)
	sub, err := nc.Subscribe(l.inbox+".*", l.receive)
	if err != nil {
		return nil, fmt.Errorf("pull from %s/%s: %w", cfg.Stream, cfg.Consumer, err)
	}
	l.sub = sub
	// Bounded by what is asked for, and by MaxBytes per request; the client's own limits
	// would only drop what has to be settled.
	if err := sub.SetPendingLimits(-1, -1); err != nil {
		return nil, fmt.Errorf("pull from %s/%s: %w", cfg.Stream, cfg.Consumer, err)
	}
	sub.SetClosedHandler(func(string) { close(l.gone) })
	l.status = nc.StatusChanged(nats.CONNECTED, nats.CLOSED)
	if l.cfg.KeepAlive > 0 {
		l.held = make(map[*Msg]struct{})
		go l.keep() // ends when the loop has ended and everything is settled
	}
	go l.run() // ends with Stop, or by itself with Err
	return l, nil
}

// nextSubject is where requests for the next messages of a consumer go.
func nextSubject(o jetstream.JetStreamOptions, stream, consumer string) string {
	prefix := "$JS.API."
	switch {
	case o.APIPrefix != "":
		prefix = o.APIPrefix
		if prefix[len(prefix)-1] != '.' {
			prefix += "."
		}
	case o.Domain != "":
		prefix = "$JS." + o.Domain + ".API."
	}
	return prefix + "CONSUMER.MSG.NEXT." + stream + "." + consumer
}

// Stop ends the loop: nothing more is handed over, and what was taken goes back to the
// stream. It does not wait; it may be called from the handler, and more than once.
func (l *Loop) Stop() { l.end(nil) }

// Done is closed when the loop has ended and the server knows what was given back.
// Messages that were handed over may still be unsettled.
func (l *Loop) Done() <-chan struct{} { return l.done }

// Err says why the loop ended by itself: [ErrDeleted] or [ErrClosed]. It is nil before
// that, and after Stop.
func (l *Loop) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// Consumer is the name of the consumer.
func (l *Loop) Consumer() string { return l.cfg.Consumer }

// Buffered reports how many messages are taken and not yet handed over.
func (l *Loop) Buffered() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.len()
}

func (l *Loop) end(err error) {
	l.mu.Lock()
	if l.ended {
		l.mu.Unlock()
		return
	}
	l.ended, l.err = true, err
	back := l.buf.clear()
	if len(l.held) == 0 {
		close(l.idle)
	}
	l.mu.Unlock()
	close(l.stop)
	// What the server has sent up to now still arrives, in receive, and goes back as well.
	if err := l.sub.Drain(); err != nil {
		l.cfg.Log.Debug("pull subscription not drained", "stream", l.cfg.Stream, "consumer", l.cfg.Consumer, "error", err)
	}
	for _, m := range back {
		l.giveBack(m)
	}
}

func (l *Loop) giveBack(m *Msg) {
	if err := m.Nak(0); err != nil && !errors.Is(err, ErrSettled) {
		l.cfg.Log.Debug("message not given back", "stream", l.cfg.Stream, "consumer", l.cfg.Consumer, "sequence", m.Sequence, "error", err)
	}
}

func (l *Loop) run() {
	defer close(l.done)
	defer l.bye()
	for {
		m := l.take()
		if m == nil {
			l.ask(1)
			if !l.wait() {
				return
			}
			continue
		}
		if m.suspect() {
			l.pace.restart()
		} else {
			l.ask(0)
		}
		l.handle(m)
		if m.suspect() {
			l.isolate(m)
		}
	}
}

// take returns the next message, nil if there is none or the loop is to end.
func (l *Loop) take() *Msg {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.pop()
}

// wait blocks until there may be something to do. It reports false when the loop ends.
func (l *Loop) wait() bool {
	l.timer.Reset(l.patience())
	select {
	case <-l.stop:
		return false
	case <-l.wake:
	case <-l.timer.C:
	case s, ok := <-l.status:
		if !ok || s == nats.CLOSED {
			l.end(ErrClosed)
			return false
		}
		l.forget(0) // requests may have been lost with the connection
	}
	return l.check()
}

// isolate leaves a suspect alone until it has an outcome or a while has passed.
func (l *Loop) isolate(m *Msg) {
	l.timer.Reset(isolation)
	select {
	case <-m.done:
	case <-l.timer.C:
	case <-l.stop:
	}
}

// bye waits until the server sends no more.
func (l *Loop) bye() {
	l.nc.RemoveStatusListener(l.status)
	l.timer.Reset(farewell)
	select {
	case <-l.gone:
	case <-l.timer.C:
	}
	l.timer.Stop()
	if l.nc.IsConnected() {
		_ = l.nc.FlushTimeout(farewell) // if it fails, the server redelivers after AckWait
	}
}
