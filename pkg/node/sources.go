package node

import (
	"context"
	"reflect"

	"github.com/signalmesh/signalmesh/pkg/api"
	"github.com/signalmesh/signalmesh/pkg/config"
	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/ingress"
)

// openSources puts the receivers of the configuration in force.
func (n *Node) openSources(ctx context.Context, _ *stack) error {
	receivers, err := n.openReceivers(ctx, n.cfg.Sources)
	if err != nil {
		return err
	}
	n.receivers.Store(&receivers)
	return nil
}

// openReceivers opens the receivers of all specs, or none.
func (n *Node) openReceivers(ctx context.Context, specs []ingress.Spec) (map[string]api.Hook, error) {
	open := make(map[string]api.Hook, len(specs))
	for _, s := range specs {
		if s.Bus != "" && !n.serves(s.Bus) {
			return nil, fault.Newf(fault.Invalid, "source %s: this node has no bus %.64q", s.Name, s.Bus)
		}
		r, err := ingress.Open(ctx, s, ingress.Env{Log: n.log})
		if err != nil {
			return nil, err // which names the source
		}
		open[s.Name] = api.Hook{Receiver: r, Adapter: s.Adapter, Bus: s.Bus}
	}
	return open, nil
}

// serves reports whether the node has the bus.
func (n *Node) serves(bus string) bool {
	for _, b := range n.cfg.Buses {
		if b.Name == bus {
			return true
		}
	}
	return false
}

// hook finds an open source by its name.
func (n *Node) hook(name string) (api.Hook, bool) {
	h, ok := (*n.receivers.Load())[name]
	return h, ok
}

// Reload puts the routes and sources of a changed configuration in force. Nothing changes
// if it is refused. What else differs takes effect at the next start, and the log names it.
// It may be called from when the node is ready until it ends.
func (n *Node) Reload(ctx context.Context, cfg *config.Config) error {
	n.reload.Lock()
	defer n.reload.Unlock()
	if err := check(cfg); err != nil {
		return err
	}
	receivers, err := n.openReceivers(ctx, cfg.Sources)
	if err != nil {
		return err
	}
	if err := n.applyRoutes(ctx, cfg.Routes); err != nil {
		return err
	}
	n.receivers.Store(&receivers)
	n.log.InfoContext(ctx, "routes and sources are reloaded", "routes", len(cfg.Routes), "sources", len(cfg.Sources))
	if later := restarts(n.given, cfg); len(later) > 0 {
		n.log.WarnContext(ctx, "other changes take effect at the next start", "sections", later)
	}
	return nil
}

// restarts names the sections that differ and are read at the start only.
func restarts(running, next *config.Config) (sections []string) {
	a, b := reflect.ValueOf(*running), reflect.ValueOf(*next)
	for i := range a.NumField() {
		switch name := a.Type().Field(i).Name; name {
		case "Routes", "Sources":
		default:
			if !reflect.DeepEqual(a.Field(i).Interface(), b.Field(i).Interface()) {
				sections = append(sections, a.Type().Field(i).Tag.Get("json"))
			}
		}
	}
	return sections
}
