package agent

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/signalmesh/signalmesh/pkg/bus"
	"github.com/signalmesh/signalmesh/pkg/delivery"
	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

// resume runs one delivery that comes back from the LATER stream: a parked retry that is
// due, or a dead letter that is redriven. Exactly that delivery runs, no other route.
func (a *Agent) resume(ctx context.Context, m *bus.Message) {
	var req delivery.Request
	s, err := a.request(ctx, m, &req)
	switch {
	case fault.Is(err, fault.Unavailable):
		a.handBack(m)
		return
	case err != nil:
		a.log.ErrorContext(ctx, "a parked delivery can't be read", "sequence", m.Sequence, "error", err)
		a.quarantineRequest(ctx, m, err)
		return
	}
	t := a.table.acquire()
	defer a.table.release(t)
	j := t.job(ctx, a, s, req)
	defer a.letGoCarried([]job{j})
	r := run{
		job: j, s: s, sequence: req.Sequence, taken: m.Delivered,
		first: req.First, attempts: req.Attempts, letter: req.Letter,
	}
	f := &flight{m: m, s: s, since: m.Stored, verdicts: make([]delivery.Verdict, 1)}
	a.flights.add(f)
	v := a.run(ctx, r, func(v delivery.Verdict) { f.note(0, v) })
	f.note(0, v)
	a.flights.remove(f)
	if !a.record(ctx, s, req.Sequence, []delivery.Verdict{v}) || !settled(v) {
		a.handBack(m)
		return
	}
	a.acknowledge(m)
}

// request reads a message of the LATER stream. A request without its signal, which was too
// large to travel twice, means what lies at its sequence on the bus.
func (a *Agent) request(ctx context.Context, m *bus.Message, req *delivery.Request) (*signal.Signal, error) {
	if err := json.Unmarshal(m.Body, req); err != nil {
		return nil, fault.Newf(fault.Invalid, "not a delivery request: %w", err)
	}
	if len(req.Signal) > 0 || req.Sequence == 0 {
		return req.Decode()
	}
	e, err := a.bus.Get(ctx, req.Sequence)
	if err != nil {
		return nil, fmt.Errorf("signal at %d: %w", req.Sequence, err)
	}
	return e.Signal, nil
}

// quarantineRequest keeps a request that can't be read, or whose signal is gone, as a dead
// letter.
func (a *Agent) quarantineRequest(ctx context.Context, m *bus.Message, err error) {
	m.DecodeErr = err
	a.quarantine(ctx, m)
}
