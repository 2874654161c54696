package agent

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/signalmesh/signalmesh/pkg/bus"
	"github.com/signalmesh/signalmesh/pkg/delivery"
	"github.com/signalmesh/signalmesh/pkg/journal"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

// A flight is one signal between being taken off the bus and being settled.
type flight struct {
	m     *bus.Message
	s     *signal.Signal
	since time.Time

	mu       sync.Mutex
	verdicts []delivery.Verdict // one per delivery, in table order; an empty status is under way
	dirty    bool               // changed since the journal saw them
}

// settle takes one signal from the bus to its end: plan, deliver, record, acknowledge.
func (a *Agent) settle(ctx context.Context, m *bus.Message) {
	a.cfg.Metrics.InFlight(a.bus.Name(), 1)
	defer a.cfg.Metrics.InFlight(a.bus.Name(), -1)
	if m.DecodeErr != nil {
		a.quarantine(ctx, m)
		return
	}
	t := a.table.acquire()
	defer a.table.release(t)
	jobs, verdicts := t.plan(ctx, a, m.Signal)
	defer a.letGoCarried(jobs)
	if len(verdicts) == 0 {
		a.acknowledge(m)
		return
	}
	f := &flight{m: m, s: m.Signal, since: time.Now(), verdicts: verdicts, dirty: true}
	if m.Delivered > 1 && !a.takeOver(ctx, f) {
		a.handBack(m)
		return
	}
	a.flights.add(f)
	a.deliverAll(ctx, f, jobs)
	a.flights.remove(f)
	a.finish(ctx, f)
}

// letGoCarried closes what was opened for this signal alone; the rest is the table's.
func (a *Agent) letGoCarried(jobs []job) {
	for i, j := range jobs {
		if j.route == Carried {
			a.pool.letGo(jobs[i : i+1])
		}
	}
}

// takeOver copies the verdicts that an earlier holder of the signal left in the journal, so
// that nothing with a verdict runs twice. It reports false if the journal can't be read.
func (a *Agent) takeOver(ctx context.Context, f *flight) bool {
	if a.cfg.Journal == nil {
		return true
	}
	earlier, err := a.cfg.Journal.Verdicts(ctx, f.s.ID, journal.FromSource(f.s.Source))
	if err != nil {
		a.log.WarnContext(ctx, "cannot read earlier verdicts", "signal_id", f.s.ID, "error", err)
		return false
	}
	for i := range f.verdicts {
		v := &f.verdicts[i]
		same := func(e delivery.Verdict) bool { return e.Route == v.Route && e.Target == v.Target }
		if j := slices.IndexFunc(earlier, same); j >= 0 && v.Status == "" && settled(earlier[j]) {
			*v = earlier[j]
		}
	}
	return true
}

// settled reports whether nothing is left to do here for a delivery: it has ended, or it
// waits in the stream and comes back from there.
func settled(v delivery.Verdict) bool { return v.Status.Final() || v.Parked }

// deliverAll runs the deliveries that have no verdict yet, side by side, and returns when
// each has one or was stopped.
func (a *Agent) deliverAll(ctx context.Context, f *flight, jobs []job) {
	var wg sync.WaitGroup
	last := -1
	for i := range jobs {
		if f.verdicts[i].Status != "" {
			continue
		}
		if last >= 0 {
			j := last
			wg.Go(func() { a.deliver(ctx, f, j, jobs[j]) })
		}
		last = i
	}
	if last >= 0 { // the common lone delivery needs no goroutine
		a.deliver(ctx, f, last, jobs[last])
	}
	wg.Wait()
}

// deliver runs one delivery of the flight and notes its verdict.
func (a *Agent) deliver(ctx context.Context, f *flight, i int, j job) {
	r := run{job: j, s: f.s, sequence: f.m.Sequence, taken: f.m.Delivered}
	v := a.run(ctx, r, func(v delivery.Verdict) { f.note(i, v) })
	f.note(i, v)
}

// finish stores the verdicts and acknowledges the signal, or hands it back if a delivery
// was stopped.
func (a *Agent) finish(ctx context.Context, f *flight) {
	verdicts, _ := f.snapshot()
	stopped := slices.ContainsFunc(verdicts, func(v delivery.Verdict) bool { return !settled(v) })
	if !a.record(ctx, f.s, f.m.Sequence, verdicts) || stopped {
		a.handBack(f.m)
		return
	}
	a.acknowledge(f.m)
	a.cfg.Metrics.Settled(a.bus.Name(), time.Since(f.m.Stored))
}

func (f *flight) note(i int, v delivery.Verdict) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.verdicts[i] = v
	f.dirty = true
}

// snapshot returns the verdicts so far, and whether the journal has not seen them.
func (f *flight) snapshot() (verdicts []delivery.Verdict, dirty bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	verdicts = make([]delivery.Verdict, 0, len(f.verdicts))
	for _, v := range f.verdicts {
		if v.Status != "" {
			verdicts = append(verdicts, v)
		}
	}
	dirty, f.dirty = f.dirty, false
	return verdicts, dirty
}

// flights are the signals in flight, for the keeper that extends them.
type flights struct {
	mu  sync.Mutex
	all map[*flight]struct{}
}

func (fs *flights) add(f *flight) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if fs.all == nil {
		fs.all = make(map[*flight]struct{})
	}
	fs.all[f] = struct{}{}
}

func (fs *flights) remove(f *flight) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	delete(fs.all, f)
}

// older returns the flights that have been going on for at least d.
func (fs *flights) older(d time.Duration) []*flight {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	var old []*flight
	for f := range fs.all {
		if time.Since(f.since) >= d {
			old = append(old, f)
		}
	}
	return old
}
