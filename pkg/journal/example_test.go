package journal_test

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/signalmesh/signalmesh/pkg/embed"
	"github.com/signalmesh/signalmesh/pkg/journal"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

func Example() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "journal")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	srv, err := embed.Start(ctx, embed.Config{Dir: dir})
	if err != nil {
		log.Fatal(err)
	}
	defer srv.Shutdown()
	nc, err := srv.Connect()
	if err != nil {
		log.Fatal(err)
	}
	defer nc.Close()

	j, err := journal.Open(ctx, nc, journal.For("shop"))
	if err != nil {
		log.Fatal(err)
	}
	defer j.Close()

	placed, _ := signal.New("order.placed", nil, signal.WithID("1"), signal.From("/shop"))
	paid, _ := signal.New("order.paid", nil, signal.WithID("2"), signal.From("/bank"))
	shipped, _ := signal.New("order.shipped", nil, signal.WithID("3"), signal.From("/depot"))
	for _, r := range []struct {
		s     *signal.Signal
		cause string
	}{{placed, ""}, {paid, "1"}, {shipped, "2"}} {
		if err := j.Record(ctx, r.s, r.cause); err != nil {
			log.Fatal(err)
		}
	}
	trace, err := j.Trace(ctx, "1", journal.Forward)
	if err != nil {
		log.Fatal(err)
	}
	for _, n := range trace.Nodes {
		fmt.Println(n.Depth, n.Type)
	}
	fmt.Println(j.Record(ctx, placed, "3"))
	// Output:
	// 0 order.placed
	// 1 order.paid
	// 2 order.shipped
	// record "1": "1" is among its effects: causality cycle
}
