package ingress

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/internal/plug"
)

// A Spec is one source as a file describes it:
//
//	name: github
//	webhook: {verify: github, secret: "env:GITHUB_SECRET"}   # one adapter and its options
//	bus: default
//	subject: "string(body.sender.login)"                     # see Mapping
type Spec struct {
	Name    string // [A-Za-z0-9_-]{1,64}; POST /v1/hooks/<name>
	Bus     string // that the signals are published to; "" means the default bus
	Adapter string // registered name, "webhook"
	Options json.RawMessage
	Mapping Mapping
}

var _ plug.Decoder = (*Spec)(nil)

// DecodePlug reads a spec strictly; the options are checked against [Default], so that
// what is wrong in them is reported with its line.
func (s *Spec) DecodePlug(n plug.Node) error {
	if !n.IsMap() {
		return n.Errorf("expected a map, found %s", n.Kind())
	}
	var adapters []string
	var errs []error
	for _, key := range n.Keys() {
		switch {
		case slices.Contains(headKeys, key):
		case Default.has(key):
			adapters = append(adapters, key)
		default:
			errs = append(errs, n.Field(key).Errorf("unknown key, want one source of %q beside %q", Default.Names(), headKeys))
		}
	}
	if len(adapters) != 1 {
		errs = append(errs, n.Errorf("expected one source of %q, found %d", Default.Names(), len(adapters)))
		return plug.Join(errs...)
	}
	*s = Spec{Adapter: adapters[0]}
	if err := s.decodeHead(n); err != nil {
		return plug.Join(append(errs, err)...)
	}
	return plug.Join(append(errs, n.Wrap(s.Validate()), s.takeOptions(n))...)
}

// headKeys are the keys of a spec beside its adapter, whose key is not known beforehand.
var headKeys = []string{"name", "bus", "type", "source", "subject", "id"}

func (s *Spec) decodeHead(n plug.Node) error {
	m := &s.Mapping
	var errs []error
	for i, into := range []*string{&s.Name, &s.Bus, &m.Type, &m.Source, &m.Subject, &m.ID} {
		if child := n.Field(headKeys[i]); !child.IsZero() {
			errs = append(errs, child.Decode(into))
		}
	}
	return plug.Join(errs...)
}

// takeOptions checks the options and the mapping where they stand, and keeps the options
// as JSON.
func (s *Spec) takeOptions(n plug.Node) error {
	k, err := Default.lookup(s.Adapter)
	if err != nil {
		return n.Wrap(err)
	}
	options := n.Field(s.Adapter)
	c, errOptions := k.decode(options)
	if errOptions == nil {
		errOptions = n.Wrap(checkMapping(c, s.Mapping))
	}
	var errJSON error
	s.Options, errJSON = options.JSON()
	return plug.Join(options.Wrap(errOptions), errJSON)
}

// DescribePlug says in the reference what a spec is.
func (*Spec) DescribePlug() string { return "a source" }

// options are the options as a node.
func (s Spec) options() (plug.Node, error) {
	if len(s.Options) == 0 {
		return plug.Node{}, nil
	}
	n, err := plug.FromJSON(s.Options, "")
	if err != nil {
		return n, fmt.Errorf("source %s: options: %w", s.Name, err)
	}
	return n.Named(s.Adapter), nil
}

// Validate reports whether the name is usable in URLs and subjects.
func (s Spec) Validate() error {
	if !isName(s.Name) {
		return fault.Newf(fault.Invalid, "source name %q must be 1 to 64 of A-Z a-z 0-9 _ -", s.Name)
	}
	if s.Bus != "" && !isName(s.Bus) {
		return fault.Newf(fault.Invalid, "source %s: bus name %q must be 1 to 64 of A-Z a-z 0-9 _ -", s.Name, s.Bus)
	}
	return nil
}

func isName(s string) bool {
	for _, r := range s {
		if r != '_' && r != '-' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') {
			return false
		}
	}
	return len(s) >= 1 && len(s) <= 64
}
