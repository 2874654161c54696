package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/signalmesh/signalmesh/pkg/bus"
	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

// defaultSource is the source of signals from the command line.
const defaultSource = "/sigctl"

// signalFlags describe one signal.
func signalFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "data", Aliases: []string{"d"}, Usage: "`JSON`, @FILE, or - for standard input"},
		&cli.StringFlag{Name: "content-type", Usage: "`TYPE` of the data, if it is not JSON"},
		&cli.StringFlag{Name: "source", Usage: "`URI` of who says so", Value: defaultSource},
		&cli.StringFlag{Name: "subject", Usage: "`TEXT`: what it is about"},
		&cli.StringFlag{Name: "id", Usage: "`ID` (default: a new one)"},
		&cli.StringFlag{Name: "schema", Usage: "`URI` of the data's schema"},
		&cli.TimestampFlag{Name: "time", Usage: "when it happened, `RFC3339` (default: now)", Layout: time.RFC3339Nano},
		&cli.StringSliceFlag{Name: "ext", Aliases: []string{"e"}, Usage: "extension attribute `NAME=VALUE`; may be repeated"},
	}
}

func (p *program) pub() *cli.Command {
	return p.verb(cli.Command{
		Name: "pub", Usage: "publish a signal", ArgsUsage: "TYPE",
		Flags: append(signalFlags(),
			&cli.StringFlag{Name: "cause", Usage: "`ID` of the signal that caused it"},
			&cli.StringFlag{Name: "cause-source", Usage: "`URI` of its source, if several signals have that id"},
			&cli.IntFlag{Name: "count", Usage: "publish `N` signals that differ in their ids", Value: 1},
			&cli.DurationFlag{Name: "delay", Usage: "have it appear on the bus after so `LONG`, like 10s or 36h"},
			&cli.TimestampFlag{Name: "at", Usage: "have it appear on the bus at this `TIME`, RFC3339", Layout: time.RFC3339Nano},
		),
	}, 1, 1, publish)
}

// receipt is what is answered for each signal, here and by the HTTP API.
type receipt struct {
	ID        string `json:"id"`
	Bus       string `json:"bus"`
	Sequence  uint64 `json:"sequence"`
	Duplicate bool   `json:"duplicate"`

	At time.Time `json:"at,omitzero"` // when it will appear, if it waits until then
}

func publish(s *session) error {
	count := s.cli.Int("count")
	if count < 1 || count > 1 && s.cli.String("id") != "" {
		return usagef("--count %d with --id %q: want a positive number, and no id for more than one", count, s.cli.String("id"))
	}
	at, err := s.appears(time.Now())
	if err != nil {
		return err
	}
	first, err := s.signal(s.cli.Args().First())
	if err != nil {
		return err
	}
	ctx, cancel := s.ask()
	defer cancel()
	if err := s.caused(ctx, first); err != nil {
		return err
	}
	b, err := s.bus(ctx)
	if err != nil {
		return err
	}
	for sent := 0; sent < count; {
		n := min(count-sent, bus.MaxBatch)
		if err := s.publish(b, first, n, at); err != nil {
			return err
		}
		sent += n
	}
	return nil
}

// appears is when the flags have a signal appear on the bus, zero for at once.
func (s *session) appears(now time.Time) (time.Time, error) {
	at, delay := s.cli.Timestamp("at"), s.cli.Duration("delay")
	switch {
	case at != nil && s.cli.IsSet("delay"):
		return time.Time{}, usagef("--at and --delay say the same")
	case delay < 0:
		return time.Time{}, usagef("--delay %s is negative", delay)
	case delay > 0:
		return now.Add(delay).UTC(), nil
	case at != nil && at.After(now):
		return at.UTC(), nil
	}
	return time.Time{}, nil
}

