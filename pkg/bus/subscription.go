package bus

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/signalmesh/signalmesh/pkg/pattern"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

// A Subscription is one member of a durable subscription, or an ephemeral one. Its methods
// may be called from any goroutine, Stop also from its handler.
type Subscription struct {
	b       *Bus
	pattern pattern.Pattern
	handler signal.Handler
	cfg     subscribeConfig
	halt    context.CancelFunc // ends the handlers' context

	slots   chan struct{}  // one per handler that runs
	room    chan struct{}  // one per signal without an outcome
	work    sync.WaitGroup // deliveries under way
	sources []source       // complete before Subscribe returns
	lanes   lanes          // with OrderBy
	book    *book          // nil without ManualAck
	counts  counts
	done    chan struct{}

	mu  sync.Mutex
	err error
}

// source is where signals come from.
type source interface {
	part
	Err() error
}

func newSubscription(b *Bus, p pattern.Pattern, h signal.Handler, cfg subscribeConfig, halt context.CancelFunc) *Subscription {
	s := &Subscription{
		b: b, pattern: p, handler: h, cfg: cfg, halt: halt,
		slots: make(chan struct{}, cfg.concurrency), room: make(chan struct{}, cfg.maxInFlight),
		done: make(chan struct{}), lanes: lanes{last: make(map[string]chan struct{})},
	}
	if cfg.manual {
		s.book = newBook(cfg.ackWait)
		s.halt = func() { halt(); s.book.end() }
	}
	return s
}

// Name is the name of a durable subscription, "" for an ephemeral one.
func (s *Subscription) Name() string { return s.cfg.name }

// Pattern is what the subscription selects.
func (s *Subscription) Pattern() pattern.Pattern { return s.pattern }

// Stop ends the subscription now: no further attempt begins, and the contexts of running
// handlers end. A handler that still returns nil has handled its signal; every other signal
// of a durable subscription goes back to the bus, where the other members, or the next one
// of the name, have it at once. Stop does not wait; see [Subscription.Done].
func (s *Subscription) Stop() {
	s.halt()
	s.close()
}

// Drain ends the subscription when what it has begun has an outcome: nothing more is taken,
// handlers run to their end, and retries are made. It returns when the server knows. When
// ctx ends first the rest is stopped, as with Stop, and the error is that of ctx.
func (s *Subscription) Drain(ctx context.Context) error {
	s.close()
	select {
	case <-s.done:
		return nil
	case <-ctx.Done():
	}
	s.halt()
	<-s.done
	return fmt.Errorf("drain subscription %s: %w", s.cfg.name, ctx.Err())
}

// Done is closed when the subscription has ended: no handler runs, and the server knows the
// outcome of everything.
func (s *Subscription) Done() <-chan struct{} { return s.done }

// Err says why the subscription ended by itself: coded NotFound when it was deleted,
// Unavailable when the connection was closed. It is nil before that, and after Stop or
// Drain.
func (s *Subscription) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// close takes nothing more.
func (s *Subscription) close() {
	for _, src := range s.sources {
		src.Stop()
	}
}

// watch waits for the end of the subscription.
func (s *Subscription) watch() {
	var ends sync.WaitGroup
	for _, src := range s.sources {
		ends.Go(func() {
			<-src.Done()
			if err := src.Err(); err != nil {
				s.fail(err)
			}
		})
	}
	ends.Wait()
	s.work.Wait()
	s.halt()
	if s.b.nc.IsConnected() {
		_ = s.b.nc.FlushTimeout(answerTimeout) // what the server does not know comes again
	}
	s.b.disown(s)
	close(s.done)
}

// fail ends the subscription because a source has.
func (s *Subscription) fail(err error) {
	s.mu.Lock()
	first := s.err == nil
	if first {
		s.err = err
	}
	s.mu.Unlock()
	if first {
		s.b.log.Warn("subscription ended", "subscription", s.cfg.name, "pattern", s.pattern.String(), "error", err)
	}
	s.Stop()
}

// Stats counts what a subscription has done since it began, in this process.
type Stats struct {
	Handled     uint64 // signals whose handler succeeded
	Failed      uint64 // attempts that failed
	Dead        uint64 // signals that were given up
	Skipped     uint64 // signals that the filter turned down
	Expired     uint64 // signals whose expirytime came before a handler did
	Undecodable uint64 // messages that are no signals
	InFlight    int    // signals without an outcome
}

type counts struct{ handled, failed, dead, skipped, expired, undecodable atomic.Uint64 }

// Stats returns the counts so far.
func (s *Subscription) Stats() Stats {
	return Stats{
		Handled: s.counts.handled.Load(), Failed: s.counts.failed.Load(), Dead: s.counts.dead.Load(),
		Skipped: s.counts.skipped.Load(), Expired: s.counts.expired.Load(), Undecodable: s.counts.undecodable.Load(), InFlight: len(s.room),
	}
}

var _ part = (*Subscription)(nil)
