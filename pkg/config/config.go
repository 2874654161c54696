// Package config is what the file of a node may say.
//
// It promises that nothing in a file is ignored or guessed at: an unknown key is an error
// with its line and the key that was probably meant, every problem is reported at once, and
// a secret is a reference ([secret.Ref]) that no error repeats. Reading a file opens
// nothing; [Load] and [Check] work on a machine where the node will never run.
//
// A Config is a plain value.
package config

import (
	"errors"
	"net"
	"net/netip"
	"strconv"

	"github.com/signalmesh/signalmesh/pkg/dispatch"
	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/ingress"
	"github.com/signalmesh/signalmesh/pkg/internal/plug"
	"github.com/signalmesh/signalmesh/pkg/route"
	"github.com/signalmesh/signalmesh/pkg/secret"
	"github.com/signalmesh/signalmesh/pkg/subject"
)

// DefaultBus is the bus of everything that names none.
const DefaultBus = "default"

// Config is everything about one node.
type Config struct {
	Node    Node           `json:"node" doc:"this process"`
	NATS    NATS           `json:"nats" doc:"the server inside this process, or the one it joins"`
	HTTP    HTTP           `json:"http" doc:"signals in, questions answered, health and metrics"`
	Buses   []Bus          `json:"buses" doc:"the logs of signals that this node serves; the bus \"default\" when empty"`
	Sources []ingress.Spec `json:"sources" doc:"what turns requests of others into signals, under POST /v1/hooks/<name>"`
	Routes  []route.Spec   `json:"routes" doc:"put into the mesh when the node starts, like sigctl routes apply"`
	Network Network        `json:"network" doc:"which addresses may be called, and who may call"`
	Log     Log            `json:"log" doc:"what the node writes to standard error"`
}

// Node is about the process.
type Node struct {
	Name string `json:"name" doc:"name in the mesh, unique; the host's name when not given"`
	Data string `json:"data" doc:"folder of the embedded server's streams; required unless nats.url is given"`
}

// NATS says which server the node uses.
type NATS struct {
	Listen     string     `json:"listen" default:"127.0.0.1:4222" doc:"address of the embedded server; port 0 takes any free port"`
	URL        string     `json:"url" doc:"join the server or cluster at this URL instead of embedding one"`
	Creds      secret.Ref `json:"creds" doc:"with url: credentials file, file:/path"`
	Token      secret.Ref `json:"token" doc:"token that clients of the embedded server must show, or that is shown to url"`
	Durability string     `json:"durability" default:"sync" enum:"sync|fast" doc:"sync: on disk before it is acknowledged; fast: within ten seconds"`
	MaxStore   plug.Size  `json:"max_store" doc:"disk the embedded server may use; three quarters of what is free when not given"`
	Cluster    *Cluster   `json:"cluster" doc:"makes the embedded server one of several that keep replicated streams; three or five, each with node.name"`
	Prefix     string     `json:"prefix" default:"sig" doc:"first word of every subject and stream; meshes in one account need different ones"`
}

// HTTP says where and how much the node listens.
type HTTP struct {
	Listen     string    `json:"listen" default:"127.0.0.1:8222" doc:"address to serve HTTP on; port 0 takes any free port"`
	MaxBody    plug.Size `json:"max_body" default:"1MiB" min:"1KiB" max:"8MiB" doc:"largest request body"`
	MaxHeaders plug.Size `json:"max_headers" default:"32KiB" min:"1KiB" max:"1MiB" doc:"largest request headers"`
}

// Bus is one log of signals.
type Bus struct {
	Name     string          `json:"name" required:"true" doc:"letters, digits, _ and -"`
	Dispatch dispatch.Policy `json:"dispatch" doc:"targets that a signal may carry itself, in its dispatch extension; none when empty"`
	MaxHops  int             `json:"max_hops" default:"16" min:"1" max:"1000" doc:"how often a signal may be caused by another before it is taken for a loop"`
	Replicas int             `json:"replicas" min:"1" max:"5" default:"1" doc:"copies of the bus's streams, made when they are created; needs a cluster of that many servers"`
}