// publish sends n signals like the first, all of them or none unless they are delayed.
func (s *session) publish(b *bus.Bus, like *signal.Signal, n int, at time.Time) error {
	all := []*signal.Signal{like}
	if n > 1 {
		all = make([]*signal.Signal, n)
		for i, id := range signal.NewIDs(n) {
			all[i] = like.Clone()
			all[i].ID = id.String()
		}
	}
	ctx, cancel := s.ask()
	defer cancel()
	if !at.IsZero() {
		return s.delay(ctx, b, all, at)
	}
	acks, err := b.PublishAck(ctx, all...)
	if err != nil {
		return err
	}
	for _, a := range acks {
		r := receipt{ID: a.ID, Bus: a.Bus, Sequence: a.Sequence, Duplicate: a.Duplicate}
		if err := s.out.record(r, r.people); err != nil {
			return err
		}
	}
	return nil
}

// delay sends signals that are to appear later.
func (s *session) delay(ctx context.Context, b *bus.Bus, all []*signal.Signal, at time.Time) error {
	if err := b.PublishAt(ctx, at, all...); err != nil {
		return err
	}
	for _, sig := range all {
		r := receipt{ID: sig.ID, Bus: b.Name(), At: at}
		if err := s.out.record(r, r.people); err != nil {
			return err
		}
	}
	return nil
}

func (r receipt) people() string {
	if !r.At.IsZero() {
		return fmt.Sprintf("%s  appears on bus %s at %s", clean(r.ID), r.Bus, stamp(r.At))
	}
	text := fmt.Sprintf("%s  stored on bus %s at %d", clean(r.ID), r.Bus, r.Sequence)
	if r.Duplicate {
		text += ", where it was already"
	}
	return text
}

// signal makes the signal that the flags describe.
func (s *session) signal(typ string) (*signal.Signal, error) {
	c := s.cli
	opts := []signal.Option{
		signal.From(c.String("source")), signal.About(c.String("subject")),
		signal.ContentType(c.String("content-type")), signal.Schema(c.String("schema")),
	}
	if id := c.String("id"); id != "" {
		opts = append(opts, signal.WithID(id))
	}
	if t := c.Timestamp("time"); t != nil {
		opts = append(opts, signal.At(*t))
	}
	for _, pair := range c.StringSlice("ext") {
		name, value, ok := strings.Cut(pair, "=")
		if !ok {
			return nil, usagef("--ext %q is not NAME=VALUE", pair)
		}
		opts = append(opts, signal.Ext(name, value))
	}
	sig, err := signal.New(typ, nil, opts...)
	if err != nil || !c.IsSet("data") {
		return sig, err
	}
	if sig.Data, err = s.data(c.String("data")); err != nil {
		return nil, err
	}
	if sig.IsJSON() {
		if err := signal.ValidJSON(sig.Data); err != nil {
			return nil, fault.Hint(fmt.Errorf("data: %w", err),
				`text is JSON in quotes, --data '"hello"'; for anything else give --content-type`)
		}
	}
	return sig, sig.Validate()
}

// data reads what --data refers to.
func (s *session) data(arg string) ([]byte, error) {
	switch path, isFile := strings.CutPrefix(arg, "@"); {
	case arg == "-":
		text, err := io.ReadAll(s.stdin)
		if err != nil {
			return nil, fmt.Errorf("read standard input: %w", err)
		}
		return text, nil
	case isFile:
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, fault.Newf(fault.NotFound, "data: %w", err)
		}
		return text, nil
	}
	return []byte(arg), nil
}

// caused makes sig an effect of the signal that --cause names.
func (s *session) caused(ctx context.Context, sig *signal.Signal) error {
	id := s.cli.String("cause")
	if id == "" {
		return nil
	}
	j, err := s.journal(ctx)
	if err != nil {
		return err
	}
	r, err := j.Lookup(ctx, id, sourceOption(s.cli, "cause-source")...)
	if err != nil {
		return fmt.Errorf("cause: %w", err)
	}
	effect, err := signal.New(sig.Type, nil, signal.CausedBy(r.Signal))
	if err != nil {
		return err
	}
	for name, value := range effect.Extensions {
		if _, own := sig.Ext(name); own {
			continue
		}
		if err := sig.SetExt(name, value); err != nil {
			return err
		}
	}
	return nil
}
