package bus_test

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/signalmesh/signalmesh/pkg/bus"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

// A reminder in three days, and a report every weekday morning in Berlin. Every node runs
// PublishDue; a program that has no node runs it itself.
func ExampleBus_PublishAt() {
	ctx, cancel := context.WithCancel(context.Background())
	nc, stop := exampleServer(ctx)
	defer stop()
	b, err := bus.Open(ctx, nc, bus.WithLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		panic(err)
	}
	ended := make(chan error)
	go func() { ended <- b.PublishDue(ctx) }() // ends with ctx

	reminder, err := signal.New("order.reminder", map[string]int{"order": 7}, signal.WithID("r-7"), signal.From("/shop"))
	if err != nil {
		panic(err)
	}
	if err := b.PublishAt(ctx, time.Now().Add(72*time.Hour), reminder); err != nil {
		panic(err)
	}
	for d, err := range b.Delays().List(ctx) {
		fmt.Println(d.Signal.Type, "in", time.Until(d.At).Round(time.Hour), err)
	}
	fmt.Println("cancelled:", b.Delays().Cancel(ctx, "r-7"))

	report, err := signal.New("report.due", nil)
	if err != nil {
		panic(err)
	}
	err = b.Schedules().Add(ctx, bus.Schedule{Name: "morning", When: "0 9 * * mon-fri", Zone: "Europe/Berlin", Signal: report})
	if err != nil {
		panic(err)
	}
	morning, err := b.Schedules().Get(ctx, "morning")
	fmt.Println(morning.When, morning.Next.Minute(), err)

	cancel()
	fmt.Println("ended:", <-ended)
	b.Close()
	// Output:
	// order.reminder in 72h0m0s <nil>
	// cancelled: <nil>
	// 0 9 * * mon-fri 0 <nil>
	// ended: <nil>
}
