package bus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/signalmesh/signalmesh/pkg/codec"
	"github.com/signalmesh/signalmesh/pkg/delivery"
	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/internal/pull"
	"github.com/signalmesh/signalmesh/pkg/pattern"
	"github.com/signalmesh/signalmesh/pkg/signal"
	"github.com/signalmesh/signalmesh/pkg/subject"
)

// ConsumeConfig describes a durable consumer. Durable is required.
type ConsumeConfig struct {
	// Durable is its name. All that consume under it, here and elsewhere, share the
	// messages. Subscriptions have their names behind "sub-".
	Durable string

	// Patterns select signals; none means all. What arrives and does not match the pattern
	// after all is acknowledged and not handed over.
	Patterns []pattern.Pattern

	// Later, when set, consumes requests to run a delivery of this kind instead of signals,
	// those for LaterName only unless that is empty. Then Message.Signal is nil and the body
	// is a delivery.Request in JSON. An acknowledged request is gone.
	Later     delivery.Kind
	LaterName string

	// Start is where a consumer that does not exist yet begins; nil is [FromCurrent]. It
	// means nothing for one that exists, nor for Later.
	Start StartOption

	MaxAckPending int           // messages without a verdict, over all members; 1000 by default
	AckWait       time.Duration // without a sign of life before another member gets a message; 30 s by default

	// KeepAlive gives that sign of life for every message that this process holds, until it
	// is settled. Otherwise it is for the handler to call Message.InProgress.
	KeepAlive bool

	Metadata map[string]string // kept with the consumer
}

// A Message is one message of the bus, held until it is settled: acknowledged, given back
// or terminated. Its methods may be called from any goroutine; a second verdict is an error
// coded Conflict. Verdicts do not wait for the server: when the connection breaks before
// one arrives, the message comes again.
type Message struct {
	Signal    *signal.Signal // nil when DecodeErr is not, and for Later
	DecodeErr error          // why the message is not a signal
	Subject   string
	Header    map[string][]string
	Body      []byte
	Sequence  uint64    // position in the stream
	Stored    time.Time // when the stream got it
	Delivered int       // how often it was delivered, this time included
	Pending   uint64    // how many more there were when it was delivered

	msg  *pull.Msg // nil for what wants no verdict
	done func()    // called when it is settled
}

// Ack says that the message is dealt with.
func (m *Message) Ack() error { return m.settle(func(p *pull.Msg) error { return p.Ack() }) }

// NakWithDelay gives the message back, to be delivered again after d, and counts against
// MaxAckPending meanwhile. A d of zero is at once.
func (m *Message) NakWithDelay(d time.Duration) error {
	return m.settle(func(p *pull.Msg) error { return p.Nak(d) })
}

// Term says that the message is never to be delivered again.
func (m *Message) Term(reason string) error {
	return m.settle(func(p *pull.Msg) error { return p.Term(reason) })
}

// InProgress makes AckWait start again.
func (m *Message) InProgress() error {
	if m.msg == nil {
		return nil
	}
	return settleError(m.msg.InProgress())
}

func (m *Message) settle(verdict func(*pull.Msg) error) error {
	if m.msg == nil {
		return nil
	}
	err := verdict(m.msg)
	if !errors.Is(err, pull.ErrSettled) && m.done != nil {
		m.done()
	}
	return settleError(err)
}

func settleError(err error) error {
	if errors.Is(err, pull.ErrSettled) {
		return fault.Wrap(fault.Conflict, err)
	}
	return coded(err)
}

// A Consumer takes messages off the bus until it is stopped.
type Consumer struct {
	b    *Bus
	loop *pull.Loop
	out  sync.WaitGroup // messages handed over and not settled
	done chan struct{}
}

// Consume takes messages off the bus as a member of a durable consumer, which is made if it
// does not exist; the settings of one that exists are changed to these. handle is called
// for one message at a time, in the order of the stream but for what is delivered again. It
// may block, which is back-pressure, and must see to it that each message is settled some
// time, as a rule on another goroutine. The context bounds the call.
//
// A message that was delivered twice before without a verdict may be what crashes the
// process. It is handed over alone: nothing else follows until it is settled or a second
// has passed.
//
// It is the ground under subscriptions, routes and the journal; most programs want
// [Bus.Subscribe].
func (b *Bus) Consume(ctx context.Context, cfg ConsumeConfig, handle func(*Message)) (*Consumer, error) {
	c, err := b.consume(ctx, cfg, handle)
	if err != nil {
		return nil, fmt.Errorf("consume %.64s: %w", cfg.Durable, err)
	}
	return c, nil
}

