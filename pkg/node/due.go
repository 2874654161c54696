package node

import "context"

// publishDue puts on the buses what comes due: delayed signals, and those of schedules.
func (n *Node) publishDue(ctx context.Context, undo *stack) error {
	tasks := make([]task, len(n.lanes))
	for i, l := range n.lanes {
		tasks[i] = task{"what comes due on bus " + l.bus.Name(), l.bus.PublishDue}
	}
	n.keep(ctx, undo, tasks...)
	return nil
}