// Network is the guard around the node.
type Network struct {
	Allow  []netip.Prefix `json:"allow" doc:"private, loopback and link-local ranges that targets may call in spite of the guard, 10.1.0.0/16"`
	Expose bool           `json:"expose" doc:"listen on addresses other than loopback although callers are not authenticated"`
}

// Log says what is logged.
type Log struct {
	Level  string `json:"level" default:"info" enum:"debug|info|warn|error" doc:"least severe level that is written"`
	Format string `json:"format" default:"text" enum:"text|json" doc:"text for people, json for machines"`
}

// Validate reports what is wrong between the parts, with code fault.Invalid, or Denied for
// a listener that would serve strangers; the parts have checked themselves. Decoding calls
// it, and names are compared by [Load].
func (c Config) Validate() error {
	var errs []error
	bad := func(err error, path ...string) {
		if err != nil {
			errs = append(errs, plug.At(err, path...))
		}
	}
	if c.Node.Name != "" {
		bad(subject.CheckName("node", c.Node.Name), "node", "name")
	}
	_, err := subject.NewSpace(c.NATS.Prefix)
	bad(err, "nats", "prefix")
	bad(c.listener(c.HTTP.Listen), "http", "listen")
	if c.NATS.URL == "" {
		bad(c.embedded(), "nats", "listen")
		if !c.NATS.Creds.IsZero() {
			bad(fault.Newf(fault.Invalid, "only with nats.url; clients of the embedded server show nats.token"), "nats", "creds")
		}
	}
	for _, p := range c.cluster() {
		bad(p.err, p.path...)
	}
	for i, b := range c.Buses {
		bad(subject.CheckName("bus", b.Name), "buses", strconv.Itoa(i), "name")
		if b.Replicas > 1 && c.NATS.URL == "" && c.NATS.Cluster == nil {
			bad(fault.Newf(fault.Invalid, "%d copies need nats.cluster, or nats.url of a cluster", b.Replicas), "buses", strconv.Itoa(i), "replicas")
		}
	}
	for i, s := range c.Sources {
		bad(c.known(s.Bus), "sources", strconv.Itoa(i), "bus")
	}
	for i, r := range c.Routes {
		bad(c.known(r.Bus), "routes", strconv.Itoa(i), "bus")
	}
	return errors.Join(errs...)
}

// known reports a bus that the node does not serve; "" is whichever there is.
func (c Config) known(bus string) error {
	if bus == "" || c.serves(bus) {
		return nil
	}
	return fault.Newf(fault.Invalid, "there is no bus %q under buses", bus)
}

// serves reports whether the node has the bus.
func (c Config) serves(name string) bool {
	for _, b := range c.Buses {
		if b.Name == name {
			return true
		}
	}
	return len(c.Buses) == 0 && name == DefaultBus
}

// embedded checks the address of the embedded server, which may ask for a token instead of
// staying on loopback.
func (c Config) embedded() error {
	if !c.NATS.Token.IsZero() {
		_, err := hostOf(c.NATS.Listen)
		return err
	}
	return c.listener(c.NATS.Listen)
}

// listener refuses addresses on which callers from other hosts would be served without
// being asked who they are.
func (c Config) listener(address string) error {
	host, err := hostOf(address)
	if err != nil {
		return err
	}
	if c.Network.Expose || host == "localhost" {
		return nil
	}
	if ip, err := netip.ParseAddr(host); err == nil && ip.IsLoopback() {
		return nil
	}
	return fault.Newf(fault.Denied, "%s can be reached from other hosts, and callers are not authenticated; listen on 127.0.0.1, or set network.expose: true behind something that authenticates", address)
}

// hostOf takes an address to listen on apart.
func hostOf(address string) (string, error) {
	host, port, err := net.SplitHostPort(address)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return "", fault.Newf(fault.Invalid, "%q is not an address like 127.0.0.1:8080", address)
	}
	return host, nil
}
