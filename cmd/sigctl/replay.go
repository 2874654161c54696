package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/signalmesh/signalmesh/pkg/bus"
	"github.com/signalmesh/signalmesh/pkg/expr"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

func whereFlag() cli.Flag {
	return &cli.StringFlag{Name: "where", Usage: "`CEL` over signal and data that must be true"}
}

func limitFlag(usage string) *cli.IntFlag { return &cli.IntFlag{Name: "limit", Usage: usage} }

// selectFlags choose signals of the past.
func selectFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "since", Usage: "from this `TIME` on: RFC3339, or how long ago (1h, 2d)"},
		&cli.StringFlag{Name: "until", Usage: "up to this `TIME`"},
		&cli.Uint64Flag{Name: "from-seq", Usage: "from this `POSITION` on the bus on"},
		&cli.Uint64Flag{Name: "until-seq", Usage: "up to this `POSITION`"},
		&cli.StringFlag{Name: "subject", Usage: "only what is about `SUBJECT`"},
		&cli.StringFlag{Name: "correlation", Aliases: []string{"correlated"}, Usage: "only the conversation with this `ID`"},
		limitFlag("at most `N` signals"), whereFlag(),
	}
}

func (p *program) replay() *cli.Command {
	return p.verb(cli.Command{
		Name: "replay", Usage: "print the history of a bus, or send it once more", ArgsUsage: "PATTERN",
		Flags: append(selectFlags(), jobFlags()...),
	}, 1, 1, replayHistory)
}

// selection is what the flags select.
func (s *session) selection() ([]bus.ReplayOption, error) {
	c := s.cli
	if c.IsSet("since") && c.IsSet("from-seq") {
		return nil, usagef("--since and --from-seq both say where to begin")
	}
	opts := []bus.ReplayOption{bus.Limit(c.Int("limit"))}
	if c.IsSet("from-seq") {
		opts = append(opts, bus.FromSequence(c.Uint64("from-seq")))
	}
	if c.IsSet("until-seq") {
		opts = append(opts, bus.UntilSequence(c.Uint64("until-seq")))
	}
	for name, option := range map[string]func(time.Time) bus.ReplayOption{
		"since": func(t time.Time) bus.ReplayOption { return bus.Since(t) }, "until": bus.Until,
	} {
		if c.IsSet(name) {
			t, err := moment(c.String(name), time.Now())
			if err != nil {
				return nil, usagef("--%s: %w", name, err)
			}
			opts = append(opts, option(t))
		}
	}
	if about := c.String("subject"); about != "" {
		opts = append(opts, bus.About(about))
	}
	if id := c.String("correlation"); id != "" {
		opts = append(opts, bus.Correlated(id))
	}
	where, err := s.where()
	if where != nil {
		opts = append(opts, bus.Where(c.String("where"), where))
	}
	return opts, err
}

// print prints the signals of a replay as they come.
func (s *session) print(ctx context.Context, opts []bus.ReplayOption) error {
	where, err := s.where()
	if err != nil {
		return err
	}
	if where != nil {
		opts = append(opts, bus.WithFilter(where))
	}
	opening, cancel := s.ask()
	defer cancel()
	b, err := s.bus(opening)
	if err != nil {
		return err
	}
	return s.printAll(b.Entries(ctx, s.cli.Args().First(), opts...))
}

func (s *session) printAll(entries iter.Seq2[bus.Entry, error]) error {
	for e, err := range entries {
		if err != nil {
			return err
		}
		if err := s.out.record(e.Signal, func() string { return oneLine(e) }); err != nil {
			return err
		}
	}
	return nil
}

// where compiles --where. A signal that the expression gives no answer for is told, and not
// printed.
func (s *session) where() (func(*signal.Signal) bool, error) {
	source := s.cli.String("where")
	if source == "" {
		return nil, nil
	}
	p, err := expr.CompilePredicate(source)
	if err != nil {
		return nil, fmt.Errorf("where: %w", err)
	}
	return func(sig *signal.Signal) bool {
		ok, err := p.Eval(sig)
		if err != nil {
			s.warn("where: signal %s: %v", clean(sig.ID), err)
		}
		return ok && err == nil
	}, nil
}

// oneLine is a signal in one line for people.
func oneLine(e bus.Entry) string {
	sig := e.Signal
	text := fmt.Sprintf("%6d  %s  %s  %s  %s", e.Sequence, stamp(e.Stored), clean(sig.Type), clean(sig.ID), clean(sig.Source))
	if sig.Subject != "" {
		text += "  " + clean(sig.Subject)
	}
	if sig.Data != nil {
		text += "  " + cut(clean(flatData(sig)), 120)
	}
	return text
}

// flatData is the data without line breaks.
func flatData(s *signal.Signal) string {
	var flat bytes.Buffer
	if s.IsJSON() && json.Compact(&flat, s.Data) == nil {
		return flat.String()
	}
	return strings.Join(strings.Fields(shownData(s)), " ")
}

// moment reads a time: RFC 3339, or how long ago, in the units of Go and in days.
func moment(text string, now time.Time) (time.Time, error) {
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return t, nil
	}
	if text == "" {
		return time.Time{}, errMoment
	}
	rest, days := text, 0
	if n, after, ok := strings.Cut(text, "d"); ok {
		var err error
		if days, err = strconv.Atoi(n); err != nil || days < 0 || days > 100_000 {
			return time.Time{}, errMoment
		}
		rest = after
	}
	var d time.Duration
	if rest != "" {
		var err error
		if d, err = time.ParseDuration(rest); err != nil || d < 0 {
			return time.Time{}, errMoment
		}
	}
	return now.AddDate(0, 0, -days).Add(-d), nil
}

var errMoment = errors.New(`want a time like 2026-01-31T08:00:00Z, or how long ago, like 90m, 2d or 1d12h`)
