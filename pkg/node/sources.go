package node

import (
	"context"
	"fmt"

	"github.com/signalmesh/signalmesh/pkg/api"
	"github.com/signalmesh/signalmesh/pkg/config"
	"github.com/signalmesh/signalmesh/pkg/ingress"
)

// openSources opens the receivers of the specs and puts them in force together, or none.
func (n *Node) openSources(ctx context.Context, specs []ingress.Spec) error {
	open := make(map[string]api.Hook, len(specs))
	for _, s := range specs {
		r, err := ingress.Open(ctx, s, ingress.Env{Log: n.log})
		if err != nil {
			return fmt.Errorf("source %s: %w", s.Name, err)
		}
		open[s.Name] = api.Hook{Receiver: r, Adapter: s.Adapter, Bus: s.Bus}
	}
	n.receivers.Store(&open)
	return nil
}

// hook finds an open source by its name.
func (n *Node) hook(name string) (api.Hook, bool) {
	h, ok := (*n.receivers.Load())[name]
	return h, ok
}

// Reload puts the routes and sources of a changed configuration in force. Nothing changes
// if it is refused. What else differs takes effect at the next start, and the log says so.
func (n *Node) Reload(ctx context.Context, cfg *config.Config) error {
	if err := n.openSources(ctx, cfg.Sources); err != nil {
		return err
	}
	if err := n.applyRoutes(ctx, cfg.Routes); err != nil {
		return err
	}
	n.log.InfoContext(ctx, "configuration is reloaded: routes and sources are in force, the rest at the next start")
	return nil
}
