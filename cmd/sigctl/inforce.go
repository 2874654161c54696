package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/signalmesh/signalmesh/pkg/mesh"
	"github.com/signalmesh/signalmesh/pkg/route"
)

const (
	inForce  = 3 * time.Second       // how long a change of routes may take; it takes a tenth of one
	lookEach = 25 * time.Millisecond // how often the nodes' records are read meanwhile
)

// awaitForce returns when every node that serves has taken in what is in the store now, and
// says which have not. The change itself is stored: a node that lags is no failure of it.
func (s *session) awaitForce(ctx context.Context, store *route.Store) error {
	if s.cli.Bool("no-wait") {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, inForce)
	defer cancel()
	revision, err := store.Revision(ctx)
	if err != nil {
		return err
	}
	nodes, err := s.servingAt(ctx, revision)
	if err != nil {
		return err
	}
	there := 0
	for _, n := range nodes {
		switch {
		case n.Routes < revision:
			s.warn("node %s is not there yet: its routes are of revision %d, the change is %d%s", clean(n.Name), n.Routes, revision, because(n))
		case n.RoutesProblem != "":
			s.warn("node %s has not all routes in force%s", clean(n.Name), because(n))
		default:
			there++
		}
	}
	switch {
	case len(nodes) == 0:
		s.warn("no node is running; the change will be in force when one starts")
	case s.out.format == formatTable:
		_, err = fmt.Fprintf(s.out.w, "in force on %s\n", count(there, "node", "nodes"))
	}
	return err
}

func because(n mesh.Node) string {
	if n.RoutesProblem == "" {
		return ""
	}
	return ": " + clean(n.RoutesProblem)
}

// servingAt returns the nodes that serve as soon as all of them have taken in the revision,
// or as they are when ctx ends.
func (s *session) servingAt(ctx context.Context, revision uint64) ([]mesh.Node, error) {
	nc, err := s.conn()
	if err != nil {
		return nil, err
	}
	tick := time.NewTicker(lookEach)
	defer tick.Stop()
	var serving []mesh.Node
	for {
		nodes, err := mesh.Nodes(ctx, nc, s.space)
		switch {
		case err == nil:
			serving = nodes[:0]
		case ctx.Err() != nil && serving != nil:
			return serving, nil
		default:
			return nil, err
		}
		late := 0
		for _, n := range nodes {
			if n.State != mesh.Ready {
				continue
			}
			serving = append(serving, n)
			if n.Routes < revision {
				late++
			}
		}
		if late == 0 {
			return serving, nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return serving, nil
			}
			return nil, ctx.Err()
		}
	}
}
