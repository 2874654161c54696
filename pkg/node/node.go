package node

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/signalmesh/signalmesh/pkg/api"
	"github.com/signalmesh/signalmesh/pkg/config"
	"github.com/signalmesh/signalmesh/pkg/embed"
	"github.com/signalmesh/signalmesh/pkg/mesh"
	"github.com/signalmesh/signalmesh/pkg/observe"
	"github.com/signalmesh/signalmesh/pkg/route"
	"github.com/signalmesh/signalmesh/pkg/subject"
)

// Options are what the program around a node decides. The zero value will do.
type Options struct {
	Version  string       // told to the mesh and to called endpoints; "dev" by default
	Log      *slog.Logger // slog.Default by default
	Stdout   io.Writer    // of the console adapter; os.Stdout by default
	NextFree bool         // take the next free port where one is in use
}

// A Node is one process of the mesh.
type Node struct {
	cfg     *config.Config
	opts    Options
	log     *slog.Logger
	space   subject.Space
	metrics *observe.Metrics
	ready   chan struct{}

	server   *embed.Server // nil when the node joined one
	conn     *nats.Conn
	lanes    []*lane
	routes   *route.Store
	member   *mesh.Member
	listener net.Listener

	receivers atomic.Pointer[map[string]api.Hook]
	table     atomic.Pointer[tableState]
}

// New returns a node that has started nothing.
func New(cfg *config.Config, opts Options) (*Node, error) {
	space, err := subject.NewSpace(cfg.NATS.Prefix)
	if err != nil {
		return nil, err
	}
	if opts.Version == "" {
		opts.Version = "dev"
	}
	if opts.Log == nil {
		opts.Log = slog.Default()
	}
	if opts.Stdout == nil {
		opts.Stdout = os.Stdout
	}
	c := *cfg
	if c.Node.Name == "" {
		c.Node.Name = hostName()
	}
	if len(c.Buses) == 0 {
		c.Buses = []config.Bus{config.Default()}
	}
	n := &Node{cfg: &c, opts: opts, log: opts.Log.With("node", c.Node.Name), space: space, metrics: observe.New(opts.Version), ready: make(chan struct{})}
	n.receivers.Store(new(map[string]api.Hook))
	n.table.Store(new(tableState))
	return n, nil
}

// hostName is the host's name as a name in the mesh.
func hostName() string {
	name, err := os.Hostname()
	if err != nil || subject.CheckName("node", name) != nil {
		return "node"
	}
	return name
}

// Ready is closed when the node takes signals. The methods below answer from then on.
func (n *Node) Ready() <-chan struct{} { return n.ready }

// Name is the node's name in the mesh.
func (n *Node) Name() string { return n.cfg.Node.Name }

// NATSURL is where clients find the mesh.
func (n *Node) NATSURL() string {
	if n.server != nil {
		return n.server.ClientURL()
	}
	return n.cfg.NATS.URL
}

// HTTPURL is where the node serves HTTP.
func (n *Node) HTTPURL() string { return "http://" + n.listener.Addr().String() }

// Durability says what an acknowledgement means: sync or fast, or unknown when the server
// is not this node's own.
func (n *Node) Durability() string {
	if n.server != nil {
		return string(n.server.Durability())
	}
	return "unknown"
}

// Run starts the node and blocks until ctx ends, then drains it. It returns nil after a
// drain, and otherwise what kept the node from starting or going on. It must be called once.
func (n *Node) Run(ctx context.Context) error {
	var undo stack
	defer undo.run()
	if err := n.connect(ctx, &undo); err != nil {
		return fmt.Errorf("node %s: %w", n.Name(), err)
	}
	if err := n.openLanes(ctx, &undo); err != nil {
		return fmt.Errorf("node %s: %w", n.Name(), err)
	}
	if err := n.openRoutes(ctx); err != nil {
		return fmt.Errorf("node %s: %w", n.Name(), err)
	}
	if err := n.openSources(ctx, n.cfg.Sources); err != nil {
		return fmt.Errorf("node %s: %w", n.Name(), err)
	}

	// What runs until the end, and ends the others when it fails.
	work, stop := context.WithCancelCause(context.WithoutCancel(ctx))
	var group sync.WaitGroup
	undo.push(func() { stop(nil); group.Wait() })
	run := func(what string, f func(context.Context) error) {
		group.Go(func() {
			if err := f(work); err != nil {
				stop(fmt.Errorf("%s: %w", what, err))
			}
		})
	}
	for _, l := range n.lanes {
		run("agent of bus "+l.bus.Name(), l.agent.Run)
	}
	run("routes", n.followRoutes)
	if err := n.serve(ctx, &undo, stop); err != nil {
		return fmt.Errorf("node %s: %w", n.Name(), err)
	}
	if err := n.join(ctx, &undo); err != nil {
		return fmt.Errorf("node %s: %w", n.Name(), err)
	}
	close(n.ready)
	n.log.InfoContext(ctx, "node is ready", "nats", n.NATSURL(), "http", n.HTTPURL(), "durability", n.Durability())

	select {
	case <-ctx.Done():
		n.log.InfoContext(ctx, "node drains")
		return nil
	case <-work.Done():
		return fmt.Errorf("node %s: %w", n.Name(), context.Cause(work))
	}
}

// join makes the node known to the mesh.
func (n *Node) join(ctx context.Context, undo *stack) error {
	var buses []string
	for _, l := range n.lanes {
		buses = append(buses, l.bus.Name())
	}
	member, err := mesh.Join(ctx, n.conn, mesh.Info{
		Name: n.Name(), Version: n.opts.Version, Started: time.Now(), HTTP: n.HTTPURL(), NATS: n.NATSURL(),
		Durability: n.Durability(), Buses: buses,
	}, mesh.WithSpace(n.space), mesh.WithLogger(n.log))
	if err != nil {
		return fmt.Errorf("join the mesh: %w", err)
	}
	n.member = member
	undo.push(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		if err := member.Leave(ctx); err != nil {
			n.log.WarnContext(ctx, "could not sign off", "error", err)
		}
	})
	return nil
}

// stack is what has to be undone, last first.
type stack []func()

func (s *stack) push(f func()) { *s = append(*s, f) }

func (s *stack) run() {
	for i := len(*s) - 1; i >= 0; i-- {
		(*s)[i]()
	}
}

