package agent

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/signalmesh/signalmesh/pkg/bus"
	"github.com/signalmesh/signalmesh/pkg/delivery"
	"github.com/signalmesh/signalmesh/pkg/dispatch"
	"github.com/signalmesh/signalmesh/pkg/journal"
	"github.com/signalmesh/signalmesh/pkg/observe"
	"github.com/signalmesh/signalmesh/pkg/route"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

// Consumer is the name of the durable consumers that all agents of a bus share: one on its
// signals, one on its parked deliveries.
const Consumer = "routes"

// What a zero field of [Config] means.
const (
	DefaultMaxInFlight = 1024
	DefaultAckWait     = 10 * time.Second // what is held is extended three times in it
	DefaultMaxHops     = 16
	DefaultHold        = time.Second
	DefaultDrain       = 10 * time.Second
	DefaultTimeout     = time.Minute // of one attempt, for adapters without a limit of their own
)

// handBackAfter is how long a signal that is handed back waits for another agent.
const handBackAfter = 200 * time.Millisecond

// Config is what an agent works with. Bus is required.
type Config struct {
	Bus      *bus.Bus
	Journal  *journal.Journal   // keeps the verdicts; without one a takeover may repeat deliveries
	Registry *dispatch.Registry // adapters by name; default dispatch.Default
	Env      dispatch.Env       // what adapters may use
	Carried  dispatch.Policy    // which targets a signal may carry; the zero policy allows none

	Node        string           // written into verdicts and letters
	MaxInFlight int              // signals taken and not settled, over all agents of the bus; default 1024
	AckWait     time.Duration    // how long a silent agent keeps its signals from the others; default 10 s
	MaxHops     int              // how often a signal may be caused by another before it is a loop; default 16
	Hold        time.Duration    // longest retry wait in memory; longer ones are parked; default 1 s
	Drain       time.Duration    // how long Run lets deliveries finish at the end; default 10 s
	Log         *slog.Logger     // default slog.Default
	Metrics     *observe.Metrics // may be nil
}

// An Agent routes and delivers the signals of one bus on one node. Its methods may be
// called concurrently.
type Agent struct {
	cfg     Config
	bus     *bus.Bus
	log     *slog.Logger
	pool    pool
	table   holder
	flights flights
	work    sync.WaitGroup // flights and parked deliveries under way
}

// New returns an agent that has started nothing. It routes nowhere until [Agent.Swap].
func New(cfg Config) *Agent {
	setDefault(&cfg.Registry, dispatch.Default)
	setDefault(&cfg.MaxInFlight, DefaultMaxInFlight)
	setDefault(&cfg.AckWait, DefaultAckWait)
	setDefault(&cfg.MaxHops, DefaultMaxHops)
	setDefault(&cfg.Hold, DefaultHold)
	setDefault(&cfg.Drain, DefaultDrain)
	setDefault(&cfg.Log, slog.Default())
	a := &Agent{cfg: cfg, bus: cfg.Bus, log: cfg.Log.With("bus", cfg.Bus.Name())}
	a.pool.open = a.open
	a.table.set(&table{routes: new(route.Table), pool: &a.pool})
	return a
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

func (a *Agent) open(ctx context.Context, t dispatch.Target, carried bool) (dispatch.Adapter, error) {
	env := a.cfg.Env
	env.AllowSecrets = !carried
	return a.cfg.Registry.Open(ctx, t.Adapter, t.Options, env)
}

// Run takes signals off the bus and delivers them until ctx ends. Then it stops pulling,
// lets deliveries finish for Config.Drain, hands the rest back to the bus and returns nil.
// Another error means that the bus can't be consumed. Run must be called once.
func (a *Agent) Run(ctx context.Context) error {
	work, stop := context.WithCancel(context.WithoutCancel(ctx)) // outlives ctx by the drain
	defer stop()
	defer a.shut()
	signals, err := a.bus.Consume(ctx, bus.ConsumeConfig{
		Durable: Consumer, Start: bus.FromOrigin(), MaxAckPending: a.cfg.MaxInFlight, AckWait: a.cfg.AckWait, KeepAlive: true,
	},
		func(m *bus.Message) { a.work.Go(func() { a.settle(work, m) }) })
	if err != nil {
		return fmt.Errorf("consume bus %s: %w", a.bus.Name(), err)
	}
	later, err := a.bus.Consume(ctx, bus.ConsumeConfig{
		Durable: Consumer, Later: delivery.KindRoute, MaxAckPending: a.cfg.MaxInFlight, AckWait: a.cfg.AckWait, KeepAlive: true,
	}, func(m *bus.Message) { a.work.Go(func() { a.resume(work, m) }) })
	if err != nil {
		a.end(stop, signals)
		return fmt.Errorf("consume parked deliveries of bus %s: %w", a.bus.Name(), err)
	}

	var keeper sync.WaitGroup
	keeper.Go(func() { a.keep(work) }) // ends with work
	select {
	case <-ctx.Done():
	case <-signals.Done():
		err = signals.Err()
	case <-later.Done():
		err = later.Err()
	}
	a.end(stop, signals, later)
	keeper.Wait()
	return err
}

// end stops taking signals, and drains when none can come any more: one that is just being
// handed over still has a flight.
func (a *Agent) end(interrupt func(), consumers ...*bus.Consumer) {
	for _, c := range consumers {
		c.Stop()
	}
	for _, c := range consumers {
		<-c.Done()
	}
	a.drain(interrupt)
}

// shut closes what is open for routes. No flight is under way.
func (a *Agent) shut() {
	a.table.end()
	a.pool.shut()
}

// drain waits for what is in flight, at most Config.Drain, then interrupts the rest, which
// is handed back.
func (a *Agent) drain(interrupt func()) {
	done := make(chan struct{})
	go func() { a.work.Wait(); close(done) }() // ends when the last flight does, waited for below
	select {
	case <-done:
	case <-time.After(a.cfg.Drain):
	}
	interrupt()
	<-done
}

// keep tells the journal how far signals are whose deliveries take long, until ctx ends. A
// takeover runs only what has no verdict there.
func (a *Agent) keep(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for _, f := range a.flights.older(time.Second) {
			if verdicts, dirty := f.snapshot(); dirty && len(verdicts) > 0 {
				a.tell(ctx, f, verdicts)
			}
		}
	}
}

// tell writes verdicts of a flight that goes on. A failure is told to the log alone: the
// last word of the flight is insisted on.
func (a *Agent) tell(ctx context.Context, f *flight, verdicts []delivery.Verdict) {
	if a.cfg.Journal == nil {
		return
	}
	if err := a.cfg.Journal.PutVerdicts(ctx, f.s, f.m.Sequence, verdicts); err != nil && ctx.Err() == nil {
		a.log.WarnContext(ctx, "cannot journal a delivery in progress", "signal_id", f.s.ID, "error", err)
	}
}

// record stores the verdicts of a signal; false means that ctx ended first.
func (a *Agent) record(ctx context.Context, s *signal.Signal, sequence uint64, verdicts []delivery.Verdict) bool {
	if a.cfg.Journal == nil || len(verdicts) == 0 {
		return true
	}
	if ctx.Err() != nil { // stopped: one more try, so that others know what is done
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		defer cancel()
	}
	return a.insist(ctx, "journal verdicts", func() error {
		return a.cfg.Journal.PutVerdicts(ctx, s, sequence, verdicts)
	}) == nil
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
