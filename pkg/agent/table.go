package agent

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/signalmesh/signalmesh/pkg/delivery"
	"github.com/signalmesh/signalmesh/pkg/dispatch"
	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/route"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

// Carried is the name under which the targets that a signal carries itself appear where a
// route's name would. No route can have it.
const Carried = "@dispatch"

// A table is the routes of one bus with their targets open. It stays in use until the last
// flight that began with it ends.
type table struct {
	routes *route.Table
	jobs   map[string][]*job // by route
	users  int               // the holder, and flights; guarded by holder.mu
	pool   *pool
}

// A holder hands out the table in force.
type holder struct {
	mu      sync.Mutex
	current *table
	ended   bool
}

// acquire returns the table in force. Each acquire needs a release.
func (h *holder) acquire() *table {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.current.users++
	return h.current
}

func (h *holder) release(t *table) {
	h.mu.Lock()
	t.users--
	last := t.users == 0
	h.mu.Unlock()
	if last {
		t.close()
	}
}

// set puts t in force. It reports false, and closes t, when the holder has ended.
func (h *holder) set(t *table) bool {
	h.mu.Lock()
	if h.ended {
		h.mu.Unlock()
		t.close()
		return false
	}
	old := h.current
	h.current = t
	t.users++
	h.mu.Unlock()
	if old != nil {
		h.release(old)
	}
	return true
}

// end lets go of the table in force, and of every one that is set later. A table that is
// acquired after that has nothing open.
func (h *holder) end() {
	h.mu.Lock()
	old := h.current
	h.current, h.ended = &table{routes: old.routes, pool: old.pool, users: 1}, true
	h.mu.Unlock()
	h.release(old)
}

func (t *table) close() {
	for _, jobs := range t.jobs {
		t.pool.letGo(jobs)
	}
}

// Swap puts routes in force, those of them that concern the agent's bus. Signals in flight
// finish with the table they began with. The context bounds the call.
//
// A route whose targets can't be opened here keeps its running definition, or, if it has
// none, is in force with deliveries that fail visibly and try to open the target again; the
// error lists such routes. Routes that do not compile change nothing. When Run has returned
// nothing can be put in force any more; the error is coded Unavailable.
func (a *Agent) Swap(ctx context.Context, routes []route.Route) error {
	a.swap.Lock()
	defer a.swap.Unlock()
	before := a.table.acquire()
	defer a.table.release(before)
	next := &table{jobs: make(map[string][]*job), pool: &a.pool}
	var specs []route.Route
	var errs []error
	for _, r := range routes {
		if r.Bus != "" && r.Bus != a.bus.Name() {
			continue
		}
		r, jobs, err := a.openOrKeep(ctx, r, before)
		errs = append(errs, err)
		specs = append(specs, r)
		next.jobs[r.Name] = append(next.jobs[r.Name], jobs...) // of two with one name, all are closed again
	}
	compiled, err := route.Compile(specs...)
	if err != nil {
		next.close()
		return err
	}
	next.routes = compiled
	if !a.table.set(next) {
		return errStopped
	}
	return errors.Join(errs...)
}

// Routes is the table in force.
func (a *Agent) Routes() *route.Table {
	t := a.table.acquire()
	defer a.table.release(t)
	return t.routes
}

// openOrKeep opens the targets of a route, or else those of its running definition, which it
// then returns instead.
func (a *Agent) openOrKeep(ctx context.Context, r route.Route, before *table) (route.Route, []*job, error) {
	jobs, err := a.openRoute(ctx, r)
	if err == nil {
		return r, jobs, nil
	}
	err = fmt.Errorf("route %s, revision %d: %w", r.Name, r.Revision, err)
	running, ok := before.routes.Get(r.Name)
	if !ok {
		return r, jobs, err
	}
	a.pool.letGo(jobs)
	jobs, _ = a.openRoute(ctx, running) // what is open is shared; what was not has been told of
	return running, jobs, err
}

// openRoute opens the targets of a route. A target that can't be opened becomes a job that
// fails, and is in the error.
func (a *Agent) openRoute(ctx context.Context, r route.Route) ([]*job, error) {
	if r.Disabled {
		return nil, nil
	}
	names := r.TargetNames()
	jobs := make([]*job, len(r.To))
	var errs []error
	for i, to := range r.To {
		j := &job{route: r.Name, target: names[i], revision: r.Revision, policy: r.Retry, to: to.Target}
		if to.Retry != nil {
			j.policy = *to.Retry
		}
		if j.out, j.openErr = a.pool.get(ctx, to.Target, false); j.openErr != nil {
			errs = append(errs, fmt.Errorf("target %s: %w", j.target, j.openErr))
		}
		jobs[i] = j
	}
	return jobs, errors.Join(errs...)
}

