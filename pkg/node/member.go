package node

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/mesh"
)

// signOff bounds what the node says to the mesh when it goes.
const signOff = 2 * time.Second

// join takes the node's name in the mesh, before anything is changed under it: what another
// node of the same name has put into the mesh stays as it is.
func (n *Node) join(ctx context.Context, undo *stack) error {
	buses := make([]string, len(n.cfg.Buses))
	for i, b := range n.cfg.Buses {
		buses[i] = b.Name
	}
	host, _ := os.Hostname() // only shown to people
	info := mesh.Info{
		Name: n.Name(), State: mesh.Starting, Version: n.opts.Version, Started: time.Now(),
		HTTP: n.HTTPURL(), NATS: n.NATSURL(), Durability: n.Durability(), Buses: buses,
		Host: host, PID: os.Getpid(),
	}
	member, err := patiently(ctx, n, "nodes", func() (*mesh.Member, error) {
		return mesh.Join(ctx, n.conn, info, mesh.WithSpace(n.space), mesh.WithLogger(n.log), mesh.Replicas(n.replicas()))
	})
	if err != nil {
		return fmt.Errorf("join the mesh: %w", err)
	}
	n.member = member
	undo.push(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), signOff)
		defer cancel()
		if err := member.Leave(ctx); err != nil {
			n.log.WarnContext(ctx, "could not sign off", "error", err)
		}
	})
	return nil
}

// present tells the mesh that the node is ready, and that it drains as soon as it does.
func (n *Node) present(ctx context.Context, undo *stack) error {
	n.tell(ctx, mesh.Ready)
	undo.push(func() {
		if n.conn.IsConnected() {
			n.tell(context.WithoutCancel(ctx), mesh.Draining)
		}
	})
	return nil
}

// tell says what the node is doing. Where that fails, the next heartbeat says it.
func (n *Node) tell(ctx context.Context, state mesh.State) {
	ctx, cancel := context.WithTimeout(ctx, signOff)
	defer cancel()
	if err := n.member.Update(ctx, func(i *mesh.Info) { i.State = state }); err != nil {
		n.log.WarnContext(ctx, "could not tell the mesh", "state", string(state), "error", err)
	}
}

// checkMesh reports that other nodes may take this one for dead.
func (n *Node) checkMesh(context.Context) error {
	return fault.Wrap(fault.Unavailable, n.member.Err())
}

// replicas is how many servers keep what the whole mesh shares: as many as keep the bus
// that has the most copies.
func (n *Node) replicas() int {
	most := 1
	for _, b := range n.cfg.Buses {
		most = max(most, b.Replicas)
	}
	return most
}
