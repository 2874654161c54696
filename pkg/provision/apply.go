package provision

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/signalmesh/signalmesh/pkg/fault"
)

// Apply makes it so: first what is new, then what changes. A plan that is [Plan.Blocked]
// changes nothing. The first error ends it, and what was done before it stays.
//
// The error is fault.Conflict for what can't be done, and when a stream is no longer as the
// plan saw it; else as for [Ensure].
func (p *Plan) Apply(ctx context.Context) error {
	for _, c := range p.changes {
		if c.Class == Immutable {
			return c.refusal()
		}
	}
	for _, c := range p.changes {
		if c.Action == Create {
			if _, err := create(ctx, p.js, c.want); err != nil {
				return fmt.Errorf("create %s %s: %w", c.Kind, c.Name, coded(err))
			}
		}
	}
	for _, c := range p.changes {
		if c.Action == Update {
			if err := c.update(ctx, p.js); err != nil {
				return fmt.Errorf("update %s %s: %w", c.Kind, c.Name, err)
			}
		}
	}
	return nil
}

func (c Change) refusal() error {
	for _, f := range c.Fields {
		if f.Class == Immutable {
			return fault.Hint(
				fault.Newf(fault.Conflict, "%s %s: %s can't be changed: %s", c.Kind, c.Name, f.Name, f.Note),
				"keep the setting as it is, or move to a stream of another name")
		}
	}
	return nil
}

// update reads the live configuration again and changes what the plan shows. The server
// would reset whatever an update leaves out.
func (c Change) update(ctx context.Context, js jetstream.JetStream) error {
	stream, err := js.Stream(ctx, c.want.Name)
	if err != nil {
		return coded(err)
	}
	live := stream.CachedInfo().Config
	if !reflect.DeepEqual(settings(live), settings(*c.live)) {
		return fault.Hint(
			fault.Newf(fault.Conflict, "its configuration changed since the plan was made"),
			"make the plan again")
	}
	next := c.want
	next.Sealed, next.NoAck, next.Template = live.Sealed, live.NoAck, live.Template
	next.Metadata = merge(live.Metadata, c.want.Metadata)
	_, err = js.UpdateStream(ctx, next)
	return coded(err)
}

// merge keeps what the server wrote about itself.
func merge(live, want map[string]string) map[string]string {
	all := map[string]string{}
	for k, v := range live {
		if strings.HasPrefix(k, "_nats.") {
			all[k] = v
		}
	}
	maps.Copy(all, want)
	return all
}
