package router

import (
	"cmp"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"

	"github.com/signalmesh/signalmesh/pkg/pattern"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

// A Router holds routes to targets of type T. It never changes, and any number of
// goroutines may use it. The zero Router has no routes.
type Router[T any] struct {
	exact   table[leaf[T]] // patterns without wildcards, by their text
	wild    *node[T]       // the others
	count   int
	next    uint64     // number of the next registration
	scratch *sync.Pool // see search
}

// New makes a router of the routes, registered in this order. If any is invalid, the error
// tells all that are, with the code [fault.Invalid], and there is no router.
func New[T any](routes ...Route[T]) (*Router[T], error) {
	var empty Router[T]
	r, err := empty.With(routes...)
	if err != nil {
		return nil, err
	}
	return r, nil
}

// With is this router and more routes, registered after those that it has. If any is
// invalid, the error tells all that are, and the router returned is r, unchanged.
func (r *Router[T]) With(routes ...Route[T]) (*Router[T], error) {
	if err := check(routes); err != nil {
		return r, err
	}
	added := make([]entry[T], len(routes))
	for i, route := range routes {
		added[i] = newEntry(route, r.next+uint64(i))
	}
	// Neighbours in the index are then made one after another, and lie together in memory;
	// and each leaf is only appended to.
	slices.SortFunc(added, func(a, b entry[T]) int {
		return cmp.Or(cmp.Compare(a.route.Pattern.String(), b.route.Pattern.String()), a.compare(&b))
	})

	own, e := *r, newEdit()
	if own.scratch == nil {
		own.scratch = new(sync.Pool)
	}
	own.next += uint64(len(routes))
	own.count += len(routes)
	for _, x := range added {
		own.insert(x, e)
	}
	return &own, nil
}

// insert registers a route in a router that is still being built.
func (r *Router[T]) insert(x entry[T], e edit) {
	p := x.route.Pattern
	if !p.IsExact() {
		r.wild = r.wild.own(e)
		r.wild.insert(p.Segments(), x, false, e)
		return
	}
	hash := hashType(p.String())
	l := r.exact.get(p.String(), hash)
	if l == nil || l.edit != e {
		own := new(leaf[T])
		if l != nil {
			*own = *l
		}
		r.exact.put(p.String(), hash, own, e)
		l = own
	}
	l.insert(x, e)
}

func check[T any](routes []Route[T]) error {
	var errs []error
	for i, route := range routes {
		if err := route.check(); err != nil {
			errs = append(errs, fmt.Errorf("route %d: %w", i+1, err))
		}
	}
	return errors.Join(errs...)
}

// Without is this router without the routes of exactly this pattern: dropping "order.*"
// leaves "order.created" and "order.**" alone. Without a route of that pattern it is r.
func (r *Router[T]) Without(text string) *Router[T] {
	p, err := pattern.Parse(text)
	if err != nil {
		return r // no route has it
	}
	l := r.leafOf(p)
	if l == nil || l.empty() {
		return r
	}
	own, e := *r, newEdit()
	own.count -= l.len()
	if p.IsExact() {
		own.exact.remove(text, hashType(text), e)
		return &own
	}
	own.wild = r.wild.own(e)
	if own.wild.remove(p.Segments(), e); own.wild.empty() {
		own.wild = nil
	}
	return &own
}

func (r *Router[T]) leafOf(p pattern.Pattern) *leaf[T] {
	if p.IsExact() {
		return r.exact.get(p.String(), hashType(p.String()))
	}
	return r.wild.find(p.Segments())
}

// Len is the number of routes.
func (r *Router[T]) Len() int { return r.count }

// Routes lists the routes as they were given, in the order of registration. [New] makes an
// equal router of them.
func (r *Router[T]) Routes() []Route[T] {
	entries := make([]*entry[T], 0, r.count)
	collect := func(l *leaf[T]) { entries = l.appendTo(entries) }
	r.exact.each(collect)
	r.wild.each(collect)
	slices.SortFunc(entries, func(a, b *entry[T]) int { return cmp.Compare(a.number, b.number) })
	routes := make([]Route[T], len(entries))
	for i, x := range entries {
		routes[i] = *x.route
	}
	return routes
}

// Route gives the targets of the signal, in order. Predicates are asked one by one as the
// loop goes on; one that fails counts as false. A nil signal has no targets.
func (r *Router[T]) Route(s *signal.Signal) iter.Seq[T] {
	return func(yield func(T) bool) { r.route(s, yield) }
}

func (r *Router[T]) route(s *signal.Signal, yield func(T) bool) {
	if s == nil || r.count == 0 {
		return
	}
	m := r.find(s.Type)
	for _, x := range m.found {
		if x.when != nil {
			if ok, _ := x.route.accepts(s); !ok {
				continue
			}
		}
		if !yield(x.target) {
			break
		}
	}
	r.done(m)
}

// Match gives the routes whose pattern selects the type, in order, whatever their
// predicates say.
func (r *Router[T]) Match(typ string) iter.Seq[Route[T]] {
	return func(yield func(Route[T]) bool) {
		if r.count == 0 {
			return
		}
		m := r.find(typ)
		for _, x := range m.found {
			if !yield(*x.route) {
				break
			}
		}
		r.done(m)
	}
}

// A Verdict says what became of a route whose pattern selects a signal.
type Verdict[T any] struct {
	Route   Route[T]
	Matched bool  // the predicate accepted, or there is none
	Err     error // the predicate failed; a panic is a [*PanicError]
}

// Explain routes like [Router.Route], and tells what became of each route whose pattern
// selects the signal, in order.
func (r *Router[T]) Explain(s *signal.Signal) []Verdict[T] {
	if s == nil {
		return nil
	}
	var verdicts []Verdict[T]
	for route := range r.Match(s.Type) {
		ok, err := route.accepts(s)
		verdicts = append(verdicts, Verdict[T]{Route: route, Matched: ok, Err: err})
	}
	return verdicts
}
