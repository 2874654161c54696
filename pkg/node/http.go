package node

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/signalmesh/signalmesh/pkg/agent"
	"github.com/signalmesh/signalmesh/pkg/api"
	"github.com/signalmesh/signalmesh/pkg/embed"
	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/journal"
)

// letGo is how long requests may finish when the node drains.
const letGo = 5 * time.Second

// listen takes the address of the HTTP surface, before anything else: it may be in use.
// Who connects already is answered when the node serves.
func (n *Node) listen(ctx context.Context, undo *stack) error {
	host, port, err := splitListen(n.cfg.HTTP.Listen)
	if err != nil {
		return err
	}
	listen := embed.ListenOn
	if n.opts.NextFreeHTTP {
		listen = embed.Listen
	}
	if n.listener, err = listen(ctx, host, port); err != nil {
		return fmt.Errorf("listen for HTTP: %w", err)
	}
	undo.push(func() { _ = n.listener.Close() }) // serving has closed it as a rule
	return nil
}

// serve answers HTTP. A server that dies ends the node.
func (n *Node) serve(ctx context.Context, undo *stack) error {
	server := api.NewServer(api.New(n.surface()))
	server.MaxHeaderBytes = int(n.cfg.HTTP.MaxHeaders)
	done := make(chan struct{})
	go func() { // ends with Shutdown
		defer close(done)
		if err := server.Serve(n.listener); !errors.Is(err, http.ErrServerClosed) {
			n.fail(fmt.Errorf("serve HTTP: %w", err))
		}
	}()
	undo.push(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), letGo)
		defer cancel()
		if err := server.Shutdown(ctx); err != nil {
			n.log.WarnContext(ctx, "requests were cut off", "error", err)
			_ = server.Close() // what it could say is said
		}
		<-done
	})
	return nil
}

// surface is what the node serves.
func (n *Node) surface() api.Config {
	c := api.Config{
		Buses: make(map[string]api.Bus), DefaultBus: n.lanes[0].bus.Name(), Hooks: n.hook,
		Node: n.Name(), Metrics: n.metrics, Log: n.log, MaxBody: int64(n.cfg.HTTP.MaxBody),
		Facts: map[string]string{"durability": n.Durability(), "version": n.opts.Version},
		Checks: []api.Check{
			{Name: "nats", Check: n.checkNATS},
			{Name: "routes", Check: n.checkRoutes, Advisory: true},
			{Name: "mesh", Check: n.checkMesh, Advisory: true},
		},
	}
	for _, l := range n.lanes {
		c.Buses[l.bus.Name()] = api.Bus{
			Publisher: l.bus, History: l.bus, Journal: l.journal, Quarantine: l.bus.DeadLetters(),
			Explain: func(ctx context.Context, id string, opts ...journal.LookupOption) (any, error) {
				return agent.Why(ctx, l.journal, n.table.Load().table, id, opts...)
			},
		}
		c.Checks = append(c.Checks, api.Check{Name: "bus " + l.bus.Name(), Check: func(ctx context.Context) error {
			_, err := l.bus.Last(ctx)
			return err
		}})
	}
	return c
}

func (n *Node) checkNATS(context.Context) error {
	if !n.conn.IsConnected() {
		return fault.Newf(fault.Unavailable, "not connected (%s)", n.conn.Status())
	}
	if n.server != nil {
		return n.server.Healthy()
	}
	return nil
}

// checkRoutes reports why the newest routes are not in force, if they are not.
func (n *Node) checkRoutes(context.Context) error { return n.table.Load().err }
