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

// share is which part of MaxInFlight one target gets when Config.PerTarget does not say.
const share = 8

const (
	handBackAfter = 200 * time.Millisecond // how long a signal that is handed back waits for another agent
	farewell      = 2 * time.Second        // for what has to be told at the end
)

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
	PerTarget   int              // deliveries that this agent has under way to one target; default an eighth of MaxInFlight
	Hold        time.Duration    // longest wait in memory, for a retry or for a busy target; longer ones are parked; default 1 s
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
	swap    sync.Mutex // one Swap at a time
	table   holder
	flights flights
	work    sync.WaitGroup // one for each flight
}

// New returns an agent that has started nothing. It routes nowhere until [Agent.Swap].
func New(cfg Config) *Agent {
	setDefault(&cfg.Registry, dispatch.Default)
	setDefault(&cfg.MaxInFlight, DefaultMaxInFlight)
	setDefault(&cfg.PerTarget, max(cfg.MaxInFlight/share, 1))
	setDefault(&cfg.AckWait, DefaultAckWait)
	setDefault(&cfg.MaxHops, DefaultMaxHops)
	setDefault(&cfg.Hold, DefaultHold)
	setDefault(&cfg.Drain, DefaultDrain)
	setDefault(&cfg.Log, slog.Default())
	setDefault(&cfg.Env.Bus, cfg.Bus.Name())
	a := &Agent{cfg: cfg, bus: cfg.Bus, log: cfg.Log.With("bus", cfg.Bus.Name())}
	a.pool.open, a.pool.places = a.open, cfg.PerTarget
	a.table.set(&table{routes: new(route.Table), pool: &a.pool})
	return a
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// open opens the adapter of a target, for the pool.
func (a *Agent) open(ctx context.Context, t dispatch.Target, carried bool) (dispatch.Adapter, error) {
	env := a.cfg.Env
	env.AllowSecrets = !carried
	return a.cfg.Registry.Open(ctx, t.Adapter, t.Options, env)
}

// Run takes signals off the bus and delivers them until ctx ends. Then it stops pulling,
// lets deliveries finish for Config.Drain, hands the rest back to the bus and returns nil.
// Another error means that the bus can't be consumed. Run must be called once.
func (a *Agent) Run(ctx context.Context) error {
	work, interrupt := context.WithCancel(context.WithoutCancel(ctx)) // outlives ctx by the drain
	defer a.shut()
	defer interrupt()
	err := a.consume(ctx, work, interrupt)
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// consume takes signals, and deliveries that come back, until ctx ends or one of the two
// can't go on. It returns when all that was taken has an end.
func (a *Agent) consume(ctx, work context.Context, interrupt func()) error {
	last, err := a.bus.Last(ctx)
	if err != nil {
		return fmt.Errorf("consume bus %s: %w", a.bus.Name(), err)
	}
	cfg := bus.ConsumeConfig{
		Durable: Consumer, Start: bus.FromOrigin(), MaxAckPending: a.cfg.MaxInFlight, AckWait: a.cfg.AckWait, KeepAlive: true,
	}
	signals, err := a.bus.Consume(ctx, cfg, func(m *bus.Message) {
		// What is not newer than all that came before may have been settled: the engine
		// forgets how far a consumer was when it crashes, and when the consumer is deleted.
		again := m.Delivered > 1 || m.Sequence <= last
		last = max(last, m.Sequence)
		a.work.Go(func() { a.settle(work, m, again) })
	})
	if err != nil {
		return fmt.Errorf("consume bus %s: %w", a.bus.Name(), err)
	}
	cfg.Start, cfg.Later = nil, delivery.KindRoute
	later, err := a.bus.Consume(ctx, cfg, func(m *bus.Message) { a.work.Go(func() { a.resume(work, m) }) })
	if err != nil {
		a.end(interrupt, signals)
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
	a.end(interrupt, signals, later)
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
	if nc := a.bus.Conn(); nc.IsConnected() {
		_ = nc.FlushTimeout(farewell) // or the last verdicts get lost with the connection, and the signals come again
	}
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
	waitFor(done, a.cfg.Drain)
	interrupt()
	<-done
}
