package testkit

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/signalmesh/signalmesh/pkg/embed"
)

// clusterPatience is for the elections of a cluster, each of which may take ten seconds.
const clusterPatience = time.Minute

// Cluster runs n servers that form a cluster and keep copies for each other, and stops them
// when the test ends. It returns when they have a majority and a leader; streams of n copies
// can be made then, though the first try may meet an election. Shutdown of a member is how a
// test loses one.
func Cluster(tb testing.TB, n int) []*embed.Server {
	tb.Helper()
	// The ports are held until just before they are needed, so that nobody else gets them.
	held, routes := make([]net.Listener, n), make([]string, n)
	for i := range held {
		l, err := embed.Listen(tb.Context(), embed.DefaultHost, embed.RandomPort)
		if err != nil {
			tb.Fatalf("find a port for a cluster: %v", err)
		}
		held[i], routes[i] = l, l.Addr().String()
	}
	ctx, cancel := context.WithTimeout(tb.Context(), clusterPatience)
	defer cancel()
	servers, errs := make([]*embed.Server, n), make([]error, n)
	var group sync.WaitGroup
	for i, l := range held {
		cfg := embed.Config{
			Name: fmt.Sprintf("server-%d", i+1), Dir: tb.TempDir(), Durability: embed.Fast,
			Cluster: embed.Cluster{Name: "testkit", Port: l.Addr().(*net.TCPAddr).Port, Routes: routes},
		}
		_ = l.Close()
		group.Go(func() { servers[i], errs[i] = embed.Start(ctx, cfg) })
	}
	group.Wait()
	for _, s := range servers {
		if s != nil {
			tb.Cleanup(s.Shutdown)
		}
	}
	if err := errors.Join(errs...); err != nil {
		tb.Fatalf("start a cluster of %d: %v", n, err)
	}
	return servers
}
