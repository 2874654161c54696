package route

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/signalmesh/signalmesh/pkg/expr"
	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/pattern"
	"github.com/signalmesh/signalmesh/pkg/router"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

// A Route is a Spec in the store: which revision of it, and who put it there.
type Route struct {
	Spec
	Revision  uint64    // of the store; 0 for a route that is not in one
	Owner     string    // who maintains it: the name of a node, "sigctl", ...
	AppliedAt time.Time // when this revision was written
	AppliedBy string    // who wrote it
}

// A Table finds the routes for a signal. It never changes and is safe for concurrent use.
// The zero Table has no routes.
type Table struct {
	routes   []*compiled
	matching *router.Router[*compiled] // by pattern; predicates are asked here
	defaults *router.Router[*compiled] // for what no other route takes
}

// compiled is a route and its predicate, nil for none.
type compiled struct {
	Route
	when *expr.Predicate
}

var everything = pattern.MustParse("**")

// Compile makes a table of the routes that are not disabled. Their names must differ. The
// error tells everything that is wrong with all of them, with code fault.Invalid.
func Compile(routes ...Route) (*Table, error) {
	sorted := slices.SortedFunc(slices.Values(routes), func(a, b Route) int { return cmp.Compare(a.Name, b.Name) })
	t := &Table{}
	var errs []error
	for i, r := range sorted {
		if i > 0 && sorted[i-1].Name == r.Name {
			errs = append(errs, fault.Newf(fault.Invalid, "route %s: two routes have this name", r.Name))
		}
		c, err := compile(r)
		if err != nil {
			errs = append(errs, fmt.Errorf("route %s: %w", r.Name, err))
			continue
		}
		t.routes = append(t.routes, c)
	}
	if err := errors.Join(append(errs, t.index())...); err != nil {
		return nil, fault.Wrap(fault.Invalid, err)
	}
	return t, nil
}

// index makes the routers of the routes.
func (t *Table) index() error {
	var regular, defaults []router.Route[*compiled]
	for _, c := range t.routes {
		switch {
		case c.Disabled:
		case c.Default:
			defaults = append(defaults, c.registrations()...)
		default:
			regular = append(regular, c.registrations()...)
		}
	}
	var errs [2]error
	t.matching, errs[0] = router.New(regular...)
	t.defaults, errs[1] = router.New(defaults...)
	return errors.Join(errs[:]...)
}

// For is the table of one bus: without the routes that are for another bus only.
func (t *Table) For(bus string) *Table {
	others := func(c *compiled) bool { return c.Bus != "" && c.Bus != bus }
	if !slices.ContainsFunc(t.routes, others) {
		return t
	}
	own := &Table{routes: slices.DeleteFunc(slices.Clone(t.routes), others)}
	if own.index() != nil { // never: it worked for all of them
		return t
	}
	return own
}

func compile(r Route) (*compiled, error) {
	c := &compiled{Route: r}
	if r.When != "" {
		when, err := expr.CompilePredicate(r.When)
		if err != nil {
			return nil, fmt.Errorf("when: %w", err)
		}
		c.when = when
	}
	return c, nil
}

// registrations are one for each pattern. A default route needs none.
func (c *compiled) registrations() []router.Route[*compiled] {
	on := c.On
	if len(on) == 0 && c.Default {
		on = Patterns{everything}
	}
	routes := make([]router.Route[*compiled], len(on))
	for i, p := range on {
		routes[i] = router.To(p.String(), c, router.Priority(c.Priority))
	}
	return routes
}

// Len is the number of routes, with disabled ones.
func (t *Table) Len() int { return len(t.routes) }

// Routes lists the routes by name, with disabled ones.
func (t *Table) Routes() []Route {
	routes := make([]Route, len(t.routes))
	for i, c := range t.routes {
		routes[i] = c.Route
	}
	return routes
}

// Get finds a route by its name.
func (t *Table) Get(name string) (Route, bool) {
	i, ok := slices.BinarySearchFunc(t.routes, name, func(c *compiled, name string) int { return cmp.Compare(c.Name, name) })
	if !ok {
		return Route{}, false
	}
	return t.routes[i].Route, true
}

// Route gives the routes that take the signal, in order: those whose pattern and predicate
// select it, or else the default ones. A predicate that fails counts as a no;
// [Table.Evaluate] tells. The routes are the table's own and must not be changed.
func (t *Table) Route(s *signal.Signal) []*Route {
	var routes []*Route
	for _, e := range t.Evaluate(s) {
		if e.Matched {
			routes = append(routes, e.Route)
		}
	}
	return routes
}
