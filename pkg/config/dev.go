package config

import (
	"net/netip"

	"github.com/signalmesh/signalmesh/pkg/dispatch"
	"github.com/signalmesh/signalmesh/pkg/pattern"
	"github.com/signalmesh/signalmesh/pkg/route"
)

// Default is the bus of a configuration that names none.
func Default() Bus { return Bus{Name: DefaultBus, MaxHops: 16, Replicas: 1} }

// Dev loosens c for a node on a developer's own machine: targets on loopback may be called,
// signals may carry targets of the harmless kinds, and without routes there is one that
// logs every signal. What c says itself stays.
func Dev(c *Config) {
	if c.Node.Name == "" {
		c.Node.Name = "dev"
	}
	c.Network.Allow = append(c.Network.Allow, netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128"))
	if len(c.Buses) == 0 {
		b := Default()
		b.Dispatch = dispatch.Policy{Allow: []string{"console", "http", "logger", "named", "noop", "pubsub", "webhook"}, Hosts: []string{"*"}}
		c.Buses = []Bus{b}
	}
	if len(c.Routes) == 0 {
		c.Routes = []route.Spec{{
			Name: "demo", On: route.Patterns{pattern.MustParse("**")},
			To: []route.Target{{Target: dispatch.Target{Adapter: "logger"}}},
		}}
	}
}
