package provision_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing/fstest"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/signalmesh/signalmesh/pkg/embed"
	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/provision"
)

// Streams are planned, shown, then applied.
func ExamplePlan() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "provision")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	s, err := embed.Start(ctx, embed.Config{Dir: dir})
	if err != nil {
		panic(err)
	}
	defer s.Shutdown()
	nc, err := s.Connect()
	if err != nil {
		panic(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		panic(err)
	}

	apply := func(text string, force bool) error {
		files := fstest.MapFS{"orders.yaml": {Data: []byte(text)}}
		plan, err := provision.New(ctx, js, files)
		if err != nil {
			return err
		}
		fmt.Print(plan)
		if plan.Destructive() && !force {
			return fault.Wrap(fault.Conflict, errors.New("plan would drop signals; use --force"))
		}
		return plan.Apply(ctx)
	}
	fmt.Println(apply("bucket: {name: prices, history: 10}", false))
	fmt.Println(apply("bucket: {name: prices, history: 2, description: 'of today'}", false))

	// Output:
	// + bucket prices (orders.yaml:1)
	//     allow_direct: true
	//     allow_rollup_hdrs: true
	//     compression: none
	//     deny_delete: true
	//     discard: new
	//     duplicate_window: 2m
	//     max_msgs_per_subject: 10
	//     num_replicas: 1
	//     retention: limits
	//     storage: file
	//     subjects: $KV.prices.>
	//
	// 1 to create, 0 to update, 0 as defined.
	// <nil>
	// ~ bucket prices (orders.yaml:1)
	//     description: none -> of today
	//     max_msgs_per_subject: 10 -> 2  [lossy: older messages of a subject are dropped]
	//
	// 0 to create, 1 to update, 0 as defined. Some of it loses something.
	// plan would drop signals; use --force
}
