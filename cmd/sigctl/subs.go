package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/signalmesh/signalmesh/pkg/bus"
	"github.com/signalmesh/signalmesh/pkg/delivery"
)

func (p *program) subs() *cli.Command {
	return group("subs", "see and steer the durable subscriptions of a bus",
		p.verb(cli.Command{Name: "ls", Usage: "list the subscriptions and how far they have come"}, 0, 0, listSubscriptions),
		p.verb(cli.Command{Name: "info", Usage: "show a subscription", ArgsUsage: "NAME"}, 1, 1, showSubscription),
		p.verb(cli.Command{
			Name: "pause", Usage: "keep subscriptions from taking signals; the bus keeps the backlog", ArgsUsage: "NAME...",
			Flags: []cli.Flag{
				&cli.TimestampFlag{Name: "until", Layout: time.RFC3339, Usage: "resume by themselves at `TIME`"},
				&cli.DurationFlag{Name: "for", Usage: "resume by themselves after `DURATION`"},
			},
		}, 1, -1, pauseSubscriptions),
		p.verb(cli.Command{Name: "resume", Usage: "have paused subscriptions go on", ArgsUsage: "NAME..."}, 1, -1, resumeSubscriptions),
		p.verb(cli.Command{
			Name: "reset", Usage: "have a subscription go on from somewhere else, back or ahead", ArgsUsage: "NAME",
			Flags: []cli.Flag{
				&cli.Uint64Flag{Name: "to-seq", Usage: "at position `N`"},
				&cli.StringFlag{Name: "to-time", Usage: "with what was stored at or after `TIME`, or so long ago: 90m, 2d"},
				&cli.BoolFlag{Name: "to-start", Usage: "with the oldest signal that is kept"},
				&cli.BoolFlag{Name: "to-end", Usage: "with the next signal that is stored"},
			},
		}, 1, 1, resetSubscription),
		p.verb(cli.Command{
			Name: "rm", Usage: "delete subscriptions and their dead letters", ArgsUsage: "NAME...",
			Flags: []cli.Flag{&cli.BoolFlag{Name: "keep", Usage: "keep the dead letters"}},
		}, 1, -1, deleteSubscriptions),
	)
}

func listSubscriptions(s *session) error {
	ctx, cancel := s.ask()
	defer cancel()
	b, err := s.bus(ctx)
	if err != nil {
		return err
	}
	subs, err := b.Subscriptions(ctx)
	if err != nil {
		return err
	}
	type info = bus.SubscriptionInfo
	now := time.Now()
	return list(s.out, subs,
		column[info]{title: "name", cell: func(i info) string { return i.Name }},
		column[info]{title: "pattern", cell: func(i info) string { return i.Pattern }},
		column[info]{title: "position", cell: func(i info) string { return strconv.FormatUint(i.Position, 10) }, right: true},
		column[info]{title: "waiting", cell: func(i info) string { return strconv.FormatUint(i.Waiting, 10) }, right: true},
		column[info]{title: "in flight", cell: func(i info) string { return strconv.Itoa(i.InFlight) }, right: true},
		column[info]{title: "redelivered", cell: func(i info) string { return strconv.Itoa(i.Redelivered) }, right: true},
		column[info]{title: "members", cell: func(i info) string { return strconv.Itoa(i.Members) }, right: true},
		column[info]{title: "oldest", cell: func(i info) string { return age(i, now) }, right: true},
		column[info]{title: "paused", cell: pausedUntil},
	)
}

// age is for how long the oldest signal without an outcome has been on the bus.
func age(i bus.SubscriptionInfo, now time.Time) string {
	if i.Oldest.IsZero() {
		return ""
	}
	return ago(max(now.Sub(i.Oldest), 0))
}

func pausedUntil(i bus.SubscriptionInfo) string {
	switch {
	case !i.Paused:
		return ""
	case i.PausedUntil.IsZero():
		return "yes"
	}
	return "until " + stamp(i.PausedUntil)
}

