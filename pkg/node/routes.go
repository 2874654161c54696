package node

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/signalmesh/signalmesh/pkg/delivery"
	"github.com/signalmesh/signalmesh/pkg/mesh"
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

// ownedByNode begins the owner of routes that come from a node's configuration.
const ownedByNode = "node:"

// applyRoutes makes the routes of the configuration be in the mesh, as this node's. Those
// that this node put there before, and that the configuration no longer has, are removed.
// What people changed stays as they left it, and is told; what another node put there gives
// way, since its name may be gone for good and the file may be newer.
func (n *Node) applyRoutes(ctx context.Context, specs []route.Spec) error {
	owner := ownedByNode + n.Name()
	changes, err := n.routes.Apply(ctx, specs, owner, route.Prune(), route.Keep(), route.By(owner))
	if err == nil {
		changes, err = n.takeFromNodes(ctx, changes, owner)
	}
	if err != nil {
		return fmt.Errorf("routes of the configuration: %w", err)
	}
	for _, c := range changes {
		switch c.Action {
		case route.Create, route.Update, route.Delete:
			n.log.InfoContext(ctx, "route of the configuration is applied", "route", c.Name, "action", string(c.Action), "revision", c.Revision)
		case route.Kept:
			n.log.WarnContext(ctx, "route of the configuration is not applied: somebody else has changed it", "route", c.Name, "owner", c.Owner, "revision", c.Revision)
		case route.Unchanged:
		}
	}
	return nil
}

// takeFromNodes applies the routes that were kept because another node owns them, and
// returns the changes with what became of those.
func (n *Node) takeFromNodes(ctx context.Context, changes route.Changes, owner string) (route.Changes, error) {
	var left route.Changes
	var wanted []route.Spec
	for _, c := range changes {
		if c.Action == route.Kept && strings.HasPrefix(c.Owner, ownedByNode) {
			wanted = append(wanted, *c.After)
		} else {
			left = append(left, c)
		}
	}
	if len(wanted) == 0 {
		return changes, nil
	}
	taken, err := n.routes.Apply(ctx, wanted, owner, route.Take(), route.By(owner))
	return append(left, taken...), err
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
		n.tellRoutes(ctx, snapshot.Revision)
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

// tellRoutes says to the mesh which revision of the routes is taken in, and what of it is
// not in force. Where that fails, the next heartbeat says it.
func (n *Node) tellRoutes(ctx context.Context, revision uint64) {
	problem := ""
	if err := n.table.Load().err; err != nil {
		problem = delivery.Excerpt(err.Error())
	}
	ctx, cancel := context.WithTimeout(ctx, signOff)
	defer cancel()
	err := n.member.Update(ctx, func(i *mesh.Info) { i.Routes, i.RoutesProblem = revision, problem })
	if err != nil && ctx.Err() == nil {
		n.log.WarnContext(ctx, "could not tell the mesh", "routes", revision, "error", err)
	}
}

// newest is the revision of the last change in the routes.
func newest(routes []route.Route) (revision uint64) {
	for _, r := range routes {
		revision = max(revision, r.Revision)
	}
	return revision
}
