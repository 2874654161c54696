package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/signalmesh/signalmesh/pkg/bus"
)

func (p *program) delayed() *cli.Command {
	return group("delayed", "see and cancel the signals that wait for their time",
		p.verb(cli.Command{Name: "ls", Usage: "list them, those first that have waited longest", Flags: []cli.Flag{limitFlag("at most `N`")}}, 0, 0, listDelayed),
		p.verb(cli.Command{Name: "rm", Usage: "keep signals from appearing", ArgsUsage: "ID..."}, 1, -1, cancelDelayed),
	)
}

func listDelayed(s *session) error {
	ctx, cancel := s.ask()
	defer cancel()
	b, err := s.bus(ctx)
	if err != nil {
		return err
	}
	var found []bus.Delay
	for d, err := range b.Delays().List(ctx) {
		if err != nil {
			return err
		}
		found = append(found, d)
		if len(found) == s.cli.Int("limit") {
			break
		}
	}
	return list(s.out, found,
		column[bus.Delay]{title: "id", cell: func(d bus.Delay) string { return clean(d.Signal.ID) }},
		column[bus.Delay]{title: "type", cell: func(d bus.Delay) string { return clean(d.Signal.Type) }},
		column[bus.Delay]{title: "source", cell: func(d bus.Delay) string { return clean(d.Signal.Source) }},
		column[bus.Delay]{title: "at", cell: func(d bus.Delay) string { return stamp(d.At) }},
		column[bus.Delay]{title: "stored", cell: func(d bus.Delay) string { return stamp(d.Stored) }},
	)
}

func cancelDelayed(s *session) error {
	ctx, cancel := s.ask()
	defer cancel()
	b, err := s.bus(ctx)
	if err != nil {
		return err
	}
	ids := s.cli.Args().Slice()
	for _, id := range ids {
		if err := b.Delays().Cancel(ctx, id); err != nil {
			return err
		}
	}
	done := struct {
		Cancelled int `json:"cancelled"`
	}{len(ids)}
	return s.out.document(done, func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "%d signals will not appear\n", done.Cancelled)
		return err
	})
}

func (p *program) schedule() *cli.Command {
	like := slices.DeleteFunc(signalFlags(), func(f cli.Flag) bool { // every firing has its own
		return f.Names()[0] == "id" || f.Names()[0] == "time"
	})
	return group("schedule", "publish signals again and again",
		p.verb(cli.Command{Name: "ls", Usage: "list the schedules and when they fire next"}, 0, 0, listSchedules),
		p.verb(cli.Command{Name: "show", Usage: "show a schedule with its signal", ArgsUsage: "NAME"}, 1, 1, showSchedule),
		p.verb(cli.Command{
			Name: "add", Usage: "publish a signal of TYPE at an interval, or when a clock says so", ArgsUsage: "NAME TYPE",
			Flags: append(like,
				&cli.DurationFlag{Name: "every", Usage: "at an `INTERVAL` of a second or more"},
				&cli.StringFlag{Name: "cron", Usage: "`EXPRESSION` of five fields, or six with seconds first, or @hourly, @daily, ..."},
				&cli.StringFlag{Name: "zone", Usage: "time `ZONE` of --cron, like Europe/Berlin (default: UTC)"},
				&cli.BoolFlag{Name: "replace", Usage: "in place of the schedule that has the name"},
			),
		}, 2, 2, addSchedule),
		p.verb(cli.Command{Name: "rm", Usage: "delete schedules", ArgsUsage: "NAME..."}, 1, -1,
			eachSchedule("deleted", bus.Schedules.Delete)),
		p.verb(cli.Command{Name: "pause", Usage: "keep schedules from firing", ArgsUsage: "NAME..."}, 1, -1,
			eachSchedule("paused", bus.Schedules.Pause)),
		p.verb(cli.Command{Name: "resume", Usage: "have paused schedules fire again", ArgsUsage: "NAME..."}, 1, -1,
			eachSchedule("resumed", bus.Schedules.Resume)),
	)
}

