package replay

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/signalmesh/signalmesh/pkg/bus"
	"github.com/signalmesh/signalmesh/pkg/delivery"
	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/route"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

// ToRoute has the nodes of the bus make the deliveries of one route, and of no other, for
// the signals that its pattern and its predicate select: to all its targets, or to those
// named. They are ordinary deliveries, with the route's own adapters, secrets and retries;
// their attempts show in `sigctl why` and their failures in the dead letters. Only their
// idempotency key is one of the replay.
//
// A signal counts as sent when its deliveries are ordered, which is durable. A default route
// gets what its pattern selects, whoever else takes it. The route must be in force: its
// nodes run what they have under its name when a delivery is due.
func ToRoute(b *bus.Bus, r route.Route, targets ...string) (Sink, error) {
	k, err := newRouteSink(b, r, targets)
	if err != nil {
		return nil, fmt.Errorf("replay to route %s: %w", r.Name, err)
	}
	return k, nil
}

type routeSink struct {
	b       *bus.Bus
	name    string
	targets []string
	table   *route.Table // of the one route
}

func newRouteSink(b *bus.Bus, r route.Route, targets []string) (*routeSink, error) {
	switch {
	case r.Disabled:
		return nil, fault.Hint(fault.Newf(fault.Conflict, "it is disabled"), "enable it first: its deliveries would become dead letters")
	case r.Bus != "" && r.Bus != b.Name():
		return nil, fault.Newf(fault.Invalid, "it is for signals of bus %s, not %s", r.Bus, b.Name())
	}
	names := r.TargetNames()
	for _, t := range targets {
		if !slices.Contains(names, t) {
			return nil, fault.Hint(fault.Newf(fault.NotFound, "it has no target %q", t), "its targets are %v", names)
		}
	}
	if len(targets) == 0 {
		targets = names
	}
	table, err := route.Compile(r)
	if err != nil {
		return nil, err
	}
	return &routeSink{b: b, name: r.Name, targets: targets, table: table}, nil
}

// selects says yes also when the predicate fails, so that Send tells.
func (k *routeSink) selects(s *signal.Signal) bool {
	for _, e := range k.table.Evaluate(s) {
		if e.Matched || e.Err != nil {
			return true
		}
	}
	return false
}

func (k *routeSink) Send(ctx context.Context, entries []bus.Entry) error {
	for _, e := range entries {
		if err := k.order(ctx, e); err != nil {
			return err
		}
	}
	return nil
}

// order orders the deliveries of one signal. The position is left out: what lies there, if
// anything does, has no replayid.
func (k *routeSink) order(ctx context.Context, e bus.Entry) error {
	for _, v := range k.table.Evaluate(e.Signal) {
		if v.Err != nil {
			return fault.Permanent(fmt.Errorf("predicate: %w", v.Err))
		}
	}
	doc, err := e.Signal.MarshalJSON()
	if err != nil {
		return err
	}
	for _, target := range k.targets {
		req := delivery.Request{Kind: delivery.KindRoute, Name: k.name, Target: target, Signal: doc, At: time.Now().UTC(), Replay: true}
		mark := e.Signal.ExtString(signal.ExtReplay)
		id := "replay\x00" + mark + "\x00" + e.Signal.Source + "\x00" + e.Signal.ID + "\x00" + strconv.FormatUint(e.Sequence, 10) + "\x00" + k.name + "\x00" + target
		if err := k.b.Later(ctx, id, req, time.Time{}); err != nil {
			return err
		}
	}
	return nil
}

var (
	_ Sink     = (*routeSink)(nil)
	_ selector = (*routeSink)(nil)
)
