package agent

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/signalmesh/signalmesh/pkg/bus"
	"github.com/signalmesh/signalmesh/pkg/delivery"
	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/journal"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

// keepEvery is how often the journal hears of deliveries that go on. It is about the time
// in which a crash makes a delivery run twice.
const keepEvery = time.Second

// keep tells the journal how far signals are whose deliveries take long, until ctx ends. A
// takeover runs only what has no verdict there.
func (a *Agent) keep(ctx context.Context) {
	if a.cfg.Journal == nil {
		return
	}
	tick := time.NewTicker(keepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		var told sync.WaitGroup // at once: what is put at the same time is stored together
		for _, f := range a.flights.list() {
			told.Go(func() { a.tell(ctx, f) })
		}
		told.Wait()
	}
}

// tell writes what is new about a flight that goes on. A failure is told to the log alone:
// the last word of the flight is insisted on.
func (a *Agent) tell(ctx context.Context, f *flight) {
	verdicts, fresh := f.snapshot()
	if a.cfg.Journal == nil || !fresh || len(verdicts) == 0 {
		return
	}
	if err := a.cfg.Journal.PutVerdicts(ctx, f.s, f.sequence, verdicts); err != nil && ctx.Err() == nil {
		f.untold()
		a.log.WarnContext(ctx, "cannot journal a delivery in progress", "signal_id", f.s.ID, "error", err)
	}
}

// record stores the verdicts of a flight; false means that ctx ended first.
func (a *Agent) record(ctx context.Context, f *flight) bool {
	if a.cfg.Journal == nil {
		return true
	}
	verdicts, _ := f.snapshot()
	if ctx.Err() != nil { // stopped: one more try, so that others know what is done
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), farewell)
		defer cancel()
	}
	err := a.insist(ctx, "journal verdicts", func() error {
		err := a.cfg.Journal.PutVerdicts(ctx, f.s, f.sequence, verdicts)
		return hopelessIf(err, fault.Invalid, fault.TooLarge)
	})
	if err != nil && ctx.Err() == nil { // never: to deliver again would not help
		a.log.ErrorContext(ctx, "verdicts can't be journalled", "signal_id", f.s.ID, "error", err)
		return true
	}
	return err == nil
}

// recorded returns the verdicts that the journal has on a signal. The error means that ctx
// ended; what can't be read for another reason is taken for nothing.
func (a *Agent) recorded(ctx context.Context, s *signal.Signal) (verdicts []delivery.Verdict, err error) {
	if a.cfg.Journal == nil {
		return nil, nil
	}
	err = a.insist(ctx, "read verdicts", func() (err error) {
		verdicts, err = a.cfg.Journal.Verdicts(ctx, s.ID, journal.FromSource(s.Source))
		return hopelessIf(err, fault.Invalid, fault.Internal, fault.NotFound)
	})
	if err != nil && ctx.Err() == nil {
		a.log.ErrorContext(ctx, "earlier verdicts can't be read; deliveries may be repeated", "signal_id", s.ID, "error", err)
		return nil, nil
	}
	return verdicts, err
}

// insist repeats a store operation until it succeeds, fails with fault.Permanent, or ctx
// ends, and returns nil or why not.
func (a *Agent) insist(ctx context.Context, deed string, do func() error) error {
	res := storePolicy.Run(ctx, func(context.Context, int) error { return do() }, delivery.Options{
		OnAttempt: func(at delivery.Attempt, _ time.Time) {
			if !at.OK() {
				a.log.WarnContext(ctx, "the store did not take it", "deed", deed, "attempt", at.Number, "error", at.Error)
			}
		},
	})
	if res.Status == delivery.Delivered {
		return nil
	}
	return fmt.Errorf("%s: %w", deed, res.Err)
}

// storePolicy keeps trying: while the store is away nothing can be settled anyway.
var storePolicy = delivery.Policy{MaxAttempts: 1 << 30, Min: 50 * time.Millisecond, Max: 2 * time.Second}

// hopelessIf makes err permanent if it has one of the codes: the same would fail again.
func hopelessIf(err error, codes ...fault.Code) error {
	for _, c := range codes {
		if fault.Is(err, c) {
			return fault.Permanent(err)
		}
	}
	return err
}

func (a *Agent) acknowledge(m *bus.Message) {
	if err := m.Ack(); err != nil {
		a.log.Warn("cannot acknowledge; the signal will come again", "sequence", m.Sequence, "error", err)
	}
}

func (a *Agent) handBack(m *bus.Message) {
	if err := m.NakWithDelay(handBackAfter); err != nil {
		a.log.Warn("cannot hand back; the signal comes again after its ack wait", "sequence", m.Sequence, "error", err)
	}
}
