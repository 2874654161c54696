// Package busbridge is the adapter "bus": it puts signals on another bus of the mesh.
//
// Promises: the copy is the same signal, with the same id and source, so that a repeat is
// stored once; it has one hop more in meshhops, so that two bridges that feed each other
// stop; a delivery succeeds when the other bus has stored it.
package busbridge

import (
	"context"
	"fmt"

	"github.com/signalmesh/signalmesh/pkg/dispatch"
	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/internal/plug"
	"github.com/signalmesh/signalmesh/pkg/signal"
	"github.com/signalmesh/signalmesh/pkg/subject"
)

func init() { dispatch.Register("bus", open) }

// Config are the options of the adapter.
type Config struct {
	Name string `json:"name" required:"true" doc:"bus that gets the signal; not the one it is on"`
}

// Validate checks the name.
func (c Config) Validate() error { return plug.At(subject.CheckName("bus", c.Name), "name") }

// Endpoint is the name of the bus.
func (c Config) Endpoint() string { return c.Name }

// sink publishes to one bus.
type sink struct {
	name    string
	publish func(ctx context.Context, bus string, s *signal.Signal) error
}

func open(_ context.Context, c Config, env dispatch.Env) (dispatch.Adapter, error) {
	switch {
	case c.Name == env.Bus:
		return nil, fault.Permanent(fault.Newf(fault.Invalid, "bus %s can't be a target of its own signals", c.Name))
	case env.Publish == nil:
		return nil, fault.Newf(fault.Unavailable, "no way to publish is given to this target")
	}
	return &sink{c.Name, env.Publish}, nil
}

// Deliver publishes the copy. The context does not say that s is being handled: the copy is
// s itself, not an effect of it.
func (k *sink) Deliver(ctx context.Context, s *signal.Signal) error {
	if err := k.publish(signal.NewContext(ctx, nil), k.name, dispatch.Forward(s)); err != nil {
		return fmt.Errorf("publish on bus %s: %w", k.name, err)
	}
	return nil
}

// Endpoint is the name of the bus.
func (k *sink) Endpoint() string { return k.name }

var (
	_ dispatch.Adapter   = (*sink)(nil)
	_ dispatch.Describer = (*sink)(nil)
	_ dispatch.Describer = Config{}
)
