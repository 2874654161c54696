package main

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/urfave/cli/v2"

	"github.com/signalmesh/signalmesh/pkg/bus"
	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/journal"
	"github.com/signalmesh/signalmesh/pkg/route"
	"github.com/signalmesh/signalmesh/pkg/subject"
)

const defaultTimeout = 5 * time.Second

// commonFlags are understood by every verb.
func commonFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "server", Aliases: []string{"s"}, Usage: "NATS `URL` (default: $NATS_URL, else the selected NATS context, else " + nats.DefaultURL + ")"},
		&cli.StringFlag{Name: "context", Usage: "`NAME` of a NATS context (default: $NATS_CONTEXT)"},
		&cli.StringFlag{Name: "bus", Aliases: []string{"b"}, Usage: "`NAME` of the bus", Value: bus.DefaultName},
		&cli.StringFlag{Name: "prefix", Usage: "`PREFIX` of the mesh's names", Value: subject.DefaultPrefix},
		&cli.DurationFlag{Name: "timeout", Usage: "how long to wait for an answer", Value: defaultTimeout},
		&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "`FORMAT`: table, json, jsonl or yaml (default: table on a terminal, else JSON)"},
	}
}

// session is what a verb works with once its command line is understood.
type session struct {
	*program
	cli   *cli.Context
	out   *printer
	nc    *nats.Conn
	space subject.Space
	close []func() // last first
}

// verb describes a command that needs no connection beyond what its action opens. It wants
// at least and at most so many arguments; max < 0 is any number.
func (p *program) verb(c cli.Command, minArgs, maxArgs int, action func(*session) error, formats ...string) *cli.Command {
	c.Flags = append(c.Flags, commonFlags()...)
	c.OnUsageError, c.HideHelpCommand = usageError, true
	c.Action = func(ctx *cli.Context) error {
		if n := ctx.NArg(); n < minArgs || maxArgs >= 0 && n > maxArgs {
			return usagef("%s %s: %d arguments given", ctx.Command.HelpName, ctx.Command.ArgsUsage, n)
		}
		s, err := p.session(ctx, formats)
		if err != nil {
			return err
		}
		defer s.end()
		return action(s)
	}
	return &c
}

func (p *program) session(c *cli.Context, formats []string) (*session, error) {
	s := &session{program: p, cli: c}
	var err error
	if s.out, err = newPrinter(p.stdout, c.String("output"), formats); err != nil {
		return nil, err
	}
	if s.space, err = subject.NewSpace(c.String("prefix")); err != nil {
		return nil, err
	}
	if err := subject.CheckName("bus", c.String("bus")); err != nil {
		return nil, err
	}
	return s, nil
}

// end closes what the session opened.
func (s *session) end() {
	for i := len(s.close) - 1; i >= 0; i-- {
		s.close[i]()
	}
}

// warn tells something that keeps no answer from being given.
func (s *session) warn(format string, args ...any) {
	fmt.Fprintf(s.stderr, "sigctl: "+format+"\n", args...)
}

// ask bounds one question to the mesh.
func (s *session) ask() (context.Context, context.CancelFunc) {
	return context.WithTimeout(s.cli.Context, s.cli.Duration("timeout"))
}

func (s *session) busName() string { return s.cli.String("bus") }

// conn connects to NATS, once.
func (s *session) conn() (*nats.Conn, error) {
	if s.nc != nil {
		return s.nc, nil
	}
	d, err := dialing(s.cli)
	if err != nil {
		return nil, err
	}
	if s.nc, err = d.connect(s.cli.Duration("timeout")); err != nil {
		return nil, err
	}
	s.close = append(s.close, s.nc.Close)
	return s.nc, nil
}

// bus opens the bus, which must exist: a misspelt name must not become a new bus.
func (s *session) bus(ctx context.Context) (*bus.Bus, error) { return s.busNamed(ctx, s.busName()) }

func (s *session) busNamed(ctx context.Context, name string) (*bus.Bus, error) {
	nc, err := s.conn()
	if err != nil {
		return nil, err
	}
	b, err := bus.Open(ctx, nc, bus.Named(name), bus.WithSpace(s.space), bus.WithoutProvision(), bus.WithNode("sigctl"))
	if fault.Is(err, fault.NotFound) {
		return nil, fault.Hint(err, "is the name right? a node makes its buses when it starts; so does `sigctl streams apply --bus %s`", name)
	}
	if err != nil {
		return nil, err
	}
	s.close = append(s.close, b.Close)
	return b, nil
}

// catchUp is how long a question waits for the recorder. It takes milliseconds, or for ever.
const catchUp = 2 * time.Second

// journal opens the journal of the bus once all that was published before is in it.
func (s *session) journal(ctx context.Context) (*journal.Journal, error) {
	nc, err := s.conn()
	if err != nil {
		return nil, err
	}
	j, err := journal.Open(ctx, nc, journal.For(s.busName()), journal.WithSpace(s.space), journal.WithoutProvision())
	if err != nil {
		return nil, err
	}
	s.close = append(s.close, j.Close)
	ctx, cancel := context.WithTimeout(ctx, catchUp)
	defer cancel()
	if err := j.Wait(ctx); err != nil {
		s.warn("the answer may be out of date: %v", err)
	}
	return j, nil
}

func (s *session) store(ctx context.Context) (*route.Store, error) {
	nc, err := s.conn()
	if err != nil {
		return nil, err
	}
	return route.OpenStore(ctx, nc, s.space)
}

// table compiles the routes in the mesh. Routes that can't be understood are told and left
// out.
func (s *session) table(ctx context.Context) (*route.Table, error) {
	store, err := s.store(ctx)
	if err != nil {
		return nil, err
	}
	routes, err := store.List(ctx)
	if err != nil {
		if len(routes) == 0 {
			return nil, err
		}
		s.warn("%v", err)
	}
	return route.Compile(routes...)
}
