package agent

import (
	"context"
	"sync"

	"github.com/signalmesh/signalmesh/pkg/dispatch"
)

// keepIdle is how many adapters without a user stay open, for targets that signals carry.
const keepIdle = 64

// A pool shares opened adapters: two targets with the same adapter and options are one, and
// a reload keeps the connections of what did not change.
type pool struct {
	open func(ctx context.Context, t dispatch.Target, carried bool) (dispatch.Adapter, error)

	mu   sync.Mutex
	all  map[poolKey]*shared
	idle []*shared // without users, longest idle first
}

type poolKey struct {
	adapter, options string
	carried          bool // carried by a signal: opened without access to our secrets
}

// shared is one opened adapter and the number of its users.
type shared struct {
	dispatch.Adapter
	key   poolKey
	users int
}

// get opens the target, or returns it as someone else has it open. Each get needs a put.
func (p *pool) get(ctx context.Context, t dispatch.Target, carried bool) (*shared, error) {
	key := poolKey{t.Adapter, string(t.Options), carried}
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.all[key]
	if s == nil {
		a, err := p.open(ctx, t, carried)
		if err != nil {
			return nil, err
		}
		s = &shared{Adapter: a, key: key}
		if p.all == nil {
			p.all = make(map[poolKey]*shared)
		}
		p.all[key] = s
	} else if s.users == 0 {
		p.unidle(s)
	}
	s.users++
	return s, nil
}

// put gives s back. A route's adapter closes with its last user. One that a signal carried
// stays idle for the next such signal; the longest idle ones close when there are too many.
func (p *pool) put(s *shared) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s.users--; s.users > 0 {
		return
	}
	if !s.key.carried {
		p.close(s)
		return
	}
	p.idle = append(p.idle, s)
	if len(p.idle) > keepIdle {
		p.close(p.idle[0])
	}
}

// letGo puts back what the jobs hold open.
func (p *pool) letGo(jobs []job) {
	for _, j := range jobs {
		if j.out != nil {
			p.put(j.out)
		}
	}
}

// shut closes everything. No adapter may be in use.
func (p *pool) shut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.all {
		p.close(s)
	}
}

func (p *pool) close(s *shared) {
	p.unidle(s)
	delete(p.all, s.key)
	_ = dispatch.Close(s.Adapter) // nothing is in flight on it; there is nobody to tell
}

func (p *pool) unidle(s *shared) {
	for i, o := range p.idle {
		if o == s {
			p.idle = append(p.idle[:i], p.idle[i+1:]...)
			return
		}
	}
}