func showSubscription(s *session) error {
	ctx, cancel := s.ask()
	defer cancel()
	b, err := s.bus(ctx)
	if err != nil {
		return err
	}
	i, err := b.Subscription(ctx, s.cli.Args().First())
	if err != nil {
		return err
	}
	return s.out.document(i, func(w io.Writer) error {
		var text bytes.Buffer
		for _, field := range [][2]string{
			{"name", i.Name},
			{"pattern", i.Pattern},
			{"created", stamp(i.Created)},
			{"position", strconv.FormatUint(i.Position, 10)},
			{"lag", strconv.FormatUint(i.Lag, 10)},
			{"oldest", stamp(i.Oldest)},
			{"age", age(i, time.Now())},
			{"waiting", strconv.FormatUint(i.Waiting, 10)},
			{"in flight", strconv.Itoa(i.InFlight)},
			{"redelivered", strconv.Itoa(i.Redelivered)},
			{"members", strconv.Itoa(i.Members)},
			{"paused", pausedUntil(i)},
		} {
			if field[1] != "" {
				fmt.Fprintf(&text, "%-16s %s\n", field[0], clean(field[1]))
			}
		}
		_, err := w.Write(text.Bytes())
		return err
	})
}

func pauseSubscriptions(s *session) error {
	var until time.Time
	switch c := s.cli; {
	case c.IsSet("until") && c.IsSet("for"):
		return usagef("--until and --for say the same")
	case c.IsSet("until"):
		until = *c.Timestamp("until")
	case c.IsSet("for"):
		if c.Duration("for") <= 0 {
			return usagef("--for: want more than 0")
		}
		until = time.Now().Add(c.Duration("for"))
	}
	return eachSubscription(s, "paused", func(ctx context.Context, b *bus.Bus, name string) error {
		return b.PauseSubscription(ctx, name, until)
	})
}

func resumeSubscriptions(s *session) error {
	return eachSubscription(s, "resumed", func(ctx context.Context, b *bus.Bus, name string) error {
		return b.ResumeSubscription(ctx, name)
	})
}

func deleteSubscriptions(s *session) error {
	return eachSubscription(s, "deleted", func(ctx context.Context, b *bus.Bus, name string) error {
		if err := b.DeleteSubscription(ctx, name); err != nil || s.cli.Bool("keep") {
			return err
		}
		_, err := b.DeadLetters().DiscardAll(ctx, bus.LetterFilter{Kind: delivery.KindSubscription, Name: name})
		return err
	})
}

// eachSubscription does something to the subscriptions that are named.
func eachSubscription(s *session, done string, do func(context.Context, *bus.Bus, string) error) error {
	ctx, cancel := s.ask()
	defer cancel()
	b, err := s.bus(ctx)
	if err != nil {
		return err
	}
	names := s.cli.Args().Slice()
	for _, name := range names {
		if err := do(ctx, b, name); err != nil {
			return err
		}
	}
	return s.out.document(map[string]int{done: len(names)}, func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "%d %s\n", len(names), done)
		return err
	})
}

func resetSubscription(s *session) error {
	to, err := resetTarget(s.cli)
	if err != nil {
		return err
	}
	ctx, cancel := s.ask()
	defer cancel()
	b, err := s.bus(ctx)
	if err != nil {
		return err
	}
	name := s.cli.Args().First()
	at, err := b.ResetSubscription(ctx, name, to)
	if err != nil {
		return err
	}
	done := struct {
		Name string `json:"name"`
		Next uint64 `json:"next"`
	}{name, at}
	return s.out.document(done, func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "%s goes on at %d\n", name, at)
		return err
	})
}

// resetTarget is where a subscription is to go on.
func resetTarget(c *cli.Context) (bus.StartOption, error) {
	var targets []bus.StartOption
	if c.IsSet("to-seq") {
		if c.Uint64("to-seq") == 0 {
			return nil, usagef("--to-seq: the first position is 1")
		}
		targets = append(targets, bus.FromSequence(c.Uint64("to-seq")))
	}
	if c.IsSet("to-time") {
		t, err := moment(c.String("to-time"), time.Now())
		if err != nil {
			return nil, usagef("--to-time: %w", err)
		}
		targets = append(targets, bus.Since(t))
	}
	if c.Bool("to-start") {
		targets = append(targets, bus.FromOrigin())
	}
	if c.Bool("to-end") {
		targets = append(targets, bus.FromCurrent())
	}
	if len(targets) != 1 {
		return nil, usagef("say one of --to-seq, --to-time, --to-start and --to-end")
	}
	return targets[0], nil
}