func (b *Bus) consume(ctx context.Context, cfg ConsumeConfig, handle func(*Message)) (*Consumer, error) {
	if err := subject.CheckName("consumer", cfg.Durable); err != nil {
		return nil, err
	}
	if cfg.MaxAckPending == 0 {
		cfg.MaxAckPending = DefaultMaxInFlight
	}
	if cfg.AckWait == 0 {
		cfg.AckWait = DefaultAckWait
	}
	stream := b.space.Stream(b.name)
	if cfg.Later != "" {
		stream = b.space.LaterStream(b.name)
	}
	if err := b.ensureConsumer(ctx, stream, cfg); err != nil {
		return nil, err
	}
	c := &Consumer{b: b, done: make(chan struct{})}
	pc := pull.Config{Stream: stream, Consumer: cfg.Durable, Log: b.log}
	if cfg.KeepAlive {
		pc.KeepAlive = cfg.AckWait / 3
	}
	var err error
	var refused error
	begin := make(chan struct{})
	c.loop, err = pull.Start(b.js, pc, func(p *pull.Msg) {
		if <-begin; refused != nil {
			_ = p.Nak(0) // or it comes back after AckWait
			return
		}
		c.hand(cfg, p, handle)
	})
	if err != nil {
		return nil, coded(err)
	}
	if refused = b.adopt(c); refused != nil {
		c.loop.Stop()
	}
	close(begin)
	go func() { // ends with the loop
		<-c.loop.Done()
		b.disown(c)
		close(c.done)
	}()
	return c, refused
}

// hand decodes a message and hands it over, unless it does not match after all.
func (c *Consumer) hand(cfg ConsumeConfig, p *pull.Msg, handle func(*Message)) {
	m := newMessage(p, cfg.Later != "")
	c.out.Add(1)
	m.done = c.out.Done
	if cfg.Later == "" && !c.b.matches(m, cfg.Patterns) {
		_ = m.Ack() // lost with the connection, it comes and goes once more
		return
	}
	handle(m)
}

func newMessage(p *pull.Msg, raw bool) *Message {
	m := &Message{
		Subject: p.Subject, Header: p.Header, Body: p.Data, Sequence: p.Sequence,
		Stored: p.Stored, Delivered: p.Delivered, Pending: p.Pending, msg: p,
	}
	if !raw {
		m.Signal, m.DecodeErr = codec.FromNATS(p.Header, p.Data)
	}
	return m
}

// matches runs the patterns over the real type of a message, or over what its subject says
// where there is no signal in it.
func (b *Bus) matches(m *Message, patterns []pattern.Pattern) bool {
	if len(patterns) == 0 {
		return true
	}
	var typ string
	if m.Signal != nil {
		typ = m.Signal.Type
	} else {
		_, typ, _ = b.space.Parse(m.Subject)
	}
	return slices.ContainsFunc(patterns, func(p pattern.Pattern) bool { return p.Match(typ) })
}

// Stop ends it: nothing more is handed over, and what was taken and not handed over goes
// back to the bus at once. What was handed over is still the handler's to settle. Stop does
// not wait, and may be called from the handler and more than once.
func (c *Consumer) Stop() { c.loop.Stop() }

// Drain stops and waits until everything that was handed over is settled and the server
// knows. It returns the error of ctx when that ends first.
func (c *Consumer) Drain(ctx context.Context) error {
	c.Stop()
	settled := make(chan struct{})
	go func() { // ends when the last message is settled
		<-c.done
		c.out.Wait()
		close(settled)
	}()
	select {
	case <-settled:
		flush, cancel := bounded(ctx)
		defer cancel()
		return coded(c.b.nc.FlushWithContext(flush))
	case <-ctx.Done():
		return fmt.Errorf("drain consumer: %w", ctx.Err())
	}
}

// Done is closed when nothing more will be handed over.
func (c *Consumer) Done() <-chan struct{} { return c.done }

// Err says why it ended without Stop: coded NotFound when the consumer was deleted, and
// Unavailable when the connection was closed.
func (c *Consumer) Err() error { return loopError(c.loop.Err()) }

func loopError(err error) error {
	switch {
	case errors.Is(err, pull.ErrDeleted):
		return fault.Wrap(fault.NotFound, err)
	case err != nil:
		return fault.Wrap(fault.Unavailable, err)
	}
	return nil
}

