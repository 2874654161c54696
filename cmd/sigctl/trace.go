package main

import (
	"io"

	"github.com/urfave/cli/v2"

	"github.com/signalmesh/signalmesh/pkg/journal"
)

// The formats that only trace knows.
const (
	formatTree    = "tree"
	formatMermaid = "mermaid"
)

func (p *program) trace() *cli.Command {
	return p.verb(cli.Command{
		Name: "trace", Usage: "show what a signal caused, or what caused it", ArgsUsage: "ID",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "backward", Usage: "what caused it, instead of what it caused"},
			sourceFlag(),
			&cli.IntFlag{Name: "limit", Usage: "at most `N` signals; 0 is no limit", Value: 1000},
		},
	}, 1, 1, trace, formatTree, formatMermaid)
}

func trace(s *session) error {
	ctx, cancel := s.ask()
	defer cancel()
	j, err := s.journal(ctx)
	if err != nil {
		return err
	}
	direction := journal.Forward
	if s.cli.Bool("backward") {
		direction = journal.Backward
	}
	opts := []journal.TraceOption{journal.Limit(s.cli.Int("limit"))}
	if s.cli.IsSet("source") {
		opts = append(opts, journal.FromSource(s.cli.String("source")))
	}
	t, err := j.Trace(ctx, s.cli.Args().First(), direction, opts...)
	if err != nil {
		return err
	}
	switch s.out.format {
	case formatTree:
		return t.WriteTree(s.out.w)
	case formatMermaid:
		return t.WriteMermaid(s.out.w)
	}
	return s.out.document(t, func(w io.Writer) error { return t.WriteTree(w) })
}
