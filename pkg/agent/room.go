package agent

import (
	"context"
	"sync/atomic"
	"time"
)

// A room bounds how many deliveries one target has under way.
type room struct {
	places chan struct{}
	moved  atomic.Int64 // when somebody came or left last, in Unix nanoseconds
}

func newRoom(places int) *room { return &room{places: make(chan struct{}, places)} }

// enter takes a place. When there is none it waits that long, but not at all when nobody
// has left for as long: then the target hangs. It reports false when it got none, or ctx
// ended.
func (r *room) enter(ctx context.Context, patience time.Duration) bool {
	select {
	case r.places <- struct{}{}:
		r.touch()
		return true
	default:
	}
	if time.Since(time.Unix(0, r.moved.Load())) >= patience {
		return false
	}
	over := time.NewTimer(patience)
	defer over.Stop()
	select {
	case r.places <- struct{}{}:
		r.touch()
		return true
	case <-over.C:
	case <-ctx.Done():
	}
	return false
}

// leave gives the place back.
func (r *room) leave() {
	<-r.places
	r.touch()
}

func (r *room) touch() { r.moved.Store(time.Now().UnixNano()) }