// ensureConsumer makes the consumer, or changes one that exists.
func (b *Bus) ensureConsumer(ctx context.Context, stream string, cfg ConsumeConfig) error {
	live, err := b.js.Consumer(ctx, stream, cfg.Durable)
	if errors.Is(err, jetstream.ErrConsumerNotFound) {
		want, err := b.consumerConfig(ctx, cfg)
		if err != nil {
			return err
		}
		_, err = b.js.CreateConsumer(ctx, stream, want)
		if !errors.Is(err, jetstream.ErrConsumerExists) {
			return coded(err)
		}
		// Another member was faster and began a little earlier.
		live, err = b.js.Consumer(ctx, stream, cfg.Durable)
		if err != nil {
			return coded(err)
		}
	} else if err != nil {
		return coded(err)
	}
	have := live.CachedInfo().Config
	want := have
	want.FilterSubjects, want.FilterSubject = b.filters(cfg), ""
	want.MaxAckPending, want.AckWait = cfg.MaxAckPending, cfg.AckWait
	want.Metadata = merged(have.Metadata, cfg.Metadata)
	if have.MaxAckPending == want.MaxAckPending && have.AckWait == want.AckWait &&
		slices.Equal(filtersOf(have), want.FilterSubjects) && len(have.Metadata) == len(want.Metadata) && covered(have.Metadata, cfg.Metadata) {
		return nil
	}
	_, err = b.js.UpdateConsumer(ctx, stream, want)
	return coded(err)
}

// consumerConfig is how a consumer is made. MaxDeliver is off, because the engine forgets a
// message beyond it; BackOff is empty, because it adds to every other delay; and it begins
// at a sequence or a time, because only then can it be reset later.
func (b *Bus) consumerConfig(ctx context.Context, cfg ConsumeConfig) (jetstream.ConsumerConfig, error) {
	c := jetstream.ConsumerConfig{
		Durable: cfg.Durable, AckPolicy: jetstream.AckExplicitPolicy, AckWait: cfg.AckWait,
		MaxDeliver: -1, MaxAckPending: cfg.MaxAckPending, FilterSubjects: b.filters(cfg), Metadata: cfg.Metadata,
	}
	if cfg.Later != "" {
		c.DeliverPolicy = jetstream.DeliverAllPolicy // a work queue has no other
		return c, nil
	}
	var at subscribeConfig
	if cfg.Start != nil {
		cfg.Start.subscribe(&at)
	}
	err := b.begin(ctx, &c, at.start)
	return c, err
}

// begin sets where a consumer of the bus starts.
func (b *Bus) begin(ctx context.Context, c *jetstream.ConsumerConfig, at start) error {
	switch {
	case !at.time.IsZero():
		c.DeliverPolicy, c.OptStartTime = jetstream.DeliverByStartTimePolicy, &at.time
	case at.sequence > 0:
		c.DeliverPolicy, c.OptStartSeq = jetstream.DeliverByStartSequencePolicy, at.sequence
	default:
		last, err := b.Last(ctx)
		if err != nil {
			return err
		}
		c.DeliverPolicy, c.OptStartSeq = jetstream.DeliverByStartSequencePolicy, last+1
	}
	return nil
}

// filters are those of the patterns; none lets everything through, which costs least.
func (b *Bus) filters(cfg ConsumeConfig) []string {
	if cfg.Later != "" {
		if cfg.LaterName != "" {
			return []string{b.space.Later(b.name, string(cfg.Later), cfg.LaterName)}
		}
		return []string{strings.TrimSuffix(b.space.Later(b.name, string(cfg.Later), "x"), "x") + "*"}
	}
	return b.patternFilters(cfg.Patterns)
}

func (b *Bus) patternFilters(patterns []pattern.Pattern) []string {
	if len(patterns) == 0 {
		return nil
	}
	filters, _ := b.space.Filters(b.name, patterns...)
	if slices.Equal(filters, []string{b.space.All(b.name)}) {
		return nil
	}
	return filters
}

// filtersOf undoes that the server gives a single filter back in a field of its own.
func filtersOf(c jetstream.ConsumerConfig) []string {
	if c.FilterSubject != "" {
		return []string{c.FilterSubject}
	}
	return c.FilterSubjects
}

func merged(have, more map[string]string) map[string]string {
	all := make(map[string]string, len(have)+len(more))
	for k, v := range have {
		all[k] = v
	}
	for k, v := range more {
		all[k] = v
	}
	return all
}

func covered(have, want map[string]string) bool {
	for k, v := range want {
		if have[k] != v {
			return false
		}
	}
	return true
}

var _ part = (*Consumer)(nil)
