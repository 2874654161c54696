package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/signalmesh/signalmesh/pkg/bus"
	"github.com/signalmesh/signalmesh/pkg/delivery"
	"github.com/signalmesh/signalmesh/pkg/subject"
)

func (p *program) dlq() *cli.Command {
	filters := []cli.Flag{
		&cli.StringFlag{Name: "route", Usage: "only of the route `NAME`"},
		&cli.StringFlag{Name: "sub", Usage: "only of the durable subscription `NAME`"},
		&cli.StringFlag{Name: "source", Usage: "only of the source `NAME`, which takes signals in"},
		&cli.StringFlag{Name: "kind", Usage: "only of this `KIND`: route, subscription, signal or source"},
		&cli.StringFlag{Name: "target", Usage: "only of the target `NAME`"},
		&cli.StringFlag{Name: "reason", Usage: "only given up for this `REASON`: attempts, permanent, expired, ..."},
		&cli.StringFlag{Name: "fingerprint", Usage: "only failures that look like `THIS` one; dlq groups lists them"},
		&cli.StringFlag{Name: "since", Usage: "only given up since this `TIME`: RFC3339, or how long ago (1h, 2d)"},
		limitFlag("at most `N`"),
	}
	with := func(more ...cli.Flag) []cli.Flag { return append(filters[:len(filters):len(filters)], more...) }
	all := &cli.BoolFlag{Name: "all", Usage: "every one, where no filter says which"}
	dryRun := &cli.BoolFlag{Name: "dry-run", Usage: "only count"}
	return group("dlq", "see and settle deliveries that ended without success",
		p.verb(cli.Command{Name: "ls", Usage: "list dead letters, newest first", Flags: with()}, 0, 0, listLetters),
		p.verb(cli.Command{Name: "groups", Usage: "put failures that look alike together, the largest group first", Flags: with()}, 0, 0, groupLetters),
		p.verb(cli.Command{Name: "show", Usage: "show a dead letter with its whole story", ArgsUsage: "ID"}, 1, 1, showLetter),
		p.verb(cli.Command{
			Name: "redrive", Usage: "run deliveries once more, by id or by filter, each to its own receiver only", ArgsUsage: "[ID...]",
			Flags: with(all, dryRun, &cli.Float64Flag{Name: "rate", Usage: "at most `N` per second"}),
		}, 0, -1, redrive),
		p.verb(cli.Command{
			Name: "discard", Usage: "delete dead letters for good, by id or by filter", ArgsUsage: "[ID...]",
			Flags: with(all, dryRun, &cli.BoolFlag{Name: "yes", Usage: "really delete what a filter or --all selects"}),
		}, 0, -1, discard),
		p.verb(cli.Command{
			Name: "export", Usage: "write whole dead letters, one line of JSON each, oldest first",
			Flags: with(&cli.StringFlag{Name: "file", Aliases: []string{"f"}, Usage: "write to `FILE` instead of standard output"}),
		}, 0, 0, exportLetters),
	)
}

// receivers are the flags that name one, and the kind of it.
var receivers = []struct {
	flag string
	kind delivery.Kind
}{{"route", delivery.KindRoute}, {"sub", delivery.KindSubscription}, {"source", delivery.KindSource}}

// filter is what the flags select. The zero filter selects all.
func (s *session) filter() (bus.LetterFilter, error) {
	c := s.cli
	f := bus.LetterFilter{
		Kind: delivery.Kind(c.String("kind")), Target: c.String("target"), Reason: delivery.Reason(c.String("reason")),
		Fingerprint: c.String("fingerprint"), Limit: c.Int("limit"),
	}
	if f.Limit < 0 {
		return f, usagef("--limit %d is negative", f.Limit)
	}
	for _, r := range receivers {
		name := c.String(r.flag)
		if name == "" {
			continue
		}
		if err := subject.CheckName(r.flag, name); err != nil {
			return f, err
		}
		if f.Kind != "" && f.Kind != r.kind || f.Name != "" {
			return f, usagef("--%s contradicts another filter", r.flag)
		}
		f.Kind, f.Name = r.kind, name
	}
	if c.IsSet("since") {
		t, err := moment(c.String("since"), time.Now())
		if err != nil {
			return f, usagef("--since: %w", err)
		}
		f.Since = t
	}
	return f, nil
}

