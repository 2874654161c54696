package agent

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/signalmesh/signalmesh/pkg/bus"
	"github.com/signalmesh/signalmesh/pkg/delivery"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

// A flight is one message between being taken off the bus and being settled: a signal with
// all its deliveries, or a single delivery that comes back.
type flight struct {
	m        *bus.Message
	s        *signal.Signal
	sequence uint64 // of the signal on the bus

	runs []run // one per verdict; those with a verdict already are not run

	mu       sync.Mutex
	verdicts []delivery.Verdict // one per delivery, in table order; an empty status is under way
	fresh    bool               // the journal has not seen them as they are
}

// settle takes one signal from the bus to its end: plan, deliver, record, acknowledge.
// again says that somebody may have begun before.
func (a *Agent) settle(ctx context.Context, m *bus.Message, again bool) {
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
	f := newFlight(m, m.Signal, m.Sequence, verdicts)
	for i, j := range jobs {
		f.runs[i] = run{job: j, s: f.s, sequence: f.sequence}
	}
	if again {
		earlier, err := a.recorded(ctx, f.s)
		if err != nil {
			a.handBack(m)
			return
		}
		f.takeOver(earlier, m.Stored)
	}
	a.fly(ctx, f)
	if a.finish(ctx, f) {
		a.cfg.Metrics.Settled(a.bus.Name(), time.Since(m.Stored))
	}
}

func newFlight(m *bus.Message, s *signal.Signal, sequence uint64, verdicts []delivery.Verdict) *flight {
	return &flight{m: m, s: s, sequence: sequence, runs: make([]run, len(verdicts)), verdicts: verdicts, fresh: true}
}

// letGoCarried closes what was opened for this signal alone; the rest is the table's.
func (a *Agent) letGoCarried(jobs []*job) {
	for i, j := range jobs {
		if j != nil && j.carried {
			a.pool.letGo(jobs[i : i+1])
		}
	}
}

// skew is how far apart the clocks of nodes may be. It is less than the window in which the
// same signal is stored once.
const skew = time.Minute

// takeOver takes from the verdicts that an earlier holder of the signal left in the journal
// what is settled, so that it does not run twice, and where the attempts of the rest ended.
// Verdicts that are older than the message are about another one: the signal was published
// again, after the window in which that changes nothing, or replayed.
func (f *flight) takeOver(earlier []delivery.Verdict, stored time.Time) {
	earlier = slices.DeleteFunc(earlier, func(v delivery.Verdict) bool { return v.At.Before(stored.Add(-skew)) })
	for i := range f.verdicts {
		v := &f.verdicts[i]
		same := func(e delivery.Verdict) bool { return e.Route == v.Route && e.Target == v.Target }
		j := slices.IndexFunc(earlier, same)
		switch {
		case j < 0 || v.Status != "":
		case settled(earlier[j]):
			*v = earlier[j]
		default:
			f.runs[i].goOn(earlier[j].Attempts)
		}
	}
}

// settled reports whether nothing is left to do here for a delivery: it has ended, or it
// waits in the stream and comes back from there.
func settled(v delivery.Verdict) bool { return v.Status.Final() || v.Parked }

// A message that was taken off the bus that often, this time included, without being
// settled may hold what ends the process.
const (
	suspectAfter = 3
	crashLimit   = 16 // beyond it is certain
)

// suspicion is how long a delivery of a suspect runs before the next one begins. What ends
// a process does it soon.
const suspicion = time.Second

// fly runs the deliveries that have no verdict yet, side by side, and returns when each has
// one or was stopped.
func (a *Agent) fly(ctx context.Context, f *flight) {
	var open []int
	for i, v := range f.verdicts {
		if v.Status == "" {
			open = append(open, i)
		}
	}
	if len(open) == 0 {
		return
	}
	a.flights.add(f)
	defer a.flights.remove(f)
	if f.m.Delivered >= suspectAfter {
		a.flyCarefully(ctx, f, open)
		return
	}
	var wg sync.WaitGroup
	for _, i := range open[1:] {
		wg.Go(func() { a.deliver(ctx, f, i) })
	}
	a.deliver(ctx, f, open[0]) // the common lone delivery needs no goroutine
	wg.Wait()
}

// flyCarefully starts one delivery after the other, and tells the journal in between, so
// that the one that ends the process takes no other with it: those before it have their
// verdict when the signal comes again, and in the end it is the first one without. Then it
// is given up. Without a journal nobody knows which one it is, and all are.
func (a *Agent) flyCarefully(ctx context.Context, f *flight, open []int) {
	if f.m.Delivered > crashLimit {
		for n, i := range open {
			f.runs[i].fatal = n == 0 || a.cfg.Journal == nil
		}
	}
	var wg sync.WaitGroup
	for n, i := range open {
		done := make(chan struct{})
		wg.Go(func() {
			defer close(done)
			a.deliver(ctx, f, i)
		})
		if n < len(open)-1 {
			waitFor(done, suspicion)
			a.tell(ctx, f)
		}
	}
	wg.Wait()
}

func waitFor(done <-chan struct{}, most time.Duration) {
	over := time.NewTimer(most)
	defer over.Stop()
	select {
	case <-done:
	case <-over.C:
	}
}

// deliver runs one delivery of the flight and notes its verdict.
func (a *Agent) deliver(ctx context.Context, f *flight, i int) {
	note := func(v delivery.Verdict) { f.note(i, v) }
	note(a.run(ctx, &f.runs[i], note))
}

// finish stores the verdicts and acknowledges the message, or hands it back if a delivery
// was stopped. It reports whether the message is settled.
func (a *Agent) finish(ctx context.Context, f *flight) bool {
	stopped := slices.ContainsFunc(f.verdicts, func(v delivery.Verdict) bool { return !settled(v) })
	if !a.record(ctx, f) || stopped {
		a.handBack(f.m)
		return false
	}
	a.acknowledge(f.m)
	return true
}

func (f *flight) note(i int, v delivery.Verdict) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.verdicts[i] = v
	f.fresh = true
}

// snapshot returns the verdicts so far, and whether the journal has not seen them.
func (f *flight) snapshot() (verdicts []delivery.Verdict, fresh bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	verdicts = make([]delivery.Verdict, 0, len(f.verdicts))
	for _, v := range f.verdicts {
		if v.Status != "" {
			verdicts = append(verdicts, v)
		}
	}
	fresh, f.fresh = f.fresh, false
	return verdicts, fresh
}

// untold says that the journal did not get to see what the last snapshot held.
func (f *flight) untold() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fresh = true
}

// flights are the messages in flight, for the keeper.
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

func (fs *flights) list() []*flight {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	all := make([]*flight, 0, len(fs.all))
	for f := range fs.all {
		all = append(all, f)
	}
	return all
}
