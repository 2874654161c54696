package main

import (
	"fmt"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/signalmesh/signalmesh/pkg/config"
	"github.com/signalmesh/signalmesh/pkg/node"
)

// A devNode needs nothing: ports that are free, data that goes away with it, and a route to
// look at. What files, the environment or flags say counts all the same.
type devNode struct {
	*program
	cli   *cli.Context
	began time.Time
	temp  string // the folder that goes away; "" if there is none
}

func (p *program) dev(c *cli.Context) error {
	d := &devNode{program: p, cli: c, began: time.Now()}
	ready := readyFile(c.String("ready-file"))
	if err := ready.clear(); err != nil {
		return err
	}
	cfg, err := d.load()
	if err != nil {
		return err
	}
	if cfg.NATS.URL == "" && cfg.Node.Data == "" {
		if d.temp, err = os.MkdirTemp("", "signald-dev-"); err != nil {
			return err
		}
		defer func() { _ = os.RemoveAll(d.temp) }() // the system's to clean up otherwise
	}
	usual, err := config.Load(nil)
	if err != nil {
		return err
	}
	s := service{
		program: p, load: d.load, ready: ready, hello: d.welcome,
		// Closing the terminal ends a node that has no files to read again.
		final: len(c.StringSlice("config")) == 0,
		opts: node.Options{ // a port that was asked for is not replaced by another
			NextFreeNATS: !c.IsSet("nats") && cfg.NATS.Listen == usual.NATS.Listen,
			NextFreeHTTP: !c.IsSet("http") && cfg.HTTP.Listen == usual.HTTP.Listen,
		},
	}
	return s.run(c.Context)
}

// load reads the files, if there are any, and lays the flags over them.
func (d *devNode) load() (*config.Config, error) {
	cfg, err := config.Load(d.environ, d.cli.StringSlice("config")...)
	if err != nil {
		return nil, err
	}
	config.Dev(cfg)
	for flag, value := range map[string]*string{"nats": &cfg.NATS.Listen, "http": &cfg.HTTP.Listen, "data": &cfg.Node.Data} {
		if d.cli.IsSet(flag) {
			*value = d.cli.String(flag)
		}
	}
	if cfg.Node.Data == "" {
		cfg.Node.Data = d.temp
	}
	return cfg, cfg.Validate()
}

// welcome says where the node listens, and what to try.
func (d *devNode) welcome(n *node.Node, cfg *config.Config) {
	var b strings.Builder
	fmt.Fprintf(&b, "signald is ready after %.1f s\n\n", time.Since(d.began).Seconds())
	if cfg.NATS.URL != "" {
		fmt.Fprintf(&b, "  NATS  %s (joined, signals are kept there)\n", n.NATSURL())
	} else {
		fmt.Fprintf(&b, "  NATS  %s%s\n", n.NATSURL(), instead(n.NATSURL(), cfg.NATS.Listen))
	}
	fmt.Fprintf(&b, "  HTTP  %s%s\n", n.HTTPURL(), instead(n.HTTPURL(), cfg.HTTP.Listen))
	switch {
	case d.temp != "":
		fmt.Fprintf(&b, "  data  %s (removed at the end; --data DIR keeps it)\n", d.temp)
	case cfg.NATS.URL == "":
		fmt.Fprintf(&b, "  data  %s (kept)\n", cfg.Node.Data)
	}
	fmt.Fprintf(&b, tryIt, n.HTTPURL(), n.NATSURL(), n.NATSURL())
	fmt.Fprint(d.stdout, b.String())
}

const tryIt = `
Send a signal, then look at it:

  curl -d '{"order": 7, "amount": 1200}' %s/v1/in/order.created
  sigctl --server %s replay '**'
  sigctl --server %s why ID

`

// instead is a remark where the node listens on another port than it was to.
func instead(where, wanted string) string {
	u, err := url.Parse(where)
	if err != nil || strings.HasSuffix(wanted, ":0") || strings.HasSuffix(wanted, ":"+u.Port()) {
		return ""
	}
	return fmt.Sprintf(" (%s is in use)", wanted)
}
