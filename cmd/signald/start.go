package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/signalmesh/signalmesh/pkg/config"
	"github.com/signalmesh/signalmesh/pkg/node"
)

// service is one node from start to end.
type service struct {
	*program
	load  func() (*config.Config, error) // reads the configuration, also on a hang-up
	opts  node.Options                   // without what every node gets
	ready readyFile
	hello func(*node.Node, *config.Config) // called when the node is ready; may be nil

	// final makes a hang-up the end, where there are no files to be read again.
	final bool
}

// start runs a node from its files until it is told to end.
func (p *program) start(c *cli.Context) error {
	files := c.StringSlice("config")
	if len(files) == 0 {
		return fmt.Errorf("run needs --config FILE; signald dev needs none; %w", errUsage)
	}
	s := service{
		program: p, ready: readyFile(c.String("ready-file")),
		load: func() (*config.Config, error) { return config.Load(p.environ, files...) },
	}
	return s.run(c.Context)
}

// run blocks until ctx ends or the node does.
func (s *service) run(ctx context.Context) error {
	if err := s.ready.clear(); err != nil {
		return err
	}
	cfg, err := s.load()
	if err != nil {
		return err
	}
	s.opts.Version, s.opts.Log, s.opts.Stdout = version(), s.logger(cfg.Log), s.stdout
	n, err := node.New(cfg, s.opts)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	attended := make(chan error, 1)
	go func() { // ends with ctx
		attended <- s.attend(ctx, stop, n, cfg)
	}()
	err = n.Run(ctx)
	stop()
	return errors.Join(err, <-attended, s.ready.withdraw())
}

// attend tells the outside when the node is ready, and then answers hang-ups until ctx
// ends. A node that nobody can be told about is stopped.
func (s *service) attend(ctx context.Context, stop func(), n *node.Node, cfg *config.Config) error {
	select {
	case <-n.Ready():
	case <-ctx.Done():
		return nil
	}
	if s.hello != nil {
		s.hello(n, cfg)
	}
	if err := s.ready.write(n); err != nil {
		stop()
		return err
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.hangUp:
		}
		if s.final {
			stop()
			return nil
		}
		if err := s.reload(ctx, n); err != nil {
			s.complain(fmt.Errorf("the configuration is not reloaded: %w", err))
		}
	}
}

// reload puts changed files in force. Wrong ones change nothing.
func (s *service) reload(ctx context.Context, n *node.Node) error {
	cfg, err := s.load()
	if err != nil {
		return err
	}
	return n.Reload(ctx, cfg)
}
