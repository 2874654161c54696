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
	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/mesh"
	"github.com/signalmesh/signalmesh/pkg/observe"
	"github.com/signalmesh/signalmesh/pkg/route"
	"github.com/signalmesh/signalmesh/pkg/subject"
)

// Options are what the program around a node decides. The zero value will do.
type Options struct {
	Version string       // told to the mesh and to called endpoints; "dev" by default
	Log     *slog.Logger // slog.Default by default
	Stdout  io.Writer    // of the console adapter; os.Stdout by default

	NextFreeNATS bool // the embedded server takes the next free port where its own is in use
	NextFreeHTTP bool // and so does HTTP

	// ConnectTimeout is how long a server outside may take to come up when the node starts;
	// 10 s by default.
	ConnectTimeout time.Duration
}

// A Node is one process of the mesh.
type Node struct {
	cfg     *config.Config // with what was left out filled in
	given   *config.Config // as it was given, to compare a reload with
	opts    Options
	log     *slog.Logger
	space   subject.Space
	metrics *observe.Metrics
	ready   chan struct{}
	failed  chan error    // what ended by itself; the first counts
	routed  chan struct{} // closed when the mesh's routes are in force for the first time

	listener net.Listener
	server   *embed.Server // nil when the node joined one
	conn     *nats.Conn
	member   *mesh.Member
	lanes    []*lane
	routes   *route.Store

	reload    sync.Mutex // one at a time
	receivers atomic.Pointer[map[string]api.Hook]
	table     atomic.Pointer[tableState]
}

// New returns a node that has started nothing. The error says what is wrong with the
// configuration, with the code fault.Invalid, or fault.Denied for an address on which
// strangers would be served.
func New(cfg *config.Config, opts Options) (*Node, error) {
	if err := check(cfg); err != nil {
		return nil, err
	}
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
	if opts.ConnectTimeout == 0 {
		opts.ConnectTimeout = 10 * time.Second
	}
	c := *cfg
	if c.Node.Name == "" {
		c.Node.Name = hostName()
	}
	if len(c.Buses) == 0 {
		c.Buses = []config.Bus{config.Default()}
	}
	n := &Node{
		cfg: &c, given: cfg, opts: opts, log: opts.Log.With("node", c.Node.Name), space: space, metrics: observe.New(opts.Version),
		ready: make(chan struct{}), failed: make(chan error, 1), routed: make(chan struct{}),
	}
	n.receivers.Store(new(map[string]api.Hook))
	n.table.Store(&tableState{table: new(route.Table)})
	return n, nil
}

// check reports what a configuration lacks that was not read from a file.
func check(cfg *config.Config) error {
	if err := cfg.Validate(); err != nil {
		return err
	}
	if cfg.NATS.URL == "" && cfg.Node.Data == "" {
		return fault.Newf(fault.Invalid, "node.data is required: the folder of the embedded server's streams")
	}
	seen := make(map[string]bool)
	for _, b := range cfg.Buses {
		if seen[b.Name] {
			return fault.Newf(fault.Invalid, "buses: two are named %q", b.Name)
		}
		seen[b.Name] = true
	}
	return nil
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

// NATSURL is where clients find the mesh, without the credentials that they need.
func (n *Node) NATSURL() string {
	if n.server != nil {
		return n.server.ClientURL()
	}
	return withoutUser(n.cfg.NATS.URL)
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

// Run starts the node and blocks until ctx ends, then drains it. It returns nil after that,
// also where the start was cut short, and otherwise what kept the node from starting or
// going on. It must be called once.
func (n *Node) Run(ctx context.Context) error {
	var undo stack
	defer undo.run()
	for _, step := range []func(context.Context, *stack) error{
		n.listen, n.openSources, n.connect, n.join, n.openLanes, n.publishDue, n.runAgents, n.openRoutes, n.serve, n.present,
	} {
		err := step(ctx, &undo)
		if err != nil && ctx.Err() != nil {
			n.log.InfoContext(ctx, "start is cut short", "error", err)
			return nil
		}
		if err != nil {
			return fmt.Errorf("node %s: %w", n.Name(), err)
		}
	}
	close(n.ready)
	n.log.InfoContext(ctx, "node is ready", "nats", n.NATSURL(), "http", n.HTTPURL(), "durability", n.Durability())

	select {
	case <-ctx.Done():
		n.log.InfoContext(ctx, "node drains")
		return nil
	case err := <-n.failed:
		return fmt.Errorf("node %s: %w", n.Name(), err)
	}
}

// fail ends the node with the first error that it is called with.
func (n *Node) fail(err error) {
	select {
	case n.failed <- err:
	default:
	}
}

// A task is something that goes on until the node ends.
type task struct {
	what string
	run  func(context.Context) error
}

// keep runs the tasks until they are undone, which they are together. One that ends before,
// with an error, ends the node.
func (n *Node) keep(ctx context.Context, undo *stack, tasks ...task) {
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	var group sync.WaitGroup
	for _, t := range tasks {
		group.Go(func() { // ends with stop
			if err := t.run(ctx); err != nil && ctx.Err() == nil {
				n.fail(fmt.Errorf("%s: %w", t.what, err))
			}
		})
	}
	undo.push(func() { stop(); group.Wait() })
}

// stack is what has to be undone, last first.
type stack []func()

func (s *stack) push(f func()) { *s = append(*s, f) }

func (s *stack) run() {
	for i := len(*s) - 1; i >= 0; i-- {
		(*s)[i]()
	}
}
