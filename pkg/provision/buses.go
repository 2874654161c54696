package provision

import (
	"context"
	"fmt"
	"slices"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/signalmesh/signalmesh/pkg/subject"
)

// Buses lists the names of the buses that exist on the server, sorted: for [Vars] of a plan
// that takes in all of them.
func Buses(ctx context.Context, js jetstream.JetStream, space subject.Space) ([]string, error) {
	var buses []string
	list := js.StreamNames(ctx, jetstream.WithStreamListSubject(space.Prefix()+".>"))
	for name := range list.Name() {
		if bus, ok := space.BusOf(name); ok {
			buses = append(buses, bus)
		}
	}
	if err := list.Err(); err != nil {
		return nil, fmt.Errorf("list buses: %w", coded(err))
	}
	slices.Sort(buses)
	return buses, nil
}
