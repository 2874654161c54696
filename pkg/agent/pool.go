package agent

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/signalmesh/signalmesh/pkg/dispatch"
	"github.com/signalmesh/signalmesh/pkg/fault"
)

// keepIdle is how many adapters without a user stay open, for targets that signals carry.
const keepIdle = 64

// A pool shares opened adapters: two targets with the same adapter and options are one, and
// a reload keeps the connections of what did not change.
type pool struct {
	open   func(ctx context.Context, t dispatch.Target, carried bool) (dispatch.Adapter, error)
	places int // of the room of each

	mu     sync.Mutex
	all    map[poolKey]*shared
	idle   []*shared // without users, longest idle first
	closed bool
}

type poolKey struct {
	adapter, options string
	carried          bool // carried by a signal: opened without access to our secrets
}

// shared is one adapter and the number of its users. All but key and users is set when
// opened is closed, and does not change afterwards.
type shared struct {
	key   poolKey
	users int // guarded by pool.mu

	opened   chan struct{}
	err      error // why there is no adapter
	adapter  dispatch.Adapter
	endpoint string
	timeout  time.Duration // of one attempt
	room     *room
}

var errStopped = fault.Newf(fault.Unavailable, "the agent has stopped")

// get opens the target, or returns it as someone else has it open. Each get that succeeds
// needs a put. Nothing else waits while an adapter opens, but who wants the same one.
func (p *pool) get(ctx context.Context, t dispatch.Target, carried bool) (*shared, error) {
	s, first, err := p.claim(poolKey{t.Adapter, string(t.Options), carried})
	switch {
	case err != nil:
		return nil, err
	case first:
		p.start(ctx, s, t)
	default:
		select {
		case <-s.opened:
		case <-ctx.Done():
			p.put(s)
			return nil, fault.Wrap(fault.Unavailable, ctx.Err())
		}
	}
	if s.err != nil {
		p.put(s)
		return nil, s.err
	}
	return s, nil
}

// claim makes the caller a user. The first one has to open the adapter.
func (p *pool) claim(key poolKey) (s *shared, first bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, false, errStopped
	}
	s = p.all[key]
	if s == nil {
		first = true
		s = &shared{key: key, opened: make(chan struct{})}
		if p.all == nil {
			p.all = make(map[poolKey]*shared)
		}
		p.all[key] = s
	} else if s.users == 0 {
		p.idle = slices.DeleteFunc(p.idle, func(o *shared) bool { return o == s })
	}
	s.users++
	return s, first, nil
}

// start opens the adapter. One that can't be opened is forgotten, so that the next get
// tries again.
func (p *pool) start(ctx context.Context, s *shared, t dispatch.Target) {
	s.err = guard(func() (err error) {
		if s.adapter, err = p.open(ctx, t, s.key.carried); err == nil {
			s.endpoint, s.timeout, s.room = dispatch.Endpoint(s.adapter), timeoutOf(s.adapter), newRoom(p.places)
		}
		return err
	})
	if s.err != nil {
		p.mu.Lock()
		delete(p.all, s.key)
		p.mu.Unlock()
	}
	close(s.opened)
}

// timeoutOf bounds one attempt of an adapter that does not return by itself.
func timeoutOf(a dispatch.Adapter) time.Duration {
	if l, ok := a.(dispatch.Limiter); ok {
		if own := l.Timeout(); own > 0 {
			return own + time.Second // its own limit comes first
		}
	}
	return DefaultTimeout
}

// put gives s back. A route's adapter closes with its last user. One that a signal carried
// stays idle for the next such signal; the longest idle ones close when there are too many.
func (p *pool) put(s *shared) {
	if last := p.leave(s); last != nil {
		last.close()
	}
}

// leave takes one user from s and returns what is to be closed now, if anything is.
func (p *pool) leave(s *shared) *shared {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s.users--; s.users > 0 {
		return nil
	}
	if s.err == nil && s.key.carried && !p.closed {
		p.idle = append(p.idle, s)
		if len(p.idle) <= keepIdle {
			return nil
		}
		s, p.idle = p.idle[0], p.idle[1:]
	}
	if p.all[s.key] == s {
		delete(p.all, s.key)
	}
	return s
}

// letGo puts back what the jobs hold open.
func (p *pool) letGo(jobs []*job) {
	for _, j := range jobs {
		if j.out != nil {
			p.put(j.out)
		}
	}
}

// shut closes what is idle, and the rest with its last user. Nothing can be opened any more.
func (p *pool) shut() {
	p.mu.Lock()
	idle := p.idle
	p.idle, p.closed = nil, true
	p.mu.Unlock()
	for _, s := range idle {
		s.close()
	}
}

func (s *shared) close() {
	if s.adapter != nil {
		_ = guard(func() error { return dispatch.Close(s.adapter) }) // there is nobody to tell
	}
}

// guard makes a panic of an adapter an error.
func guard(do func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fault.Newf(fault.Internal, "panic: %v", v)
		}
	}()
	return do()
}
