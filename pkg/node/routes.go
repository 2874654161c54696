package node

import (
	"context"
	"errors"
	"fmt"

	"github.com/signalmesh/signalmesh/pkg/route"
)

// tableState is the routes in force on this node, for questions, and what is wrong with the
// newest ones, if anything.
type tableState struct {
	table *route.Table
	err   error
}

// openRoutes puts the configuration's routes into the mesh, and waits until the mesh's
// routes are in force here.
func (n *Node) openRoutes(ctx context.Context, undo *stack) error {
	store, err := patiently(ctx, n, "routes", func() (*route.Store, error) {
		return route.OpenStore(ctx, n.conn, n.space, route.Replicas(n.replicas()))
	})
	if err != nil {
		return err
	}
	n.routes = store
	if _, err := patiently(ctx, n, "routes", func() (struct{}, error) {
		return struct{}{}, n.applyRoutes(ctx, n.cfg.Routes)
	}); err != nil {
		return err
	}
	n.keep(ctx, undo, task{"routes", n.followRoutes})
	select {
	case <-n.routed:
		return nil
	case err := <-n.failed:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// applyRoutes makes the routes of the configuration be in the mesh, as this node's. Those
// that this node put there before, and that the configuration no longer has, are removed.
func (n *Node) applyRoutes(ctx context.Context, specs []route.Spec) error {
	changes, err := n.routes.Apply(ctx, specs, "node:"+n.Name(), route.Prune(), route.Take(), route.By("node:"+n.Name()))
	if err != nil {
		return fmt.Errorf("routes of the configuration: %w", err)
	}
	for _, c := range changes {
		if c.Action == route.Create || c.Action == route.Update || c.Action == route.Delete {
			n.log.InfoContext(ctx, "route of the configuration is applied", "route", c.Name, "action", string(c.Action), "revision", c.Revision)
		}
	}
	return nil
}

// followRoutes keeps the routes in force as the mesh has them, until ctx ends.
func (n *Node) followRoutes(ctx context.Context) error {
	first := true
	for snapshot, err := range n.routes.Watch(ctx) {
		if ctx.Err() != nil {
			return nil
		}
		if err != nil { // what runs stays, and the store is tried again
			n.log.WarnContext(ctx, "the store of routes can't be read", "error", err)
			continue
		}
		errs := make([]error, len(snapshot.Problems))
		for i, p := range snapshot.Problems {
			errs[i] = p.Err
		}
		n.swap(ctx, snapshot.Routes, errors.Join(errs...))
		if first {
			close(n.routed)
			first = false
		}
	}
	return nil
}

// swap puts routes in force on every bus. What can't be is reported and leaves what runs;
// problem is what the store already said about them.
func (n *Node) swap(ctx context.Context, routes []route.Route, problem error) {
	errs := []error{problem}
	table, err := route.Compile(routes...)
	errs = append(errs, err)
	if err == nil {
		for _, l := range n.lanes {
			err := l.agent.Swap(ctx, routes)
			n.metrics.Table(l.bus.Name(), newest(routes), err)
			errs = append(errs, err)
		}
	}
	state := &tableState{table: n.table.Load().table, err: errors.Join(errs...)}
	if table != nil {
		state.table = table
	}
	n.table.Store(state)
	if state.err != nil {
		n.log.ErrorContext(ctx, "routes are not all in force", "error", state.err)
		return
	}
	n.log.InfoContext(ctx, "routes are in force", "routes", len(routes), "revision", newest(routes))
}

// newest is the revision of the last change in the routes.
func newest(routes []route.Route) (revision uint64) {
	for _, r := range routes {
		revision = max(revision, r.Revision)
	}
	return revision
}
