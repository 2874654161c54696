package main

import (
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/signalmesh/signalmesh/pkg/mesh"
)

func (p *program) nodes() *cli.Command {
	return group("nodes", "see who is alive",
		p.verb(cli.Command{Name: "ls", Usage: "list the nodes of the mesh"}, 0, 0, listNodes),
	)
}

func listNodes(s *session) error {
	ctx, cancel := s.ask()
	defer cancel()
	nc, err := s.conn()
	if err != nil {
		return err
	}
	nodes, err := mesh.Nodes(ctx, nc, s.space)
	if err != nil {
		return err
	}
	now := time.Now()
	since := func(t time.Time) string {
		if t.IsZero() {
			return ""
		}
		return ago(now.Sub(t))
	}
	return list(s.out, nodes,
		column[mesh.Node]{title: "name", cell: func(n mesh.Node) string { return clean(n.Name) }},
		column[mesh.Node]{title: "state", cell: func(n mesh.Node) string { return clean(string(n.State)) }},
		column[mesh.Node]{title: "version", cell: func(n mesh.Node) string { return clean(n.Version) }},
		column[mesh.Node]{title: "up", cell: func(n mesh.Node) string { return since(n.Started) }, right: true},
		column[mesh.Node]{title: "seen", cell: func(n mesh.Node) string { return since(n.Seen) }, right: true},
		column[mesh.Node]{title: "buses", cell: func(n mesh.Node) string { return clean(strings.Join(n.Buses, ", ")) }},
		column[mesh.Node]{title: "routes", cell: routesOf, right: true},
		column[mesh.Node]{title: "http", cell: func(n mesh.Node) string { return clean(n.HTTP) }},
		column[mesh.Node]{title: "durability", cell: func(n mesh.Node) string { return clean(n.Durability) }},
	)
}

// routesOf is the revision of the routes in force on a node, marked when not all are.
func routesOf(n mesh.Node) string {
	switch {
	case n.Routes == 0:
		return ""
	case n.RoutesProblem != "":
		return strconv.FormatUint(n.Routes, 10) + " with problems"
	}
	return strconv.FormatUint(n.Routes, 10)
}
