// Package named is the adapter "named": it calls a handler that some process of the mesh
// serves under a name (mesh.ServeNamed), wherever that process runs.
//
// Promises: a delivery succeeds when the handler returned without error; the handler's
// error comes back with its code and advice; a signal that it answers with is the reply;
// a name that nobody serves at the moment is worth another try.
package named

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/signalmesh/signalmesh/pkg/dispatch"
	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/internal/plug"
	"github.com/signalmesh/signalmesh/pkg/mesh"
	"github.com/signalmesh/signalmesh/pkg/signal"
	"github.com/signalmesh/signalmesh/pkg/subject"
)

func init() { dispatch.Register("named", open) }

// Config are the options of the adapter.
type Config struct {
	Name    string        `json:"name" required:"true" doc:"name that a process of the mesh serves"`
	Timeout time.Duration `json:"timeout" default:"5s" min:"1ms" max:"24h" doc:"longest time for the handler to finish"`
}

// Validate checks the name.
func (c Config) Validate() error { return plug.At(subject.CheckName("target", c.Name), "name") }

// Endpoint is the name.
func (c Config) Endpoint() string { return c.Name }

// sink calls one name.
type sink struct {
	conn   *nats.Conn
	space  subject.Space
	config Config
}

func open(_ context.Context, c Config, env dispatch.Env) (dispatch.Adapter, error) {
	space, err := subject.NewSpace(env.Space)
	if err != nil {
		return nil, err
	}
	nc, err := env.Connection()
	if err != nil {
		return nil, err
	}
	return &sink{nc, space, c}, nil
}

// Deliver calls the handler and drops what it answers.
func (k *sink) Deliver(ctx context.Context, s *signal.Signal) error {
	_, err := k.Exchange(ctx, s)
	return err
}

// Exchange calls the handler and returns the signal it answers with, if any.
func (k *sink) Exchange(ctx context.Context, s *signal.Signal) (*signal.Signal, error) {
	timed, cancel := context.WithTimeout(ctx, k.config.Timeout)
	defer cancel()
	reply, err := mesh.CallNamed(timed, k.conn, k.space, k.config.Name, s)
	if err != nil && ctx.Err() == nil && timed.Err() != nil && errors.Is(err, context.DeadlineExceeded) {
		return nil, fmt.Errorf("call %s: %w", k.config.Name, fault.Newf(fault.Unavailable, "no answer within %s", k.config.Timeout))
	}
	return reply, err
}

// Endpoint is the name.
func (k *sink) Endpoint() string { return k.config.Name }

// Timeout is the longest one attempt may take.
func (k *sink) Timeout() time.Duration { return k.config.Timeout }

var (
	_ dispatch.Replier   = (*sink)(nil)
	_ dispatch.Limiter   = (*sink)(nil)
	_ dispatch.Describer = (*sink)(nil)
	_ dispatch.Describer = Config{}
)
