package testkit

import (
	"slices"
	"sync"
	"time"
)

// Patience is how long a helper without a time of its own waits before it fails the test.
const Patience = 10 * time.Second

// tape keeps what came, in order, and wakes those who wait for more.
type tape[T any] struct {
	mu    sync.Mutex
	items []T
	grown chan struct{} // closed and replaced with each item
}

func newTape[T any]() *tape[T] { return &tape[T]{grown: make(chan struct{})} }

func (t *tape[T]) add(item T) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.items = append(t.items, item)
	close(t.grown)
	t.grown = make(chan struct{})
}

func (t *tape[T]) look() (items []T, grown <-chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.items), t.grown
}

// until returns what came when done says that it is enough, or when the time is over.
func (t *tape[T]) until(done func([]T) bool, within time.Duration) (items []T, ok bool) {
	over := time.NewTimer(within)
	defer over.Stop()
	for {
		items, grown := t.look()
		if done(items) {
			return items, true
		}
		select {
		case <-grown:
		case <-over.C:
			return items, false
		}
	}
}