func listSchedules(s *session) error {
	ctx, cancel := s.ask()
	defer cancel()
	b, err := s.bus(ctx)
	if err != nil {
		return err
	}
	found, err := b.Schedules().List(ctx)
	if err != nil {
		return err
	}
	return list(s.out, found,
		column[bus.Schedule]{title: "name", cell: func(d bus.Schedule) string { return clean(d.Name) }},
		column[bus.Schedule]{title: "when", cell: func(d bus.Schedule) string { return clean(d.When) }},
		column[bus.Schedule]{title: "zone", cell: func(d bus.Schedule) string { return clean(d.Zone) }},
		column[bus.Schedule]{title: "type", cell: func(d bus.Schedule) string { return clean(d.Signal.Type) }},
		column[bus.Schedule]{title: "last", cell: func(d bus.Schedule) string { return stamp(d.Last) }},
		column[bus.Schedule]{title: "next", cell: nextFiring},
	)
}

func nextFiring(d bus.Schedule) string {
	if d.Paused {
		return "paused"
	}
	return stamp(d.Next)
}

func showSchedule(s *session) error {
	ctx, cancel := s.ask()
	defer cancel()
	b, err := s.bus(ctx)
	if err != nil {
		return err
	}
	d, err := b.Schedules().Get(ctx, s.cli.Args().First())
	if err != nil {
		return err
	}
	return s.out.document(d, func(w io.Writer) error { return describeSchedule(w, d) })
}

func describeSchedule(w io.Writer, d bus.Schedule) error {
	var b bytes.Buffer
	for _, field := range [][2]string{
		{"name", d.Name},
		{"when", d.When},
		{"zone", d.Zone},
		{"created", stamp(d.Created)},
		{"last", stamp(d.Last)},
		{"next", nextFiring(d)},
	} {
		if field[1] != "" {
			fmt.Fprintf(&b, "%-16s %s\n", field[0], clean(field[1]))
		}
	}
	b.WriteByte('\n')
	like := d.Signal.Clone()
	like.ID = "" // every firing has its own
	if err := describe(&b, like); err != nil {
		return err
	}
	_, err := w.Write(b.Bytes())
	return err
}

func addSchedule(s *session) error {
	c := s.cli
	d := bus.Schedule{Name: c.Args().First(), When: c.String("cron"), Zone: c.String("zone")}
	switch {
	case c.IsSet("every") == c.IsSet("cron"):
		return usagef("say either --every or --cron")
	case c.IsSet("every"):
		d.When = bus.Every(c.Duration("every"))
	}
	var err error
	if d.Signal, err = s.signal(c.Args().Get(1)); err != nil {
		return err
	}
	if !c.IsSet("source") {
		d.Signal.Source = "" // that of the schedule
	}
	ctx, cancel := s.ask()
	defer cancel()
	b, err := s.bus(ctx)
	if err != nil {
		return err
	}
	put := b.Schedules().Add
	if c.Bool("replace") {
		put = b.Schedules().Put
	}
	if err := put(ctx, d); err != nil {
		return err
	}
	added, err := b.Schedules().Get(ctx, d.Name)
	if err != nil {
		return err
	}
	return s.out.document(added, func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "%s fires next at %s\n", added.Name, added.Next.Format(time.RFC3339))
		return err
	})
}

// eachSchedule does something to the schedules that are named.
func eachSchedule(done string, do func(bus.Schedules, context.Context, string) error) func(*session) error {
	return func(s *session) error {
		ctx, cancel := s.ask()
		defer cancel()
		b, err := s.bus(ctx)
		if err != nil {
			return err
		}
		names := s.cli.Args().Slice()
		for _, name := range names {
			if err := do(b.Schedules(), ctx, name); err != nil {
				return err
			}
		}
		return s.out.document(map[string]int{done: len(names)}, func(w io.Writer) error {
			_, err := fmt.Fprintf(w, "%d %s\n", len(names), done)
			return err
		})
	}
}
