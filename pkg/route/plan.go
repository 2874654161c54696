package route

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/signalmesh/signalmesh/pkg/fault"
)

// An Action is what a change does to a route.
type Action string

// The actions. Unchanged and Kept write nothing.
const (
	Create    Action = "create"
	Update    Action = "update"
	Delete    Action = "delete"
	Unchanged Action = "none" // equal already
	Kept      Action = "kept" // another owner's, and different; see [Keep]
)

// A Change is what applying a plan does to one route.
type Change struct {
	Name     string  `json:"name"`
	Action   Action  `json:"action"`
	Owner    string  `json:"owner,omitempty"`    // before the change, "" for a new route
	Revision uint64  `json:"revision,omitempty"` // before the change; after it in what Apply returns
	Before   *Spec   `json:"-"`                  // nil for a new route
	After    *Spec   `json:"-"`                  // nil for a route that goes
	Fields   []Field `json:"fields,omitempty"`   // what differs; of a new route, everything
}

// Changes are a plan: what applying would do, by name of route.
type Changes []Change

// Empty reports whether applying would write nothing.
func (c Changes) Empty() bool { return c.count(Create)+c.count(Update)+c.count(Delete) == 0 }

func (c Changes) count(a Action) (n int) {
	for _, change := range c {
		if change.Action == a {
			n++
		}
	}
	return n
}

// String is the plan for people: a line for each change, what differs below it, and a sum.
// Values of keys that are named like secrets are not shown, here and in JSON.
func (c Changes) String() string {
	var b strings.Builder
	for _, change := range c {
		change.write(&b)
	}
	if c.Empty() {
		fmt.Fprintf(&b, "no changes, %d as wanted\n", c.count(Unchanged))
		return b.String()
	}
	fmt.Fprintf(&b, "%d to create, %d to update, %d to delete, %d as wanted\n",
		c.count(Create), c.count(Update), c.count(Delete), c.count(Unchanged))
	return b.String()
}

func (c Change) write(b *strings.Builder) {
	switch c.Action {
	case Create:
		fmt.Fprintf(b, "+ %s: %s\n", c.Name, c.After.Summary())
	case Update:
		fmt.Fprintf(b, "~ %s\n", c.Name)
		for _, f := range c.Fields {
			fmt.Fprintf(b, "    %s\n", f)
		}
	case Delete:
		fmt.Fprintf(b, "- %s: %s\n", c.Name, c.Before.Summary())
	case Kept:
		fmt.Fprintf(b, "! %s: differs, but belongs to %s and is kept\n", c.Name, c.Owner)
	case Unchanged:
	}
}

// Summary is a Spec in one line: "order.** when data.amount > 1000 -> http https://…".
func (s Spec) Summary() string {
	var b strings.Builder
	switch {
	case len(s.On) > 0:
		b.WriteString(s.On.String())
	case s.Default:
		b.WriteString("what no other route takes")
	}
	if s.When != "" {
		b.WriteString(" when " + strings.Join(strings.Fields(s.When), " "))
	}
	for i, t := range s.To {
		b.WriteString([]string{" -> ", ", "}[min(i, 1)] + t.String())
	}
	if s.Disabled {
		b.WriteString(" (disabled)")
	}
	return b.String()
}

// A PlanOption decides about routes that others own, or that are not wanted.
type PlanOption interface{ plan(*planOptions) }

type planOptions struct {
	foreign foreign
	prune   bool
}

// foreign is what to do about a wanted route that belongs to another owner and differs.
type foreign int

const (
	refuse foreign = iota
	take
	keep
)

// A ChangeOption fits [Plan], [Store.Plan] and [Store.Apply].
type ChangeOption interface {
	PlanOption
	ApplyOption
}

type changeOption func(*planOptions)

func (f changeOption) plan(o *planOptions)   { f(o) }
func (f changeOption) apply(o *applyOptions) { f(&o.planOptions) }

// Prune deletes the routes of the same owner that are not wanted any more.
func Prune() ChangeOption { return changeOption(func(o *planOptions) { o.prune = true }) }

// Take changes routes that belong to others, and owns them from then on.
func Take() ChangeOption { return changeOption(func(o *planOptions) { o.foreign = take }) }

// Keep leaves routes that belong to others as they are. Without Take and Keep, a wanted
// route that differs from another owner's is a fault.Conflict.
func Keep() ChangeOption { return changeOption(func(o *planOptions) { o.foreign = keep }) }

// Plan tells what must change in the live routes for the owner's wanted ones to be in
// force. It validates every wanted route and reports everything that is wrong with any.
func Plan(live []Route, wanted []Spec, owner string, opts ...PlanOption) (Changes, error) {
	var o planOptions
	for _, opt := range opts {
		opt.plan(&o)
	}
	return plan(live, wanted, owner, o)
}

func plan(live []Route, wanted []Spec, owner string, o planOptions) (Changes, error) {
	if err := validateAll(wanted); err != nil {
		return nil, err
	}
	current := map[string]Route{}
	for _, r := range live {
		current[r.Name] = r
	}
	var changes Changes
	var errs []error
	for i := range wanted {
		r, exists := current[wanted[i].Name]
		change, err := planOne(r, exists, &wanted[i], owner, o)
		changes, errs = append(changes, change), append(errs, err)
		delete(current, wanted[i].Name)
	}
	for _, r := range current {
		if o.prune && r.Owner == owner {
			changes = append(changes, Change{Name: r.Name, Action: Delete, Owner: r.Owner, Revision: r.Revision, Before: &r.Spec})
		}
	}
	slices.SortFunc(changes, func(a, b Change) int { return cmp.Compare(a.Name, b.Name) })
	return changes, errors.Join(errs...)
}

// validateAll reports what is wrong with any of the routes, or with all of them together.
func validateAll(specs []Spec) error {
	var errs []error
	seen := map[string]bool{}
	for _, s := range specs {
		if err := s.Validate(); err != nil {
			errs = append(errs, fmt.Errorf("route %s: %w", s.Name, err))
		}
		if seen[s.Name] {
			errs = append(errs, fault.Newf(fault.Invalid, "route %s: two routes have this name", s.Name))
		}
		seen[s.Name] = true
	}
	return fault.Wrap(fault.Invalid, errors.Join(errs...))
}

func planOne(live Route, exists bool, wanted *Spec, owner string, o planOptions) (Change, error) {
	if !exists {
		fields, err := diff(nil, *wanted)
		return Change{Name: wanted.Name, Action: Create, After: wanted, Fields: fields}, err
	}
	c := Change{Name: wanted.Name, Owner: live.Owner, Revision: live.Revision, Before: &live.Spec, After: wanted}
	fields, err := diff(&live.Spec, *wanted)
	mine := live.Owner == owner || live.Owner == ""
	switch {
	case err != nil:
		return c, err
	case len(fields) == 0 && (mine || o.foreign != take):
		c.Action = Unchanged
	case mine || o.foreign == take:
		c.Action, c.Fields = Update, fields
	case o.foreign == keep:
		c.Action, c.Fields = Kept, fields
	default:
		return c, fault.Newf(fault.Conflict, "route %s differs, but belongs to %s", wanted.Name, live.Owner)
	}
	if c.Action == Update && !mine {
		c.Fields = append([]Field{{Path: "owner", Before: encode(live.Owner), After: encode(owner)}}, c.Fields...)
	}
	return c, nil
}
