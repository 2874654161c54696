package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"

	"github.com/signalmesh/signalmesh/pkg/bus"
	"github.com/signalmesh/signalmesh/pkg/delivery"
	"github.com/signalmesh/signalmesh/pkg/dispatch"
	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

// resume runs one delivery that comes back from the LATER stream: a parked retry that is
// due, or a dead letter that is redriven. Exactly that delivery runs, no other route.
func (a *Agent) resume(ctx context.Context, m *bus.Message) {
	a.cfg.Metrics.InFlight(a.bus.Name(), 1)
	defer a.cfg.Metrics.InFlight(a.bus.Name(), -1)
	var req delivery.Request
	s, err := a.request(ctx, m, &req)
	if err != nil {
		a.refused(ctx, m, req, err)
		return
	}
	earlier, err := a.recorded(ctx, s)
	if err != nil {
		a.handBack(m)
		return
	}
	if overtaken(req, earlier, m.Delivered > 1) {
		a.acknowledge(m)
		return
	}
	t := a.table.acquire()
	defer a.table.release(t)
	j := t.job(ctx, a, s, req)
	defer a.letGoCarried([]*job{j})
	f := newFlight(m, s, req.Sequence, make([]delivery.Verdict, 1))
	f.runs[0] = run{
		job: j, s: s, sequence: req.Sequence, back: true, asked: req.At,
		first: req.First, attempts: req.Attempts, letter: req.Letter,
	}
	a.fly(ctx, f)
	a.finish(ctx, f)
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
	var e bus.Entry
	err := a.insist(ctx, "read the signal of a parked delivery", func() (err error) {
		e, err = a.bus.Get(ctx, req.Sequence)
		return hopelessIf(err, fault.Invalid, fault.NotFound, fault.Internal)
	})
	return e.Signal, err
}

// refused keeps a request that can't be read, or whose signal is gone, as a dead letter.
func (a *Agent) refused(ctx context.Context, m *bus.Message, req delivery.Request, err error) {
	if ctx.Err() != nil {
		a.handBack(m)
		return
	}
	res := delivery.Result{Reason: delivery.ReasonPermanent, Attempts: req.Attempts, Err: fmt.Errorf("read a parked delivery: %w", err)}
	l := req.Died(res)
	if l.Kind != delivery.KindRoute || l.Name == "" { // not even that can be read
		res.Reason = delivery.ReasonUndecodable
		l = delivery.Letter{
			ID:   dispatch.Key(a.bus.Name(), "later", strconv.FormatUint(m.Sequence, 10)),
			Kind: delivery.KindSignal, Name: "undecodable", Header: m.Header, Raw: m.Body,
		}.Died(res)
	}
	a.discard(ctx, m, l, res.Err)
}

// overtaken reports whether what the request asks for is done already: by someone who could
// not say so to the stream, or who had taken the signal itself over. again says that the
// request was taken off the stream before. The verdict on a dead letter that is redriven may
// be the one that it began with, and that on a delivery that is replayed the one of the first
// time.
func overtaken(req delivery.Request, verdicts []delivery.Verdict, again bool) bool {
	i := slices.IndexFunc(verdicts, func(v delivery.Verdict) bool { return v.Route == req.Name && v.Target == req.Target })
	if i < 0 || req.Replay {
		return false
	}
	v := verdicts[i]
	if req.Letter != nil {
		return again && v.Status == delivery.Delivered
	}
	n := len(v.Attempts)
	return v.Status == delivery.Delivered || settled(v) && n > 0 && v.Attempts[n-1].Number >= max(req.First, 1)
}
