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

func (p *program) dlq() *cli.Command {
	filters := []cli.Flag{
		&cli.StringFlag{Name: "kind", Usage: "only of this `KIND`: route, subscription, signal or source"},
		&cli.StringFlag{Name: "name", Usage: "only of the route, subscription or source `NAME`; needs --kind"},
		&cli.StringFlag{Name: "target", Usage: "only of the target `NAME`"},
		&cli.StringFlag{Name: "reason", Usage: "only given up for this `REASON`: attempts, permanent, expired, ..."},
		&cli.StringFlag{Name: "fingerprint", Usage: "only failures that look like `THIS` one"},
		&cli.StringFlag{Name: "since", Usage: "only given up since this `TIME`: RFC3339, or how long ago (1h, 2d)"},
		limitFlag("at most `N`"),
	}
	all := &cli.BoolFlag{Name: "all", Usage: "all that the filters select, instead of naming them"}
	return group("dlq", "see and settle deliveries that ended without success",
		p.verb(cli.Command{Name: "ls", Usage: "list dead letters, newest first", Flags: filters}, 0, 0, listLetters),
		p.verb(cli.Command{Name: "show", Usage: "show a dead letter with its whole story", ArgsUsage: "ID"}, 1, 1, showLetter),
		p.verb(cli.Command{
			Name: "redrive", Usage: "run deliveries once more", ArgsUsage: "ID...",
			Flags: append(filters[:len(filters):len(filters)], all),
		}, 0, -1, redrive),
		p.verb(cli.Command{
			Name: "discard", Usage: "delete dead letters for good", ArgsUsage: "ID...",
			Flags: append(filters[:len(filters):len(filters)], all),
		}, 0, -1, discard),
	)
}

// filter is what the flags select.
func (s *session) filter() (bus.LetterFilter, error) {
	c := s.cli
	f := bus.LetterFilter{
		Kind: delivery.Kind(c.String("kind")), Name: c.String("name"), Target: c.String("target"),
		Reason: delivery.Reason(c.String("reason")), Fingerprint: c.String("fingerprint"), Limit: c.Int("limit"),
	}
	if f.Name != "" && f.Kind == "" {
		return f, usagef("--name needs --kind")
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

// selected collects the letters that the flags select.
func (s *session) selected(ctx context.Context, letters bus.DeadLetters, newest bool) ([]delivery.Letter, error) {
	f, err := s.filter()
	if err != nil {
		return nil, err
	}
	f.Newest = newest
	var out []delivery.Letter
	for l, err := range letters.List(ctx, f) {
		if err != nil {
			return nil, err
		}
		out = append(out, l)
	}
	return out, nil
}

func listLetters(s *session) error {
	ctx, cancel := s.ask()
	defer cancel()
	letters, err := s.letters(ctx)
	if err != nil {
		return err
	}
	found, err := s.selected(ctx, letters, true)
	if err != nil {
		return err
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
		fmt.Fprintf(&b, "    redriven %s by %s after %d attempts: %s\n", stamp(r.At), clean(r.By), r.Attempts, clean(r.Error))
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

// settled is what became of dead letters.
type settled struct {
	Redriven  int `json:"redriven,omitempty"`
	Discarded int `json:"discarded,omitempty"`
}

// named checks that letters are chosen in exactly one way.
func (s *session) named() error {
	if all := s.cli.Bool("all"); all == s.cli.Args().Present() {
		return usagef("name dead letters by id, or say --all")
	}
	return nil
}

func redrive(s *session) error {
	if err := s.named(); err != nil {
		return err
	}
	ctx, cancel := s.ask()
	defer cancel()
	letters, err := s.letters(ctx)
	if err != nil {
		return err
	}
	var done settled
	if s.cli.Bool("all") {
		f, err := s.filter()
		if err != nil {
			return err
		}
		done.Redriven, err = letters.RedriveAll(s.cli.Context, f, whoami())
		if err != nil {
			return fmt.Errorf("after %d: %w", done.Redriven, err)
		}
	}
	for _, id := range s.cli.Args().Slice() {
		if err := letters.Redrive(ctx, id, whoami()); err != nil {
			return err
		}
		done.Redriven++
	}
	return s.out.document(done, func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "%d deliveries will run once more\n", done.Redriven)
		return err
	})
}

func discard(s *session) error {
	if err := s.named(); err != nil {
		return err
	}
	ctx, cancel := s.ask()
	defer cancel()
	letters, err := s.letters(ctx)
	if err != nil {
		return err
	}
	ids := s.cli.Args().Slice()
	if s.cli.Bool("all") {
		found, err := s.selected(s.cli.Context, letters, false)
		if err != nil {
			return err
		}
		for _, l := range found {
			ids = append(ids, l.ID)
		}
	}
	for _, id := range ids {
		if err := letters.Discard(s.cli.Context, id); err != nil {
			return err
		}
	}
	done := settled{Discarded: len(ids)}
	return s.out.document(done, func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "%d dead letters are gone\n", done.Discarded)
		return err
	})
}