// plan says what a signal causes: for each verdict, in order, the job that leads to it, or
// none where the verdict is already there. What plan opened is closed by [pool.letGo].
func (t *table) plan(ctx context.Context, a *Agent, s *signal.Signal) (jobs []*job, verdicts []delivery.Verdict) {
	decide := func(v delivery.Verdict) {
		v.Node = a.cfg.Node
		jobs, verdicts = append(jobs, nil), append(verdicts, a.decided(v))
	}
	evaluations := t.routes.Evaluate(s)
	if n := len(evaluations); n > 0 { // one target each is the rule
		jobs, verdicts = make([]*job, 0, n), make([]delivery.Verdict, 0, n)
	}
	matched := false
	for _, e := range evaluations {
		status := delivery.Status("matched")
		switch {
		case e.Err != nil:
			status = delivery.PredicateError
			a.log.WarnContext(ctx, "predicate failed", "route", e.Route.Name, "signal_id", s.ID, "error", e.Err)
			decide(delivery.Verdict{Route: e.Route.Name, Revision: e.Route.Revision, Status: status, Reason: e.Reason()})
		case e.Rejected:
			status = delivery.Rejected
			decide(delivery.Verdict{Route: e.Route.Name, Revision: e.Route.Revision, Status: status, Reason: e.Reason()})
		default:
			matched = true
			for _, j := range t.jobs[e.Route.Name] {
				jobs, verdicts = append(jobs, j), append(verdicts, delivery.Verdict{Route: j.route, Target: j.target})
			}
		}
		a.cfg.Metrics.Routed(a.bus.Name(), e.Route.Name, string(status))
	}
	targets, err := dispatch.FromSignal(s)
	if err != nil {
		decide(delivery.Verdict{Route: Carried, Status: delivery.Denied, Reason: err.Error()})
	}
	for i, name := range targetNames(targets) {
		j := a.carried(ctx, targets[i], name)
		if fault.Is(j.openErr, fault.Denied) {
			decide(delivery.Verdict{Route: Carried, Target: name, Adapter: j.to.Adapter, Status: delivery.Denied, Reason: j.openErr.Error()})
			continue
		}
		jobs, verdicts = append(jobs, j), append(verdicts, delivery.Verdict{Route: j.route, Target: j.target})
	}
	if !matched && len(targets) == 0 {
		a.cfg.Metrics.Unmatched(a.bus.Name())
	}
	return jobs, verdicts
}

// carried is the job of a target that a signal carries, where the policy of the bus allows it.
func (a *Agent) carried(ctx context.Context, to dispatch.Target, name string) *job {
	j := &job{route: Carried, target: name, to: to, carried: true}
	if j.openErr = a.cfg.Carried.CheckIn(a.cfg.Registry, to); j.openErr == nil {
		j.out, j.openErr = a.pool.get(ctx, to, true)
	}
	return j
}

// targetNames names carried targets as those of a route are named.
func targetNames(targets []dispatch.Target) []string {
	spec := route.Spec{To: make([]route.Target, len(targets))}
	for i, t := range targets {
		spec.To[i].Target = t
	}
	return spec.TargetNames()
}

// job finds the delivery that a request asks for. A route or target that is gone fails for
// good, so that the request becomes a dead letter and is not lost.
func (t *table) job(ctx context.Context, a *Agent, s *signal.Signal, req delivery.Request) *job {
	for _, j := range t.jobs[req.Name] {
		if j.target == req.Target {
			return j
		}
	}
	if req.Name == Carried {
		targets, err := dispatch.FromSignal(s)
		for i, name := range targetNames(targets) {
			if err == nil && name == req.Target {
				return a.carried(ctx, targets[i], name)
			}
		}
	}
	gone := fault.Newf(fault.NotFound, "the mesh has no route %q with a target %q any more", req.Name, req.Target)
	if r, ok := t.routes.Get(req.Name); ok && r.Disabled {
		gone = fault.Newf(fault.NotFound, "the route %q is disabled", req.Name)
	}
	return &job{route: req.Name, target: req.Target, openErr: fault.Permanent(gone)}
}