func (s *session) letters(ctx context.Context) (bus.DeadLetters, error) {
	b, err := s.bus(ctx)
	if err != nil {
		return bus.DeadLetters{}, err
	}
	return b.DeadLetters(), nil
}

func listLetters(s *session) error {
	f, err := s.filter()
	if err != nil {
		return err
	}
	ctx, cancel := s.ask()
	defer cancel()
	letters, err := s.letters(ctx)
	if err != nil {
		return err
	}
	f.Newest = true
	var found []delivery.Letter
	for l, err := range letters.List(s.cli.Context, f) {
		if err != nil {
			return err
		}
		found = append(found, l)
	}
	type letter = delivery.Letter
	return list(s.out, found,
		column[letter]{title: "id", cell: func(l letter) string { return clean(l.ID) }},
		column[letter]{title: "kind", cell: func(l letter) string { return clean(string(l.Kind)) }},
		column[letter]{title: "name", cell: func(l letter) string { return clean(l.Name) }},
		column[letter]{title: "target", cell: func(l letter) string { return clean(l.Target) }},
		column[letter]{title: "signal", cell: signalOf},
		column[letter]{title: "reason", cell: func(l letter) string { return clean(string(l.Reason)) }},
		column[letter]{title: "tries", cell: func(l letter) string { return strconv.Itoa(len(l.Attempts)) }, right: true},
		column[letter]{title: "last", cell: func(l letter) string { return stamp(l.LastAt) }},
		column[letter]{title: "error", cell: func(l letter) string { return cut(clean(l.Error), maxCell) }},
	)
}

func groupLetters(s *session) error {
	f, err := s.filter()
	if err != nil {
		return err
	}
	ctx, cancel := s.ask()
	defer cancel()
	letters, err := s.letters(ctx)
	if err != nil {
		return err
	}
	groups, err := letters.Groups(s.cli.Context, f)
	if err != nil {
		return err
	}
	type row = bus.LetterGroup
	return list(s.out, groups,
		column[row]{title: "count", cell: func(g row) string { return strconv.Itoa(g.Count) }, right: true},
		column[row]{title: "fingerprint", cell: func(g row) string { return clean(g.Fingerprint) }},
		column[row]{title: "receivers", cell: func(g row) string { return clean(strings.Join(g.Receivers, ", ")) }},
		column[row]{title: "first", cell: func(g row) string { return stamp(g.First) }},
		column[row]{title: "last", cell: func(g row) string { return stamp(g.Last) }},
		column[row]{title: "error", cell: func(g row) string { return cut(clean(g.Error), maxCell) }},
	)
}

// signalOf is the type and id of the signal in a letter.
func signalOf(l delivery.Letter) string {
	sig, err := l.Decode()
	if err != nil {
		return ""
	}
	return clean(sig.Type) + " " + clean(sig.ID)
}

func showLetter(s *session) error {
	ctx, cancel := s.ask()
	defer cancel()
	letters, err := s.letters(ctx)
	if err != nil {
		return err
	}
	l, err := letters.Get(ctx, s.cli.Args().First())
	if err != nil {
		return err
	}
	return s.out.document(l, func(w io.Writer) error { return describeLetter(w, l) })
}

func describeLetter(w io.Writer, l delivery.Letter) error {
	var b bytes.Buffer
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, "%-12s %s\n", name, clean(value))
		}
	}
	line("id", l.ID)
	line("bus", l.Bus)
	line(string(l.Kind), l.Name)
	line("target", l.Target)
	line("adapter", l.Adapter)
	line("reason", string(l.Reason))
	line("error", l.Error)
	line("code", string(l.Code))
	line("fingerprint", l.Fingerprint)
	line("first", stamp(l.FirstAt))
	line("last", stamp(l.LastAt))
	line("node", l.Node)
	if l.Sequence > 0 {
		line("position", strconv.FormatUint(l.Sequence, 10))
	}
	attempts(&b, l.Attempts)
	for _, r := range l.Redrives {
		fmt.Fprintf(&b, "    redriven %s by %s after %s: %s\n", stamp(r.At), clean(r.By), count(r.Attempts, "attempt", "attempts"), clean(r.Error))
	}
	sig, err := l.Decode()
	switch {
	case err == nil:
		b.WriteByte('\n')
		if err := describe(&b, sig); err != nil {
			return err
		}
	case len(l.Raw) > 0:
		fmt.Fprintf(&b, "\n%s\n", printable(l.Raw))
	}
	_, err = w.Write(b.Bytes())
	return err
}
