package testkit_test

import (
	"testing"
	"time"

	"github.com/signalmesh/signalmesh/pkg/bus"
	"github.com/signalmesh/signalmesh/pkg/signal"
	"github.com/signalmesh/signalmesh/pkg/testkit"
)

// TestCluster shows that a bus of three copies goes on when one server has ended, and still
// has what was stored before.
func TestCluster(t *testing.T) {
	t.Parallel()
	servers := testkit.Cluster(t, 3)
	nc, err := servers[2].Connect()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	var b *bus.Bus
	eventually(t, "a bus of three copies", func() (err error) {
		b, err = bus.Open(t.Context(), nc, bus.Replicas(3))
		return err
	})
	t.Cleanup(b.Close)
	send := func(id string) {
		s, err := signal.New("order.placed", nil, signal.WithID(id))
		if err != nil {
			t.Fatal(err)
		}
		eventually(t, "publish "+id, func() error { return b.Publish(t.Context(), s) })
	}
	send("before")
	servers[0].Shutdown()
	send("after")
	var got []string
	eventually(t, "replay", func() error {
		got = nil
		for s, err := range b.Replay(t.Context(), "**") {
			if err != nil {
				return err
			}
			got = append(got, s.ID)
		}
		return nil
	})
	if len(got) != 2 || got[0] != "before" || got[1] != "after" {
		t.Errorf("replay = %v, want before and after", got)
	}
}

// eventually repeats what an election may refuse.
func eventually(t *testing.T, what string, do func() error) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for tick := time.NewTicker(100 * time.Millisecond); ; <-tick.C {
		err := do()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v", what, err)
		}
	}
}
