package bus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/signalmesh/signalmesh/pkg/delivery"
	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/internal/pull"
	"github.com/signalmesh/signalmesh/pkg/pattern"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

// Names of what a durable subscription leaves in the metadata of its consumer.
const (
	metaPattern = "signalmesh.pattern"
	metaKind    = "signalmesh.kind"
)

// consumerOf is the consumer of a durable subscription. The prefix keeps it apart from the
// mesh's own.
func consumerOf(subscription string) string { return "sub-" + subscription }

// Subscribe calls h for every signal whose type matches the pattern. The returned error of
// h is the whole delivery protocol: nil acknowledges, fault.Permanent gives up at once,
// fault.RetryAfter waits at least so long, anything else, a panic included, is tried again
// with backoff. What is given up becomes a dead letter.
//
// Without [Durable] the subscription has a position of its own that begins now, is kept in
// memory and ends with the process. It retries likewise, but what it gives up is only
// logged and counted. See the package documentation for the promises.
//
// The context bounds the call; its values, not its end, reach the handler. A handler's
// context ends with [Subscription.Stop] and carries the signal, so that what it publishes
// is an effect, and its [Position].
//
// Errors are coded Invalid for a bad pattern or option, and Conflict when a durable
// subscription of the name exists with another pattern.
func (b *Bus) Subscribe(ctx context.Context, on string, h signal.Handler, opts ...SubscribeOption) (*Subscription, error) {
	s, err := b.subscribe(ctx, on, h, opts)
	if err != nil {
		return nil, fmt.Errorf("subscribe to %.256s: %w", on, err)
	}
	return s, nil
}

func (b *Bus) subscribe(ctx context.Context, on string, h signal.Handler, opts []SubscribeOption) (*Subscription, error) {
	p, err := pattern.Parse(on)
	if err != nil {
		return nil, err
	}
	cfg, err := newSubscribeConfig(opts)
	if err != nil {
		return nil, err
	}
	if h == nil {
		return nil, fault.Newf(fault.Invalid, "handler is nil")
	}
	life, cancel := context.WithCancel(context.WithoutCancel(ctx))
	s := newSubscription(b, p, b.Wrap(h), cfg, cancel)
	if cfg.name == "" {
		err = s.follow(ctx, life)
	} else {
		err = s.join(ctx, life)
	}
	if err == nil {
		err = b.adopt(s)
	}
	go s.watch() // ends when the subscription has
	if err != nil {
		s.Stop()
		<-s.done
		return nil, err
	}
	return s, nil
}

// follow reads the bus from a position of its own.
func (s *Subscription) follow(ctx, life context.Context) error {
	config := jetstream.ConsumerConfig{FilterSubjects: s.b.patternFilters([]pattern.Pattern{s.pattern})}
	if err := s.b.begin(ctx, &config, s.cfg.start); err != nil {
		return err
	}
	t, _, err := s.b.newTail(ctx, s.b.space.Stream(s.b.name), config, func(p *pull.Msg) {
		m := newMessage(p, false)
		m.msg = nil // it wants no verdict
		s.accept(life, m)
	})
	if t != nil {
		s.sources = append(s.sources, t)
	}
	return err
}

// join becomes a member of a durable subscription: of its signals, and of what is to be run
// again for it alone.
func (s *Subscription) join(ctx, life context.Context) error {
	if err := s.agree(ctx); err != nil {
		return err
	}
	cfg := ConsumeConfig{
		Durable: consumerOf(s.cfg.name), Patterns: []pattern.Pattern{s.pattern},
		MaxAckPending: s.cfg.maxInFlight, AckWait: s.cfg.ackWait, KeepAlive: true,
		Metadata: map[string]string{metaKind: string(delivery.KindSubscription), metaPattern: s.pattern.String()},
	}
	if s.cfg.start.given {
		cfg.Start = startOption(s.cfg.start)
	}
	signals, err := s.b.Consume(ctx, cfg, func(m *Message) { s.accept(life, m) })
	if err != nil {
		return err
	}
	s.sources = append(s.sources, signals)
	cfg.Patterns, cfg.Start = nil, nil
	cfg.Later, cfg.LaterName = delivery.KindSubscription, s.cfg.name
	again, err := s.b.Consume(ctx, cfg, func(m *Message) { s.again(life, m) })
	if err == nil {
		s.sources = append(s.sources, again)
	}
	return err
}

// agree makes sure that all members of a durable subscription have the same pattern.
func (s *Subscription) agree(ctx context.Context) error {
	live, err := s.b.js.Consumer(ctx, s.b.space.Stream(s.b.name), consumerOf(s.cfg.name))
	if errors.Is(err, jetstream.ErrConsumerNotFound) {
		return nil
	}
	if err != nil {
		return coded(err)
	}
	have := live.CachedInfo().Config.Metadata[metaPattern]
	if have == s.pattern.String() || have == "" || s.cfg.rebind {
		return nil
	}
	return fault.Hint(fault.Newf(fault.Conflict, "subscription %s exists with the pattern %s", s.cfg.name, have),
		"stop its members and subscribe with bus.Rebind to keep its position, or delete it to begin anew")
}

// A Place says which signal, and which try at it, a handler's context belongs to.
type Place struct {
	Subscription string    // name of a durable subscription
	Sequence     uint64    // position of the signal on the bus
	Stored       time.Time // when the bus got it; zero for one that is redriven
	Attempt      int       // 1 is the first
}

type placeKey struct{}

// Position says where the handler with this context is; false outside of a handler.
func Position(ctx context.Context) (Place, bool) {
	p, ok := ctx.Value(placeKey{}).(Place)
	return p, ok
}
