package bus

import (
	"context"
	"sync"

	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

// lanes keep the signals of one key behind each other.
type lanes struct {
	mu   sync.Mutex
	last map[string]chan struct{} // of the last signal of a key; closed when that has left
}

// enter puts a signal behind the others of its key. It may go on when before is closed, at
// once when that is nil, and must leave in the end.
func (l *lanes) enter(key string) (before <-chan struct{}, leave func()) {
	own := make(chan struct{})
	l.mu.Lock()
	defer l.mu.Unlock()
	if last, ok := l.last[key]; ok {
		before = last
	}
	l.last[key] = own
	return before, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.last[key] == own {
			delete(l.last, key)
		}
		close(own)
	}
}

// lineUp puts a delivery behind the others of its key, if it has one.
func (s *Subscription) lineUp(j *job) (before <-chan struct{}, leave func()) {
	if s.cfg.orderBy == nil {
		return nil, func() {}
	}
	key, err := s.key(j.s)
	if err != nil && j.broken == nil {
		j.broken = err
	}
	if key == "" {
		return nil, func() {}
	}
	return s.lanes.enter(key)
}

// key says behind which others a signal has to wait.
func (s *Subscription) key(sig *signal.Signal) (key string, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fault.Permanent(fault.Newf(fault.Internal, "key of the order: panic: %v", v))
		}
	}()
	return s.cfg.orderBy(sig), nil
}

// turn waits for that of a delivery, and then for a slot.
func (s *Subscription) turn(ctx context.Context, before <-chan struct{}) bool {
	select {
	case <-before:
		return acquire(ctx, s.slots)
	case <-ctx.Done():
		return false
	}
}
