package route

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/signalmesh/signalmesh/pkg/delivery"
	"github.com/signalmesh/signalmesh/pkg/expr"
	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/internal/plug"
	"github.com/signalmesh/signalmesh/pkg/pattern"
	"github.com/signalmesh/signalmesh/pkg/subject"
)

// Patterns are the patterns of one route, any of which may select a signal.
type Patterns []pattern.Pattern

// String writes the patterns as text, "order.*, audit.**".
func (p Patterns) String() string {
	texts := make([]string, len(p))
	for i, one := range p {
		texts[i] = one.String()
	}
	return strings.Join(texts, ", ")
}

// A Spec is one route as a file says it. Its patterns select signals by type, its predicate
// by everything else, and each of its targets gets a delivery of its own.
type Spec struct {
	Name        string          `json:"name" required:"true" doc:"unique in the mesh; letters, digits, _ and -"`
	Description string          `json:"description" doc:"a sentence for people"`
	Bus         string          `json:"bus" doc:"only signals of this bus; those of every bus when not given"`
	On          Patterns        `json:"on" single:"true" doc:"a pattern of signal types, or a list: order.created, order.*, audit.**"`
	When        string          `json:"when" doc:"CEL over signal and data that must be true: data.amount > 1000"`
	Priority    int             `json:"priority" min:"-100" max:"100" doc:"among patterns of equal specificity the higher one comes first"`
	Retry       delivery.Policy `json:"retry" doc:"how often and how soon a failed delivery is tried again"`
	To          []Target        `json:"to" single:"read" required:"true" doc:"where signals go, each {adapter: {options}}"`
	Default     bool            `json:"default" doc:"only for signals that no other route takes; on may be left out then"`
	Disabled    bool            `json:"disabled" doc:"keep the route, but take no signals"`
}

// Parse reads a Spec strictly: every problem is reported at once, located in n.
func Parse(n plug.Node) (Spec, error) {
	var s Spec
	err := n.Decode(&s)
	return s, err
}

// ParseAll reads the routes of a document: one route, a list of them, or a map with a list
// under the key routes, like a node's configuration; its other keys are not looked at.
func ParseAll(n plug.Node) ([]Spec, error) {
	var specs []Spec
	var errs []error
	for _, item := range elements(n) {
		s, err := Parse(item)
		specs, errs = append(specs, s), append(errs, err)
	}
	return specs, plug.Join(errs...)
}

// elements are the routes of a document that has them in any form.
func elements(n plug.Node) []plug.Node {
	if !n.Field("routes").IsZero() {
		n = n.Field("routes")
	}
	if n.IsList() {
		return n.Items()
	}
	return []plug.Node{n}
}

// Validate reports everything that keeps s from being routed by, with code fault.Invalid.
// Decoding calls it.
func (s Spec) Validate() error {
	var errs []error
	bad := func(err error, path ...string) {
		if err != nil {
			errs = append(errs, plug.At(err, path...))
		}
	}
	bad(subject.CheckName("route", s.Name), "name")
	if s.Bus != "" {
		bad(subject.CheckName("bus", s.Bus), "bus")
	}
	if len(s.On) == 0 && !s.Default {
		bad(fault.Newf(fault.Invalid, "required, but missing: a pattern such as order.** (or set default: true)"), "on")
	}
	for i, p := range s.On {
		if p.IsZero() || slices.Contains(s.On[:i], p) {
			bad(fault.Newf(fault.Invalid, "%q is empty or repeated", p), "on", strconv.Itoa(i))
		}
	}
	if s.Priority < -100 || s.Priority > 100 {
		bad(fault.Newf(fault.Invalid, "%d is out of bounds, expected -100 to 100", s.Priority), "priority")
	}
	if s.When != "" {
		_, err := expr.CompilePredicate(s.When)
		bad(err, "when")
	}
	bad(s.Retry.Validate(), "retry")
	bad(s.checkTargets())
	return fault.Wrap(fault.Invalid, errors.Join(errs...))
}

func (s Spec) checkTargets() error {
	if len(s.To) == 0 {
		return plug.At(fault.Newf(fault.Invalid, "required, but missing: at least one target"), "to")
	}
	var errs []error
	seen := map[string]bool{}
	for i, name := range s.TargetNames() {
		at := []string{"to", strconv.Itoa(i)}
		errs = append(errs, plug.At(s.To[i].Validate(), at...))
		if seen[name] {
			errs = append(errs, plug.At(fault.Newf(fault.Invalid, "two targets are named %q", name), at...))
		}
		seen[name] = true
	}
	return errors.Join(errs...)
}

// TargetNames names every target, by which verdicts, dead letters and redrives know it: the
// name it has, else its adapter, with a number from the second of the same adapter on:
// http, webhook, http-2.
func (s Spec) TargetNames() []string {
	names := make([]string, len(s.To))
	count := map[string]int{}
	for i, t := range s.To {
		if t.Name != "" {
			names[i] = t.Name
			continue
		}
		count[t.Adapter]++
		names[i] = t.Adapter
		if n := count[t.Adapter]; n > 1 {
			names[i] = fmt.Sprintf("%s-%d", t.Adapter, n)
		}
	}
	return names
}

// Target finds a target by its name.
func (s Spec) Target(name string) (Target, bool) {
	if i := slices.Index(s.TargetNames(), name); i >= 0 {
		return s.To[i], true
	}
	return Target{}, false
}

// Equal reports whether both say the same.
func (s Spec) Equal(o Spec) bool {
	a, errA := s.MarshalJSON()
	b, errB := o.MarshalJSON()
	return errA == nil && errB == nil && bytes.Equal(a, b)
}

// plain is a Spec without methods, for the encoder.
type plain Spec

// MarshalJSON writes s as files have it, without what is left at its default.
func (s Spec) MarshalJSON() ([]byte, error) {
	s.Retry = s.Retry.WithDefaults() // which are left out
	b, err := plug.Encode(plain(s))
	if err != nil {
		return nil, fmt.Errorf("route %s: %w", s.Name, err)
	}
	return b, nil
}

// UnmarshalJSON is [Parse].
func (s *Spec) UnmarshalJSON(data []byte) error {
	n, err := plug.FromJSON(data, "")
	if err != nil {
		return err
	}
	*s, err = Parse(n)
	return err
}
