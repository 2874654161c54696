package main

import (
	"strconv"

	"github.com/urfave/cli/v2"

	"github.com/signalmesh/signalmesh/pkg/bus"
)

func (p *program) subs() *cli.Command {
	return group("subs", "see the durable subscriptions of a bus",
		p.verb(cli.Command{Name: "ls", Usage: "list the subscriptions and how far they have come"}, 0, 0, listSubscriptions),
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
	return list(s.out, subs,
		column[info]{title: "name", cell: func(i info) string { return i.Name }},
		column[info]{title: "pattern", cell: func(i info) string { return i.Pattern }},
		column[info]{title: "position", cell: func(i info) string { return strconv.FormatUint(i.Position, 10) }, right: true},
		column[info]{title: "waiting", cell: func(i info) string { return strconv.FormatUint(i.Waiting, 10) }, right: true},
		column[info]{title: "in flight", cell: func(i info) string { return strconv.Itoa(i.InFlight) }, right: true},
		column[info]{title: "redelivered", cell: func(i info) string { return strconv.Itoa(i.Redelivered) }, right: true},
		column[info]{title: "members", cell: func(i info) string { return strconv.Itoa(i.Members) }, right: true},
		column[info]{title: "paused", cell: func(i info) string {
			if i.Paused {
				return "yes"
			}
			return ""
		}},
	)
}
