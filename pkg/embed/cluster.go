package embed

import (
	"context"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/signalmesh/signalmesh/pkg/fault"
)

// Cluster makes a server one of several that keep replicated streams together. The zero
// value is a server of its own.
//
// A cluster has three servers, or five: a majority of those that ever joined must be up for
// anything to be stored. Each has a name of its own, which is its identity, and streams
// that a lone server made can't be taken into a cluster.
type Cluster struct {
	Name string // of the cluster, the same on every server
	Host string // address to listen on for the other servers; 127.0.0.1 by default
	Port int    // port to listen on for them; it must be known to the others, so not 0

	// Routes are the addresses, host:port, of the other servers. Each server needs at least
	// one, and they may include its own.
	Routes []string

	// Advertise is where the others reach this server, when that is not Host and Port.
	Advertise string
}

// enabled reports whether there is to be a cluster.
func (c Cluster) enabled() bool {
	return c.Name != "" || c.Port != 0 || len(c.Routes) > 0 || c.Host != "" || c.Advertise != ""
}

// routeUser is whom servers of a cluster that has a token present themselves as.
const routeUser = "signalmesh"

// validateCluster reports everything that is wrong with the cluster of c.
func (c Config) validateCluster() (errs []error) {
	cl := c.Cluster
	if !cl.enabled() {
		return nil
	}
	bad := func(format string, args ...any) {
		errs = append(errs, fault.Newf(fault.Invalid, "cluster: "+format, args...))
	}
	if cl.Name == "" || strings.ContainsAny(cl.Name, " \t\r\n") {
		bad("name %q is empty or contains spaces", cl.Name)
	}
	if c.Name == "" || c.Name == DefaultName {
		bad("the server needs a name of its own")
	}
	if cl.Port < 1 || cl.Port > 65535 {
		bad("port %d is not between 1 and 65535; the other servers must know it", cl.Port)
	}
	if len(cl.Routes) == 0 {
		bad("no routes; name the address of at least one other server, on every server")
	}
	for _, r := range append(slices.Clone(cl.Routes), cl.Advertise) {
		if err := dialable(r); r != "" && err != nil {
			bad("%w", err)
		}
	}
	if c.Token == "" && !c.Open && !isLoopback(cl.Host) {
		errs = append(errs, fault.Hint(
			fault.Newf(fault.Denied, "cluster: listening on %s without authentication", cl.Host),
			"set a token, the same on every server, or say that the port is meant to be open"))
	}
	return errs
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

// clusterOptions adds the cluster to the options of the server.
func (c Config) clusterOptions(o *server.Options) {
	cl := c.Cluster
	if !cl.enabled() {
		return
	}
	o.Cluster = server.ClusterOpts{Name: cl.Name, Host: cl.Host, Port: cl.Port, Advertise: cl.Advertise}
	var user *url.Userinfo
	if c.Token != "" {
		o.Cluster.Username, o.Cluster.Password = routeUser, c.Token
		user = url.UserPassword(routeUser, c.Token)
	}
	for _, r := range cl.Routes {
		o.Routes = append(o.Routes, &url.URL{Scheme: "nats-route", User: user, Host: r})
	}
}

// checkClusterPort finds out whether the port can be had before anything is touched.
func (s *Server) checkClusterPort(ctx context.Context) error {
	if !s.cfg.Cluster.enabled() {
		return nil
	}
	l, err := ListenOn(ctx, s.cfg.Cluster.Host, s.cfg.Cluster.Port)
	if err != nil {
		return err
	}
	return l.Close()
}

const (
	quorumPoll = 50 * time.Millisecond
	quorumTell = 10 * time.Second // between two lines that say what is waited for
)

// quorum waits until the cluster works: it has a leader, and what this server keeps of its
// streams is recovered and led. That takes a majority of the servers, so it may take as
// long as it takes to start those.
func (s *Server) quorum(ctx context.Context) error {
	began := time.Now()
	tick := time.NewTicker(quorumPoll)
	defer tick.Stop()
	var told time.Time
	for {
		err := s.Healthy()
		if err == nil && s.srv.JetStreamIsCurrent() {
			break
		}
		if fatal := s.log.err(); fatal != nil {
			return fault.Wrap(fault.Unavailable, fatal)
		}
		if time.Since(told) > quorumTell && time.Since(began) > quorumPoll {
			told = time.Now()
			s.cfg.Log.InfoContext(ctx, "waiting for a majority of the cluster", "cluster", s.cfg.Cluster.Name,
				"routes", s.cfg.Cluster.Routes, "connected", s.srv.NumRoutes() > 0, "error", err)
		}
		select {
		case <-ctx.Done():
			return fault.Newf(fault.Unavailable, "cluster %s has no majority of its servers: %w", s.cfg.Cluster.Name, ctx.Err())
		case <-tick.C:
		}
	}
	s.cfg.Log.InfoContext(ctx, "the cluster has a majority", "cluster", s.cfg.Cluster.Name, "waited", time.Since(began).Round(time.Millisecond))
	return nil
}
