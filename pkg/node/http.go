package node

import (
	"context"
	"errors"
	"fmt"
	"net"
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

// serve opens the HTTP surface. fail ends the node when the server dies.
func (n *Node) serve(ctx context.Context, undo *stack, fail context.CancelCauseFunc) error {
	listener, err := n.listen(ctx)
	if err != nil {
		return fmt.Errorf("listen for HTTP on %s: %w", n.cfg.HTTP.Listen, err)
	}
	n.listener = listener
	server := api.NewServer(api.New(n.surface()))
	server.MaxHeaderBytes = int(n.cfg.HTTP.MaxHeaders)
	done := make(chan struct{})
	go func() { // ends with Shutdown
		defer close(done)
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			fail(fmt.Errorf("serve HTTP: %w", err))
		}
	}()
	undo.push(func() {
		ctx, cancel := context.WithTimeout(context.Background(), letGo)
		defer cancel()
		if err := server.Shutdown(ctx); err != nil {
			n.log.Warn("requests were cut off", "error", err)
			_ = server.Close()
		}
		<-done
	})
	return nil
}

func (n *Node) listen(ctx context.Context) (net.Listener, error) {
	host, port, err := splitListen(n.cfg.HTTP.Listen)
	if err != nil {
		return nil, err
	}
	if n.opts.NextFree || port == embed.RandomPort {
		return embed.Listen(ctx, host, port)
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", n.cfg.HTTP.Listen)
	if err != nil {
		return nil, fault.Hint(fault.Wrap(fault.Conflict, err), "is another node running? port 0 takes any free one")
	}
	return listener, nil
}

// surface is what the node serves.
func (n *Node) surface() api.Config {
	c := api.Config{
		Buses: make(map[string]api.Bus), DefaultBus: n.lanes[0].bus.Name(), Hooks: n.hook,
		Node: n.Name(), Metrics: n.metrics, Log: n.log, MaxBody: int64(n.cfg.HTTP.MaxBody),
		Facts:  map[string]string{"durability": n.Durability(), "version": n.opts.Version},
		Checks: []api.Check{{Name: "nats", Check: n.checkNATS}, {Name: "routes", Check: n.checkRoutes}},
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
