package config

import (
	"net"
	"strconv"

	"github.com/signalmesh/signalmesh/pkg/fault"
)

// Cluster is what the embedded servers of several nodes know of each other.
type Cluster struct {
	Name      string   `json:"name" required:"true" doc:"the same on every node of the cluster"`
	Listen    string   `json:"listen" required:"true" doc:"address for the servers of the other nodes, with a port that they know"`
	Routes    []string `json:"routes" doc:"cluster addresses of the other nodes, host:port; at least one, and its own does no harm"`
	Advertise string   `json:"advertise" doc:"where the other nodes reach this one, when that is not listen"`
}

// misfit is a problem with its place in the file.
type misfit struct {
	err  error
	path []string
}

// cluster reports what is wrong with the cluster and what goes with it.
func (c Config) cluster() (problems []misfit) {
	cl := c.NATS.Cluster
	if cl == nil {
		return nil
	}
	bad := func(err error, path ...string) {
		problems = append(problems, misfit{err, append([]string{"nats", "cluster"}, path...)})
	}
	if c.NATS.URL != "" {
		bad(fault.Newf(fault.Invalid, "not with nats.url: only embedded servers form a cluster"))
	}
	if c.Node.Name == "" {
		bad(fault.Newf(fault.Invalid, "node.name is required in a cluster: it is the server's identity, which must not change"))
	}
	if err := dialable(cl.Listen); cl.Listen != "" && err != nil {
		bad(err, "listen")
	} else if cl.Listen != "" && c.NATS.Token.IsZero() && c.listener(cl.Listen) != nil {
		bad(fault.Newf(fault.Denied, "%s can be reached from other hosts; set nats.token, the same on every node, or network.expose: true in a network of your own", cl.Listen), "listen")
	}
	if len(cl.Routes) == 0 {
		bad(fault.Newf(fault.Invalid, "name the cluster address of at least one other node"), "routes")
	}
	for i, r := range cl.Routes {
		bad(dialable(r), "routes", strconv.Itoa(i))
	}
	if cl.Advertise != "" {
		bad(dialable(cl.Advertise), "advertise")
	}
	return problems
}

// dialable reports whether text is host:port with a port that others can dial.
func dialable(text string) error {
	host, port, err := net.SplitHostPort(text)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil || host == "" || port == "0" {
		return fault.Newf(fault.Invalid, "%q is not an address like 10.0.0.1:6222", text)
	}
	return nil
}
