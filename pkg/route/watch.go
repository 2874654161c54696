package route

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/signalmesh/signalmesh/pkg/fault"
)

const (
	settle     = 100 * time.Millisecond // of quiet, before a change is told
	settleMost = time.Second            // even when it does not get quiet
	resync     = 10 * time.Minute       // the store is read anew, whatever the watcher says
	retryMin   = 250 * time.Millisecond
	retryMax   = 10 * time.Second
)

// A Snapshot is the whole store at one moment.
type Snapshot struct {
	Routes   []Route   // by name
	Revision uint64    // of the store: the newest change that is in here, a removal included
	Problems []Problem // routes that can't be understood, by name
}

// A Problem is a revision of a route that can't be used. If an older one could, that is
// still among the Snapshot's routes.
type Problem struct {
	Name     string
	Revision uint64
	Err      error
}

// Watch gives the state of the store: first as it is, then after every change, until ctx
// ends or the loop does. Changes that follow each other within a tenth of a second come
// together. An error says that the store can't be reached; the last Snapshot stays valid,
// and the loop goes on and gives the next one when it can.
func (s *Store) Watch(ctx context.Context) iter.Seq2[Snapshot, error] {
	return func(yield func(Snapshot, error) bool) {
		w := &watch{store: s, yield: yield, good: map[string]Route{}}
		for pause := retryMin; ctx.Err() == nil; pause = min(2*pause, retryMax) {
			told := w.told
			err := w.follow(ctx)
			if w.stopped || ctx.Err() != nil {
				return
			}
			if err == nil || w.told != told { // it worked for a while
				pause = retryMin
			}
			if err == nil {
				continue
			}
			if !yield(Snapshot{}, err) {
				return
			}
			select {
			case <-ctx.Done():
			case <-time.After(pause):
			}
		}
	}
}

// watch is one running Watch.
type watch struct {
	store   *Store
	yield   func(Snapshot, error) bool
	stopped bool // by the loop
	told    int  // snapshots given

	state    map[string]jetstream.KeyValueEntry // what is in the store now
	revision uint64                             // of the newest change in it
	shown    map[string]uint64                  // revisions in the last snapshot
	reached  uint64                             // revision of the last snapshot
	good     map[string]Route                   // the last usable revision of each
}

// follow reads the store and then its changes, until something ends it. A nil error means
// that it is time to begin anew.
func (w *watch) follow(ctx context.Context) error {
	// The client's watcher finds its way back after a lost connection, but only some ten
	// seconds later; a new one is there at once.
	back := w.store.nc.StatusChanged(nats.CONNECTED)
	defer w.store.nc.RemoveStatusListener(back)
	watcher, err := w.store.kv.WatchAll(ctx)
	if err != nil {
		return fmt.Errorf("watch routes: %w", unavailable(err))
	}
	defer func() { _ = watcher.Stop() }() // an error means that it has ended already
	w.state, w.revision = map[string]jetstream.KeyValueEntry{}, 0
	anew := time.After(resync)
	complete := false
	var c clock
	for !w.stopped {
		select {
		case <-ctx.Done():
			return nil
		case <-anew:
			return nil
		case <-back:
			return nil
		case <-c.quiet:
			c = clock{}
			w.tell(ctx)
		case <-c.latest:
			c = clock{}
			w.tell(ctx)
		case e, ok := <-watcher.Updates():
			switch {
			case !ok:
				return fault.Newf(fault.Unavailable, "watch routes: the connection was lost")
			case e == nil:
				complete = true
				w.tell(ctx)
			default:
				w.take(e)
				c.changed(complete && e.Delta() == 0)
			}
		}
	}
	return nil
}

// clock says when to tell what has changed: when it has been quiet for a while, or at the
// latest some time after the first change.
type clock struct {
	since         time.Time // of the first change that is not told yet
	quiet, latest <-chan time.Time
}

// changed restarts the clock. It stands still while the state is not whole: while the first
// state is being read, or half of what was written in one step is still on its way.
func (c *clock) changed(whole bool) {
	c.quiet, c.latest = nil, nil
	if c.since.IsZero() {
		c.since = time.Now()
	}
	if whole {
		c.quiet = time.After(settle)
		c.latest = time.After(settleMost - time.Since(c.since))
	}
}

func (w *watch) take(e jetstream.KeyValueEntry) {
	w.revision = max(w.revision, e.Revision())
	if e.Operation() == jetstream.KeyValuePut {
		w.state[e.Key()] = e
		return
	}
	delete(w.state, e.Key())
	delete(w.good, e.Key()) // nothing of it is in force any more, whatever comes in its place
}

// tell gives a snapshot of the state, unless it is the last one again. What came and went in
// between leaves the routes as they are, but not the revision.
func (w *watch) tell(ctx context.Context) {
	revisions := make(map[string]uint64, len(w.state))
	for key, e := range w.state {
		revisions[key] = e.Revision()
	}
	if w.told > 0 && maps.Equal(revisions, w.shown) && w.revision == w.reached {
		return
	}
	w.shown, w.reached = revisions, w.revision
	w.told++
	w.stopped = !w.yield(w.snapshot(ctx), nil)
}

func (w *watch) snapshot(ctx context.Context) Snapshot {
	s := Snapshot{Revision: w.revision}
	good := make(map[string]Route, len(w.state))
	for key, e := range w.state {
		r, ok := w.good[key]
		if !ok || r.Revision != e.Revision() {
			var err error
			if r, err = decodeRoute(e); err != nil {
				s.Problems = append(s.Problems, Problem{key, e.Revision(), err})
				if r, ok = w.fallback(ctx, key); !ok {
					continue
				}
			}
		}
		good[key] = r
		s.Routes = append(s.Routes, r)
	}
	w.good = good
	slices.SortFunc(s.Routes, func(a, b Route) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortFunc(s.Problems, func(a, b Problem) int { return cmp.Compare(a.Name, b.Name) })
	return s
}

// fallback is the last usable revision of a route: the one in force until now, else, after
// a restart, the newest good one in its history.
func (w *watch) fallback(ctx context.Context, name string) (Route, bool) {
	if r, ok := w.good[name]; ok {
		return r, true
	}
	versions, err := w.store.History(ctx, name)
	if err != nil {
		return Route{}, false
	}
	for _, v := range slices.Backward(versions) {
		if v.Deleted {
			break // what was before a removal is not to come back
		}
		if v.Err == nil {
			return v.Route, true
		}
	}
	return Route{}, false
}
