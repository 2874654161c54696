package node

import (
	"context"
	"time"

	"github.com/signalmesh/signalmesh/pkg/fault"
)

const (
	patience  = time.Minute            // for servers that elect a leader, or are not all up yet
	askAgain  = 250 * time.Millisecond // between two tries
	speakFrom = 5 * time.Second        // of waiting on, the log says so
)

// patiently opens something in the mesh. Where several servers keep it, no answer may mean
// that they are just electing a leader, or that too few of them are up to make it: then it
// is tried again for a while. A server that is alone has no such excuse.
func patiently[T any](ctx context.Context, n *Node, what string, open func() (T, error)) (T, error) {
	began, told := time.Now(), false
	for {
		v, err := open()
		if !fault.Is(err, fault.Unavailable) || n.server != nil && n.cfg.NATS.Cluster == nil || time.Since(began) > patience {
			return v, err
		}
		if !told && time.Since(began) > speakFrom {
			told = true
			n.log.WarnContext(ctx, "waiting for the servers of the mesh", "for", what, "error", err)
		}
		select {
		case <-ctx.Done():
			return v, err
		case <-time.After(askAgain):
		}
	}
}
