package dispatch

import (
	"encoding/json"
	"fmt"
	"math"
	"path"
	"slices"
	"strings"

	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/internal/plug"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

// MaxCarried is how many targets one signal may carry.
const MaxCarried = 16

// FromSignal returns the targets that a signal carries in its dispatch extension: the JSON
// of one target or of a list of them. The older form {"adapter": "http", "opts": {…}} is
// read too. Only the shape is checked; [Policy.Check] says whether a target is allowed.
// Errors have the code Invalid, or TooLarge for more than [MaxCarried] targets.
func FromSignal(s *signal.Signal) ([]Target, error) {
	text := s.ExtString(signal.ExtDispatch)
	if text == "" {
		return nil, nil
	}
	n, err := plug.FromJSON([]byte(text), "")
	if err != nil {
		return nil, fmt.Errorf("extension %s: %w", signal.ExtDispatch, err)
	}
	n = n.Named(signal.ExtDispatch)
	items := []plug.Node{n}
	if n.IsList() {
		items = n.Items()
	}
	if len(items) > MaxCarried {
		return nil, fault.Newf(fault.TooLarge, "extension %s holds %d targets, the limit is %d", signal.ExtDispatch, len(items), MaxCarried)
	}
	targets := make([]Target, 0, len(items))
	for _, item := range items {
		t, err := carried(item)
		if err != nil {
			return nil, err
		}
		targets = append(targets, t)
	}
	return targets, nil
}

func carried(n plug.Node) (Target, error) {
	if name := n.Field("adapter"); name.IsScalar() {
		for _, key := range n.Keys() {
			if key != "adapter" && key != "opts" {
				return Target{}, n.Errorf("unknown key %q beside adapter and opts", key)
			}
		}
		return newTarget(name.Text(), n.Field("opts"))
	}
	name, options, err := n.Single()
	if err != nil {
		return Target{}, err
	}
	return newTarget(name, options)
}

// Attach makes s carry targets, in place of those it carries already; none removes them.
// s must not have been published.
func Attach(s *signal.Signal, targets ...Target) error {
	if len(targets) == 0 {
		return s.SetExt(signal.ExtDispatch, nil)
	}
	if len(targets) > MaxCarried {
		return fault.Newf(fault.TooLarge, "%d targets, a signal carries at most %d", len(targets), MaxCarried)
	}
	text, err := json.Marshal(targets)
	if err != nil {
		return fault.Newf(fault.Invalid, "encode targets: %w", err)
	}
	return s.SetExt(signal.ExtDispatch, string(text))
}

// Forward returns the copy of s that an adapter sends on: with one hop more, so that a
// signal that comes back through a loop is recognised, and without the targets that s
// carries, which are for the mesh that has s now. s itself is unchanged; data is shared.
func Forward(s *signal.Signal) *signal.Signal {
	c := *s
	c.Extensions = make(map[string]any, len(s.Extensions)+1)
	for name, value := range s.Extensions {
		if name != signal.ExtDispatch {
			c.Extensions[name] = value
		}
	}
	c.Extensions[signal.ExtHops] = int64(min(s.Hops(), math.MaxInt32-1) + 1)
	return &c
}

// A Policy says which targets a signal may carry. The zero Policy allows none.
type Policy struct {
	Allow []string `json:"allow" doc:"adapters that a signal's own dispatch extension may name; none when empty"`
	Hosts []string `json:"hosts" doc:"hosts that such targets may reach, where * stands for any characters (*.example.com); any that network.allow permits when empty"`
}

// Validate checks the patterns of hosts.
func (p Policy) Validate() error {
	for _, glob := range p.Hosts {
		if _, err := path.Match(glob, ""); err != nil || glob == "" {
			return fault.Newf(fault.Invalid, "hosts: %q is not a pattern of host names", glob)
		}
	}
	return nil
}

// A Caller is a configuration that names the hosts its target reaches, without ports. One
// that reaches only the mesh itself has no such method.
type Caller interface{ Hosts() []string }

// Check says whether a signal may carry t. Errors are permanent: Denied when the adapter or
// a host is not allowed, else what [Target.Check] found.
func (p Policy) Check(t Target) error { return p.CheckIn(Default, t) }

// CheckIn is [Policy.Check] for a registry of one's own.
func (p Policy) CheckIn(r *Registry, t Target) error {
	if !slices.Contains(p.Allow, t.Adapter) {
		return fault.Permanent(fault.Newf(fault.Denied, "a signal may not carry a target of adapter %q", t.Adapter))
	}
	_, config, err := r.config(t.Adapter, t.Options)
	if err != nil {
		return fault.Permanent(err)
	}
	c, ok := config.(Caller)
	if !ok || len(p.Hosts) == 0 {
		return nil
	}
	for _, host := range c.Hosts() {
		if !slices.ContainsFunc(p.Hosts, func(glob string) bool { return matchHost(glob, host) }) {
			return fault.Permanent(fault.Newf(fault.Denied, "a signal may not carry a target at host %q", host))
		}
	}
	return nil
}

func matchHost(glob, host string) bool {
	ok, err := path.Match(strings.ToLower(glob), strings.ToLower(strings.TrimSuffix(host, ".")))
	return err == nil && ok
}
