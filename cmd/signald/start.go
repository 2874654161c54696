package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/signalmesh/signalmesh/pkg/config"
	"github.com/signalmesh/signalmesh/pkg/node"
)

// start runs a node from its files until it is told to end.
func (p *program) start(c *cli.Context) error {
	files := c.StringSlice("config")
	if len(files) == 0 {
		return fmt.Errorf("run needs --config FILE; signald dev needs none; %w", errUsage)
	}
	cfg, err := config.Load(p.environ, files...)
	if err != nil {
		return err
	}
	opts := node.Options{Version: version(), Log: p.logger(cfg.Log), Stdout: p.stdout}
	return p.serve(c, cfg, opts, func(*node.Node) {})
}

// dev runs a node that needs nothing: ports that are free, data that goes away with it, and
// a route to look at.
func (p *program) dev(c *cli.Context) error {
	began := time.Now()
	cfg, err := config.Load(p.environ, c.StringSlice("config")...)
	if err != nil {
		return err
	}
	opts := node.Options{Version: version(), Log: p.logger(cfg.Log), Stdout: p.stdout, NextFree: true}
	config.Dev(cfg)
	if c.IsSet("nats") {
		cfg.NATS.Listen = c.String("nats")
	}
	if c.IsSet("http") {
		cfg.HTTP.Listen = c.String("http")
	}
	if err := cfg.Validate(); err != nil {
		return err
	}
	kept := "kept there"
	if dir := c.String("data"); dir != "" {
		cfg.Node.Data = dir
	}
	if cfg.Node.Data == "" && cfg.NATS.URL == "" {
		dir, err := os.MkdirTemp("", "signald-dev-")
		if err != nil {
			return err
		}
		defer func() { _ = os.RemoveAll(dir) }()
		cfg.Node.Data, kept = dir, "removed at the end; keep it with --data DIR"
	}
	return p.serve(c, cfg, opts, func(n *node.Node) {
		fmt.Fprintf(p.stdout, welcome, time.Since(began).Seconds(), n.NATSURL(), n.HTTPURL(), cfg.Node.Data, kept, n.HTTPURL(), n.NATSURL(), n.NATSURL())
	})
}

const welcome = `signald is ready after %.1f s

  NATS  %s
  HTTP  %s
  data  %s (%s)

Send a signal, then look at it:

  curl -d '{"order": 7, "amount": 1200}' %s/v1/in/order.created
  sigctl --server %s replay '**'
  sigctl --server %s why ID

`

// serve runs the node until the context ends, and tells the outside when it is ready.
func (p *program) serve(c *cli.Context, cfg *config.Config, opts node.Options, hello func(*node.Node)) error {
	n, err := node.New(cfg, opts)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(c.Context)
	defer stop()
	announced := make(chan error, 1)
	go func() { // ends with ctx
		defer close(announced)
		select {
		case <-n.Ready():
		case <-ctx.Done():
			return
		}
		hello(n)
		if err := announce(c.String("ready-file"), n); err != nil {
			announced <- err
			stop()
			return
		}
		p.reloads(ctx, c.StringSlice("config"), n)
	}()
	err = n.Run(ctx)
	stop()
	return errors.Join(err, <-announced)
}

// reloads puts changed files in force, until ctx ends. A bad file changes nothing.
func (p *program) reloads(ctx context.Context, files []string, n *node.Node) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.reload:
		}
		cfg, err := config.Load(p.environ, files...)
		if err == nil {
			err = n.Reload(ctx, cfg)
		}
		if err != nil {
			fmt.Fprintf(p.stderr, "signald: configuration is not reloaded: %v\n", err)
		}
	}
}

// announce writes the addresses to the ready file in one step, so that whoever waits for
// the file never reads half of it.
func announce(path string, n *node.Node) error {
	if path == "" {
		return nil
	}
	doc, err := json.Marshal(map[string]any{"nats": n.NATSURL(), "http": n.HTTPURL(), "pid": os.Getpid()})
	if err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), ".ready-*")
	if err != nil {
		return fmt.Errorf("write ready file: %w", err)
	}
	_, err = tmp.Write(append(doc, '\n'))
	if cerr := tmp.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		_ = os.Remove(tmp.Name())
		return fmt.Errorf("write ready file: %w", err)
	}
	return nil
}
