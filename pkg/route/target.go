package route

import (
	"errors"
	"slices"
	"strings"

	"github.com/signalmesh/signalmesh/pkg/delivery"
	"github.com/signalmesh/signalmesh/pkg/dispatch"
	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/internal/plug"
	"github.com/signalmesh/signalmesh/pkg/subject"
)

// A Target is one of the places a route leads to: an adapter with its options, and what the
// route says about delivering there. It is written as a map: {http: {url: ...}}, or
// {name: crm, retry: {max_attempts: 9}, http: {url: ...}}.
type Target struct {
	Name  string           // "" is named after the adapter; see [Spec.TargetNames]
	Retry *delivery.Policy // nil is the route's
	dispatch.Target
}

// targetKeys are the keys beside the adapter's.
var targetKeys = []string{"name", "retry"}

// DecodePlug reads a target strictly.
func (t *Target) DecodePlug(n plug.Node) error {
	var own struct {
		Name  string           `json:"name"`
		Retry *delivery.Policy `json:"retry"`
	}
	rest := n
	var errs []error
	if n.IsMap() {
		rest = n.Without(targetKeys...)
		var others []string
		for _, key := range n.Keys() {
			if !slices.Contains(targetKeys, key) {
				others = append(others, key)
			}
		}
		errs = append(errs, n.Without(others...).Decode(&own))
	}
	errs = append(errs, n.Wrap(t.Target.DecodePlug(rest)))
	t.Name, t.Retry = own.Name, own.Retry
	if err := plug.Join(errs...); err != nil {
		return err
	}
	return n.Wrap(t.Validate())
}

// Validate reports whether the name can be used and the options suit the adapter, which
// must be linked into the program.
func (t Target) Validate() error {
	var errs []error
	if t.Name != "" {
		errs = append(errs, subject.CheckName("target", t.Name))
	}
	if t.Retry != nil {
		errs = append(errs, t.Retry.Validate())
	}
	errs = append(errs, t.Check())
	return fault.Wrap(fault.Invalid, errors.Join(errs...))
}

// DescribePlug says what a target is in reference documentation.
func (Target) DescribePlug() string { return "target" }

// MarshalJSON writes the target as files have it.
func (t Target) MarshalJSON() ([]byte, error) {
	b, err := t.Target.MarshalJSON()
	if err != nil || t.Name == "" && t.Retry == nil {
		return b, err
	}
	own, err := plug.Encode(struct {
		Name  string           `json:"name"`
		Retry *delivery.Policy `json:"retry"`
	}{t.Name, t.Retry})
	if err != nil {
		return nil, err
	}
	return []byte(strings.TrimSuffix(string(own), "}") + "," + string(b[1:])), nil
}

// UnmarshalJSON reads the target strictly.
func (t *Target) UnmarshalJSON(data []byte) error {
	n, err := plug.FromJSON(data, "")
	if err != nil {
		return err
	}
	return t.DecodePlug(n)
}

// Equal reports whether both lead to the same place in the same way.
func (t Target) Equal(o Target) bool {
	a, b := Spec{Name: "t", To: []Target{t}}, Spec{Name: "t", To: []Target{o}}
	return a.Equal(b)
}

var _ plug.Decoder = (*Target)(nil)
