package mesh

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/signalmesh/signalmesh/pkg/codec"
	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/signal"
	"github.com/signalmesh/signalmesh/pkg/subject"
)

// queue is the group that all processes of a name form, so that one of them gets each call.
const queue = "mesh"

// maxWaiting is how many calls wait in one process for their turn; what comes beyond is
// dropped and its caller times out.
const maxWaiting = 4096

// A Responder handles a signal and may answer with another one; nil answers that it went
// well. It is called by several goroutines at a time. ctx ends when the caller gives up or
// with [Named.Stop].
type Responder func(ctx context.Context, s *signal.Signal) (*signal.Signal, error)

// Named is a named target that this process serves, until [Named.Stop] or [Named.Drain] or
// the end of the connection.
type Named struct {
	name    string
	log     *slog.Logger
	nc      *nats.Conn
	sub     *nats.Subscription
	respond Responder

	ctx   context.Context //nolint:containedctx // of the handlers; ends with Stop
	stop  context.CancelFunc
	slots chan struct{}
	calls sync.WaitGroup
	done  chan struct{}
}

// ServeNamed lets this process answer calls of the named target with h. The error that h
// returns is what the caller gets, advice included. ctx bounds the call only; calls can
// arrive when ServeNamed has returned.
//
// Any number of processes may serve a name and share its calls.
func ServeNamed(ctx context.Context, nc *nats.Conn, name string, h signal.Handler, opts ...ServeOption) (*Named, error) {
	return ServeReply(ctx, nc, name, func(ctx context.Context, s *signal.Signal) (*signal.Signal, error) {
		return nil, h(ctx, s)
	}, opts...)
}

// ServeReply is [ServeNamed] for a target that answers with signals.
func ServeReply(ctx context.Context, nc *nats.Conn, name string, r Responder, opts ...ServeOption) (*Named, error) {
	cfg := serveConfig{log: slog.Default(), concurrency: 64}
	for _, o := range opts {
		o.applyServe(&cfg)
	}
	if err := subject.CheckName("target", name); err != nil {
		return nil, err
	}
	n := &Named{
		name: name, log: cfg.log, nc: nc, respond: r,
		slots: make(chan struct{}, cfg.concurrency), done: make(chan struct{}),
	}
	n.ctx, n.stop = context.WithCancel(context.WithoutCancel(ctx))
	if err := n.subscribe(ctx, cfg.space.Named(name)); err != nil {
		n.stop()
		return nil, fmt.Errorf("serve %s: %w", name, unavailable(err))
	}
	go n.run() // ends with Stop, Drain or the connection
	return n, nil
}

// subscribe returns when the server knows of the subscription.
func (n *Named) subscribe(ctx context.Context, subj string) error {
	sub, err := n.nc.QueueSubscribeSync(subj, queue)
	if err != nil {
		return err
	}
	n.sub = sub
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if err := errors.Join(sub.SetPendingLimits(maxWaiting, -1), n.nc.FlushWithContext(ctx)); err != nil {
		return errors.Join(err, sub.Unsubscribe())
	}
	return nil
}

// run takes calls until the subscription ends, then waits for those that are running.
func (n *Named) run() {
	defer close(n.done)
	defer n.stop()
	defer n.calls.Wait()
	for {
		m, err := n.sub.NextMsgWithContext(n.ctx)
		switch {
		case errors.Is(err, nats.ErrSlowConsumer):
			n.log.Warn("calls of named target dropped", "target", n.name, "waiting", maxWaiting)
		case errors.Is(err, nats.ErrNoResponders): // a message that looks like that status
		case err != nil: // stopped, drained, or the connection was closed
			_ = n.sub.Unsubscribe() // which says no more than that it has ended
			return
		default:
			n.take(m)
		}
	}
}

// take waits for a free slot.
func (n *Named) take(m *nats.Msg) {
	select {
	case n.slots <- struct{}{}:
	case <-n.ctx.Done():
		n.send(m, reply(nil, fault.Newf(fault.Unavailable, "this process stops serving the name")))
		return
	}
	n.calls.Go(func() {
		defer func() { <-n.slots }()
		n.answer(m)
	})
}

func (n *Named) answer(m *nats.Msg) {
	out := reply(n.handle(m))
	if limit := n.nc.MaxPayload(); int64(out.Size()) > limit {
		out = reply(nil, fault.Permanent(fault.Newf(fault.TooLarge, "the reply has %d bytes, more than %d", out.Size(), limit)))
	}
	n.send(m, out)
}

func (n *Named) send(m, out *nats.Msg) {
	if err := m.RespondMsg(out); err != nil && m.Reply != "" {
		n.log.Warn("reply of named target lost", "target", n.name, "err", err)
	}
}

func (n *Named) handle(m *nats.Msg) (out *signal.Signal, err error) {
	s, err := codec.FromNATS(m.Header, m.Data)
	if err != nil {
		return nil, fault.Permanent(err)
	}
	ctx := n.ctx
	if wait, err := time.ParseDuration(m.Header.Get(HeaderTimeout)); err == nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, wait)
		defer cancel()
	}
	defer func() {
		if v := recover(); v != nil {
			n.log.Error("named target panicked", "target", n.name, "signal_id", s.ID, "panic", v, "stack", string(debug.Stack()))
			out, err = nil, fault.Newf(fault.Internal, "the handler panicked: %v", v)
		}
	}()
	return n.respond(signal.NewContext(ctx, s), s)
}

// Name is the name that is served.
func (n *Named) Name() string { return n.name }

// Done is closed when no call is taken or running any more.
func (n *Named) Done() <-chan struct{} { return n.done }

// Stop ends it now: handlers see their context end, and Stop returns when they have
// returned. Calls that were waiting for their turn are not answered.
func (n *Named) Stop() {
	n.stop()
	<-n.done
}

// Drain takes no more calls, finishes those that have arrived, and returns. When ctx ends
// first it stops the rest and returns the error of ctx.
func (n *Named) Drain(ctx context.Context) error {
	if err := n.sub.Drain(); err != nil {
		n.Stop()
		return nil //nolint:nilerr // closed already: nothing is left to finish
	}
	select {
	case <-n.done:
		return nil
	case <-ctx.Done():
		n.Stop()
		return fmt.Errorf("drain %s: %w", n.name, ctx.Err())
	}
}
