package provision

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/signalmesh/signalmesh/pkg/fault"
)

// Ensure creates what is missing of defs and touches nothing that exists, whatever its
// configuration. It may race with others who do the same.
//
// The one thing it checks about what exists is that it stores the subjects of its
// definition: fault.Conflict otherwise, since publishing would go nowhere. Other errors
// are fault.Exhausted when the server has no room, fault.Unavailable when it does not
// answer, fault.Invalid or Denied when it refuses.
func Ensure(ctx context.Context, js jetstream.JetStream, defs ...Definition) error {
	for _, d := range defs {
		if err := ensure(ctx, js, d); err != nil {
			return fmt.Errorf("%s: %w", d, err)
		}
	}
	return nil
}

func ensure(ctx context.Context, js jetstream.JetStream, d Definition) error {
	live, err := js.Stream(ctx, d.Config.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		if live, err = create(ctx, js, d.Config); errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
			live, err = js.Stream(ctx, d.Config.Name) // someone else was faster
		}
	}
	if err != nil {
		return coded(err)
	}
	return sameSubjects(d, live.CachedInfo().Config)
}

// errStoreFailed is answered when the stream before this one was the account's last and its
// directory is being removed at this moment.
const errStoreFailed jetstream.ErrorCode = 10049

// create makes the stream. The server's defaults are sent along: they mean the same.
func create(ctx context.Context, js jetstream.JetStream, c jetstream.StreamConfig) (jetstream.Stream, error) {
	stream, err := js.CreateStream(ctx, c)
	var api *jetstream.APIError
	if errors.As(err, &api) && api.ErrorCode == errStoreFailed {
		return js.CreateStream(ctx, c)
	}
	return stream, err
}

func sameSubjects(d Definition, live jetstream.StreamConfig) error {
	for _, want := range d.Config.Subjects {
		if !slices.ContainsFunc(live.Subjects, func(have string) bool { return covers(have, want) }) {
			return fault.Hint(
				fault.Newf(fault.Conflict, "exists, but stores %s and not %s", strings.Join(live.Subjects, ", "), want),
				"choose another name, or look at `sigctl streams plan`")
		}
	}
	return nil
}

// covers reports whether every subject that b stands for is one of a's.
func covers(a, b string) bool {
	as, bs := strings.Split(a, "."), strings.Split(b, ".")
	for i, t := range as {
		switch {
		case t == ">":
			return i < len(bs)
		case i >= len(bs), bs[i] == ">", t != "*" && t != bs[i]:
			return false
		}
	}
	return len(as) == len(bs)
}
