package mesh_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/signalmesh/signalmesh/pkg/embed"
	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/mesh"
	"github.com/signalmesh/signalmesh/pkg/signal"
	"github.com/signalmesh/signalmesh/pkg/subject"
)

// The error of a handler arrives at the caller with its advice.
func ExampleServeNamed() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "mesh")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	srv, err := embed.Start(ctx, embed.Config{Dir: dir})
	if err != nil {
		panic(err)
	}
	defer srv.Shutdown()
	nc, err := srv.Connect()
	if err != nil {
		panic(err)
	}
	defer nc.Close()

	n, err := mesh.ServeNamed(ctx, nc, "compensation_manager", func(_ context.Context, s *signal.Signal) error {
		if s.Subject == "o-1" {
			return nil
		}
		return fault.RetryAfter(time.Second, errors.New("asleep"))
	})
	if err != nil {
		panic(err)
	}
	defer n.Stop()

	for _, order := range []string{"o-1", "o-2"} {
		s, err := signal.New("order.cancelled", nil, signal.About(order))
		if err != nil {
			panic(err)
		}
		_, err = mesh.CallNamed(ctx, nc, subject.Space{}, "compensation_manager", s)
		wait, _ := fault.Delay(err)
		fmt.Println(order, err, wait)
	}
	// Output:
	// o-1 <nil> 0s
	// o-2 compensation_manager: asleep 1s
}
