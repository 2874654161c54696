package bus_test

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/signalmesh/signalmesh/pkg/bus"
	"github.com/signalmesh/signalmesh/pkg/fault"
)

// On replicated streams whose leader changes while signals come due, each appears once, what
// was cancelled does not, and a schedule goes on with ids that never come twice.
func TestTimeReplicated(t *testing.T) {
	t.Parallel()
	nc, err := nats.Connect(strings.Join(serveCluster(t), ","))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	b, err := bus.Open(t.Context(), nc, bus.Replicas(3), bus.WithLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	serveDue(t, b)
	put := bus.Schedule{Name: "s", When: "@every 1s", Signal: template(t, "tick")}
	if err := b.Schedules().Add(t.Context(), put); err != nil {
		t.Fatal(err)
	}
	wantCode(t, b.Schedules().Add(t.Context(), put), fault.Conflict)
	signals, gone := several(t, "a", 60), several(t, "gone", 5)
	begin := time.Now().Add(2 * time.Second)
	for i, s := range signals {
		publishAt(t, b, begin.Add(time.Duration(i)*50*time.Millisecond), s)
	}
	publishAt(t, b, begin.Add(3*time.Second), gone...)
	for _, s := range gone {
		if err := b.Delays().Cancel(t.Context(), s.ID); err != nil {
			t.Fatal(err)
		}
	}
	for n := 20; n <= 40; n += 20 {
		until(t, "some to appear", func() bool { return len(replayed(t, b, "a")) >= n })
		if _, err := nc.Request("$JS.API.STREAM.LEADER.STEPDOWN."+b.Space().LaterStream(b.Name()), nil, 5*time.Second); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "all of them", func() bool { return len(replayed(t, b, "a")) >= len(signals) && len(replayed(t, b, "tick")) >= 4 })
	<-time.After(time.Until(begin.Add(3500 * time.Millisecond))) // when those that were cancelled would have appeared
	if err := b.Schedules().Delete(t.Context(), "s"); err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	for _, s := range replayed(t, b, "**") {
		if seen[s.ID]++; seen[s.ID] > 1 || s.Type == "gone" {
			t.Errorf("%s %s is on the bus %d times", s.Type, s.ID, seen[s.ID])
		}
	}
	for _, s := range signals {
		if seen[s.ID] == 0 {
			t.Errorf("%s did not appear", s.ID)
		}
	}
}
