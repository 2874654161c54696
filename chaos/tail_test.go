//go:build chaos

package chaos_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/signalmesh/signalmesh/chaos/history"
	"github.com/signalmesh/signalmesh/pkg/bus"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

// tail follows the bus from its origin with an ephemeral subscription, which is promised
// order and no gaps, whatever happens to the servers. From now on it is owed every signal.
func (w *world) tail(t *testing.T) {
	t.Helper()
	var urls []string
	for _, d := range w.nodes {
		urls = append(urls, d.NATS)
	}
	nc, err := nats.Connect(strings.Join(urls, ","), nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	b, err := bus.Open(t.Context(), nc, bus.WithoutProvision())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	w.tailed = new(atomic.Uint64)
	if _, err := b.Subscribe(t.Context(), "chaos.**", func(ctx context.Context, s *signal.Signal) error {
		w.log.Add(history.Op{Kind: history.Deliver, Phase: history.OK, ID: s.ID, Receiver: "tail", Key: s.Source + " " + s.ID + " tail"})
		at, _ := bus.Position(ctx)
		w.tailed.Store(at.Sequence)
		return nil
	}, bus.FromOrigin()); err != nil {
		t.Fatal(err)
	}
}

// ended reports whether the tail has seen the last signal.
func (w *world) ended(t *testing.T, js jetstream.JetStream) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	s, err := js.Stream(ctx, "SIG_default")
	if err != nil {
		return false
	}
	for last := s.CachedInfo().State.LastSeq; last > 0; last-- {
		m, err := leaderGet(ctx, js, "SIG_default", last)
		if err != nil || m == nil {
			return false
		}
		if strings.HasPrefix(m.Subject, "sig.default.chaos.") && m.header.Get("Chaos-Id") == "" {
			return w.tailed.Load() == last
		}
	}
	return true
}
