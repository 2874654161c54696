package agent_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/signalmesh/signalmesh/pkg/dispatch"
	"github.com/signalmesh/signalmesh/pkg/signal"
	"github.com/signalmesh/signalmesh/pkg/testkit"
)

// A probe is a target that records what it gets and answers as told; by default it takes
// everything. All adapters opened with its id, by any agent, are this one target.
type probe struct {
	w  *world
	id string

	mu     sync.Mutex
	calls  []call
	grown  chan struct{} // closed and replaced with each call
	do     func(context.Context, call) (*signal.Signal, error)
	onOpen func(context.Context, options, dispatch.Env) error
	opened int
	closed int
}

// A call is one attempt.
type call struct {
	n    int // from 1
	s    *signal.Signal
	info dispatch.Info
	node string
	at   time.Time
}

// probe is the target with this id.
func (w *world) probe(id string) *probe {
	w.mu.Lock()
	defer w.mu.Unlock()
	p := w.probes[id]
	if p == nil {
		p = &probe{w: w, id: id, grown: make(chan struct{})}
		w.probes[id] = p
	}
	return p
}

// open opens the adapter "probe".
func (w *world) open(ctx context.Context, o options, env dispatch.Env) (dispatch.Adapter, error) {
	p := w.probe(o.ID)
	p.mu.Lock()
	onOpen := p.onOpen
	p.mu.Unlock()
	if onOpen != nil {
		if err := onOpen(ctx, o, env); err != nil {
			return nil, err
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.opened++
	return &handle{probe: p, env: env}, nil
}

// A handle is one opened adapter of a probe.
type handle struct {
	*probe
	env  dispatch.Env
	once sync.Once
}

func (h *handle) Endpoint() string { return "probe:" + h.id }

func (h *handle) Deliver(ctx context.Context, s *signal.Signal) error {
	_, err := h.Exchange(ctx, s)
	return err
}

func (h *handle) Exchange(ctx context.Context, s *signal.Signal) (*signal.Signal, error) {
	h.mu.Lock()
	c := call{n: len(h.calls) + 1, s: s, info: dispatch.InfoFrom(ctx), node: h.env.Node, at: time.Now()}
	h.calls = append(h.calls, c)
	close(h.grown)
	h.grown = make(chan struct{})
	do := h.do
	h.mu.Unlock()
	if do == nil {
		return nil, nil
	}
	return do(ctx, c)
}

func (h *handle) Close() error {
	h.once.Do(func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.closed++
	})
	return nil
}

// answer says what the probe does from now on.
func (p *probe) answer(do func(context.Context, call) (*signal.Signal, error)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.do = do
}

// fail makes every attempt fail with the error, nil for none.
func (p *probe) fail(err error) {
	p.answer(func(context.Context, call) (*signal.Signal, error) { return nil, err })
}

// failFirst makes the first n attempts fail.
func (p *probe) failFirst(n int, err error) {
	p.answer(func(_ context.Context, c call) (*signal.Signal, error) {
		if c.n <= n {
			return nil, err
		}
		return nil, nil
	})
}

// hang makes every attempt hang until the release is called, or its context ends.
func (p *probe) hang() (release func()) {
	gate := make(chan struct{})
	p.answer(func(ctx context.Context, _ call) (*signal.Signal, error) {
		select {
		case <-gate:
			return nil, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	})
	return sync.OnceFunc(func() { close(gate) })
}

func (p *probe) opening(f func(context.Context, options, dispatch.Env) error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.onOpen = f
}

// users is how often the adapter is open now, and how often it was opened.
func (p *probe) users() (now, ever int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.opened - p.closed, p.opened
}

// got are the calls so far.
func (p *probe) got() []call {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.calls)
}

// wait returns the calls when there are at least n.
func (p *probe) wait(n int) []call {
	p.w.Helper()
	over := time.NewTimer(testkit.Patience)
	defer over.Stop()
	for {
		p.mu.Lock()
		got, grown := slices.Clone(p.calls), p.grown
		p.mu.Unlock()
		if len(got) >= n {
			return got
		}
		select {
		case <-grown:
		case <-over.C:
			p.w.Fatalf("target %s: %d calls within %s, want %d; logged:\n%s", p.id, len(got), testkit.Patience, n, p.w.logged)
		}
	}
}

// only wants exactly n calls, now that everything is settled.
func (p *probe) only(n int) []call {
	p.w.Helper()
	got := p.got()
	if len(got) != n {
		var all []string
		for _, c := range got {
			all = append(all, fmt.Sprintf("%s(%s) attempt %d of %s", c.s.Type, c.s.ID, c.info.Attempt, c.info.Route))
		}
		p.w.Fatalf("target %s: %d calls, want %d: %q", p.id, len(got), n, all)
	}
	return got
}
