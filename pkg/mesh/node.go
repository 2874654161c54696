package mesh

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/subject"
)

// State says what a node is doing.
type State string

// The states. A node that left has none.
const (
	Starting State = "starting" // its place is taken, it serves nothing yet
	Ready    State = "ready"
	Draining State = "draining" // finishing what it has, taking nothing new
)

// Info is what a node says about itself. Only Name is required.
type Info struct {
	Name       string            `json:"name"` // unique in the mesh, [A-Za-z0-9_-]{1,64}
	State      State             `json:"state,omitempty"`
	Version    string            `json:"version,omitempty"`
	Started    time.Time         `json:"started,omitzero"`
	Host       string            `json:"host,omitempty"`
	PID        int               `json:"pid,omitempty"`
	HTTP       string            `json:"http,omitempty"` // base URL of its API
	NATS       string            `json:"nats,omitempty"` // URL of the server it runs or uses
	Durability string            `json:"durability,omitempty"`
	Buses      []string          `json:"buses,omitempty"`
	Labels     map[string]string `json:"labels,omitempty"`

	// Routes is the newest revision of the mesh's routes that the node has taken in: every
	// change up to it is in force there, but for what RoutesProblem says.
	Routes        uint64 `json:"routes,omitempty"`
	RoutesProblem string `json:"routes_problem,omitempty"`
}

// A Node is a member of the mesh as its last heartbeat described it.
type Node struct {
	Info
	Instance string    `json:"instance"` // of this run; the id of its micro service
	Seen     time.Time `json:"seen"`     // when the server stored the heartbeat
}

// Nodes lists the nodes that are alive, by name. A mesh that nobody joined yet has none.
func Nodes(ctx context.Context, nc *nats.Conn, space subject.Space) ([]Node, error) {
	kv, err := bucket(ctx, nc, space)
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list nodes: %w", unavailable(err))
	}
	w, err := kv.WatchAll(ctx, jetstream.IgnoreDeletes())
	if err != nil {
		return nil, fmt.Errorf("list nodes: %w", unavailable(err))
	}
	defer func() { _ = w.Stop() }()
	var nodes []Node
	for {
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("list nodes: %w", unavailable(ctx.Err()))
		case e := <-w.Updates():
			if e == nil { // all that is there was seen
				slices.SortFunc(nodes, func(a, b Node) int { return cmp.Compare(a.Name, b.Name) })
				return nodes, nil
			}
			n, err := decodeNode(e)
			if err != nil {
				slog.WarnContext(ctx, "unreadable node record", "node", e.Key(), "err", err)
				continue
			}
			nodes = append(nodes, n)
		}
	}
}

func decodeNode(e jetstream.KeyValueEntry) (Node, error) {
	var n Node
	if err := json.Unmarshal(e.Value(), &n); err != nil {
		return Node{}, fault.Newf(fault.Invalid, "record of node %s: %w", e.Key(), err)
	}
	n.Name, n.Seen = e.Key(), e.Created()
	return n, nil
}

// bucket opens the bucket of nodes, which must exist.
func bucket(ctx context.Context, nc *nats.Conn, space subject.Space) (jetstream.KeyValue, error) {
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, err
	}
	return js.KeyValue(ctx, space.NodesBucket())
}

// unavailable codes what the connection or the server reports, unless it is coded.
func unavailable(err error) error {
	if fault.CodeOf(err) != fault.Internal {
		return err
	}
	return fault.Wrap(fault.Unavailable, err)
}
