package node

import "context"

// publishDue puts on the buses what comes due: delayed signals, and those of schedules.
func (n *Node) publishDue(ctx context.Context, undo *stack) error {
	tasks := make([]task, len(n.lanes))
	for i, l := range n.lanes {
		what := "what comes due on bus " + l.bus.Name()
		tasks[i] = task{what, func(ctx context.Context) error {
			_, err := patiently(ctx, n, what, func() (struct{}, error) { return struct{}{}, l.bus.PublishDue(ctx) })
			return err
		}}
	}
	n.keep(ctx, undo, tasks...)
	return nil
}
