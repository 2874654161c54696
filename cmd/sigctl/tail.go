package main

import (
	"time"

	"github.com/urfave/cli/v2"

	"github.com/signalmesh/signalmesh/pkg/bus"
)

func (p *program) tail() *cli.Command {
	return p.verb(cli.Command{
		Name: "tail", Usage: "print signals as they come", ArgsUsage: "PATTERN",
		Flags: []cli.Flag{
			whereFlag(),
			&cli.StringFlag{Name: "since", Usage: "begin at this `TIME`: RFC3339, or how long ago (1h, 2d; default: now)"},
			limitFlag("end after `N` signals (default: never)"),
		},
	}, 1, 1, func(s *session) error {
		opts := []bus.ReplayOption{bus.Follow(), bus.Limit(s.cli.Int("limit"))}
		if !s.cli.IsSet("since") {
			return s.print(s.cli.Context, append(opts, bus.FromCurrent()))
		}
		t, err := moment(s.cli.String("since"), time.Now())
		if err != nil {
			return usagef("--since: %w", err)
		}
		return s.print(s.cli.Context, append(opts, bus.Since(t)))
	})
}
