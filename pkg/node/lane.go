package node

import (
	"context"
	"fmt"

	"github.com/signalmesh/signalmesh/pkg/agent"
	"github.com/signalmesh/signalmesh/pkg/bus"
	"github.com/signalmesh/signalmesh/pkg/config"
	"github.com/signalmesh/signalmesh/pkg/dispatch"
	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/journal"
	"github.com/signalmesh/signalmesh/pkg/netguard"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

// A lane is all that a node runs for one bus.
type lane struct {
	bus      *bus.Bus
	journal  *journal.Journal
	recorder *journal.Recorder
	agent    *agent.Agent
}

// openLanes opens the buses: their streams, journals and agents.
func (n *Node) openLanes(ctx context.Context, undo *stack) error {
	env := n.environment()
	for _, b := range n.cfg.Buses {
		l, err := n.openLane(ctx, b, env, undo)
		if err != nil {
			return fmt.Errorf("bus %s: %w", b.Name, err)
		}
		n.lanes = append(n.lanes, l)
	}
	tasks := make([]task, len(n.lanes))
	for i, l := range n.lanes {
		tasks[i] = task{"journal of bus " + l.bus.Name(), l.recorded}
	}
	n.keep(ctx, undo, tasks...)
	return nil
}

// recorded waits for the end of the recorder, which should not come before that of ctx.
func (l *lane) recorded(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-l.recorder.Done():
		return l.recorder.Err()
	}
}

// runAgents starts to route and deliver as soon as there are routes.
func (n *Node) runAgents(ctx context.Context, undo *stack) error {
	tasks := make([]task, len(n.lanes))
	for i, l := range n.lanes {
		tasks[i] = task{"agent of bus " + l.bus.Name(), func(ctx context.Context) error {
			select {
			case <-n.routed:
			case <-ctx.Done(): // Run still closes what was opened
			}
			return l.agent.Run(ctx)
		}}
	}
	n.keep(ctx, undo, tasks...)
	return nil
}

func (n *Node) openLane(ctx context.Context, b config.Bus, env dispatch.Env, undo *stack) (*lane, error) {
	l := new(lane)
	var err error
	l.bus, err = patiently(ctx, n, "bus "+b.Name, func() (*bus.Bus, error) {
		return bus.Open(ctx, n.conn, bus.Named(b.Name), bus.WithSpace(n.space), bus.Replicas(b.Replicas), bus.WithNode(n.Name()), bus.WithLogger(n.log))
	})
	if err != nil {
		return nil, err
	}
	undo.push(l.bus.Close)
	l.journal, err = patiently(ctx, n, "journal of bus "+b.Name, func() (*journal.Journal, error) {
		return journal.Open(ctx, n.conn, journal.For(b.Name), journal.WithSpace(n.space), journal.Replicas(b.Replicas), journal.WithLogger(n.log))
	})
	if err != nil {
		return nil, err
	}
	undo.push(l.journal.Close)
	l.recorder, err = patiently(ctx, n, "journal of bus "+b.Name, func() (*journal.Recorder, error) { return l.journal.Follow(ctx) })
	if err != nil {
		return nil, err
	}
	undo.push(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), letGo)
		defer cancel()
		if err := l.recorder.Drain(ctx); err != nil {
			n.log.WarnContext(ctx, "the journal will catch up later", "bus", b.Name, "error", err)
		}
	})
	n.gauges(l)
	env.Bus = b.Name
	l.agent = agent.New(agent.Config{
		Bus: l.bus, Journal: l.journal, Env: env, Carried: b.Dispatch, Node: n.Name(),
		MaxHops: b.MaxHops, Log: n.log, Metrics: n.metrics,
	})
	return l, nil
}

// environment is what the adapters of this node may use.
func (n *Node) environment() dispatch.Env {
	return dispatch.Env{
		Conn: n.conn, Space: n.space.Prefix(), Node: n.Name(), Version: n.opts.Version,
		Guard: netguard.New(n.cfg.Network.Allow...), Log: n.log, Stdout: n.opts.Stdout,
		Publish: n.publish,
	}
}

// publish puts a signal on one of the node's buses, for the adapter that connects buses.
func (n *Node) publish(ctx context.Context, name string, s *signal.Signal) error {
	l, err := n.lane(name)
	if err != nil {
		return fault.Permanent(err)
	}
	return l.bus.Publish(ctx, s)
}

// lane finds a bus by name; "" is the first one.
func (n *Node) lane(name string) (*lane, error) {
	if name == "" {
		return n.lanes[0], nil
	}
	for _, l := range n.lanes {
		if l.bus.Name() == name {
			return l, nil
		}
	}
	return nil, fault.Hint(fault.Newf(fault.NotFound, "this node has no bus %.64q", name), "buses are named under buses: in the node's configuration")
}
