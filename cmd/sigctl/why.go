package main

import (
	"bytes"
	"fmt"
	"io"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/signalmesh/signalmesh/pkg/agent"
	"github.com/signalmesh/signalmesh/pkg/delivery"
)

func (p *program) why() *cli.Command {
	return p.verb(cli.Command{
		Name: "why", Usage: "say for every route what became of a signal", ArgsUsage: "ID",
		Flags: []cli.Flag{
			sourceFlag(),
			&cli.BoolFlag{Name: "all", Usage: "also list each route whose pattern does not select it"},
		},
	}, 1, 1, why)
}

// explanation is the report with routes that were never in question summed up.
type explanation struct {
	*agent.Report
	Routes    []agent.RouteReport `json:"routes"`
	Unmatched int                 `json:"unmatched,omitempty"` // routes left out: their pattern does not select the type
}

func why(s *session) error {
	ctx, cancel := s.ask()
	defer cancel()
	j, err := s.journal(ctx)
	if err != nil {
		return err
	}
	table, err := s.table(ctx)
	if err != nil {
		return err
	}
	report, err := agent.Why(ctx, j, table, s.cli.Args().First(), sourceOption(s.cli, "source")...)
	if err != nil {
		return err
	}
	e := explanation{Report: report, Routes: []agent.RouteReport{}}
	for _, r := range report.Routes {
		if r.Now && r.Status == delivery.Unmatched && !s.cli.Bool("all") {
			e.Unmatched++
			continue
		}
		e.Routes = append(e.Routes, r)
	}
	return s.out.document(e, func(w io.Writer) error { return s.explain(w, e) })
}

// explain writes the report for people: a paragraph for each route.
func (s *session) explain(w io.Writer, e explanation) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s  %s  from %s", clean(e.Type), clean(e.ID), clean(e.Source))
	if e.Subject != "" {
		fmt.Fprintf(&b, "  about %s", clean(e.Subject))
	}
	if e.Sequence > 0 {
		fmt.Fprintf(&b, "  on bus %s at %d", e.Bus, e.Sequence)
	}
	b.WriteByte('\n')
	for _, c := range e.Causes {
		fmt.Fprintf(&b, "caused by %s\n", clean(c))
	}
	for _, r := range e.Routes {
		s.explainRoute(&b, r)
	}
	switch {
	case e.Unmatched == 1:
		fmt.Fprintf(&b, "\n1 more route does not select this type (--all names it)\n")
	case e.Unmatched > 1:
		fmt.Fprintf(&b, "\n%d more routes do not select this type (--all names them)\n", e.Unmatched)
	case len(e.Routes) == 0:
		b.WriteString("\nthere are no routes\n")
	}
	if e.Note != "" {
		fmt.Fprintf(&b, "\n%s\n", e.Note)
	}
	_, err := w.Write(b.Bytes())
	return err
}

func (s *session) explainRoute(b *bytes.Buffer, r agent.RouteReport) {
	fmt.Fprintf(b, "\n%s", clean(r.Route))
	if r.On != "" {
		fmt.Fprintf(b, "  on %s", r.On)
	}
	fmt.Fprintf(b, "  %s", s.out.status(r.Status))
	if r.Reason != "" && len(r.Deliveries) == 0 {
		fmt.Fprintf(b, ": %s", clean(r.Reason))
	}
	if r.Now {
		b.WriteString("  (as the routes are now)")
	}
	b.WriteByte('\n')
	for _, v := range r.Deliveries {
		s.explainDelivery(b, v)
	}
}

func (s *session) explainDelivery(b *bytes.Buffer, v delivery.Verdict) {
	fmt.Fprintf(b, "  %s  %s", clean(v.Target), s.out.status(v.Status))
	if v.Endpoint != "" {
		fmt.Fprintf(b, "  %s", clean(v.Endpoint))
	}
	fmt.Fprintf(b, "  %s", stamp(v.At))
	if v.Node != "" {
		fmt.Fprintf(b, "  by %s", v.Node)
	}
	b.WriteByte('\n')
	if v.Reason != "" {
		fmt.Fprintf(b, "    %s\n", clean(v.Reason))
	}
	attempts(b, v.Attempts)
	if !v.NextAt.IsZero() && v.Status == delivery.Retrying {
		fmt.Fprintf(b, "    next attempt at %s\n", stamp(v.NextAt))
	}
	if v.Reply != "" {
		fmt.Fprintf(b, "    answered with signal %s\n", clean(v.Reply))
	}
	if v.Letter != "" {
		fmt.Fprintf(b, "    dead letter %s (sigctl dlq show %s)\n", v.Letter, v.Letter)
	}
}

// attempts writes a line for each attempt.
func attempts(b *bytes.Buffer, all []delivery.Attempt) {
	for _, a := range all {
		fmt.Fprintf(b, "    attempt %d  %s  %s", a.Number, stamp(a.At), a.Took.Round(10*time.Microsecond))
		if a.Status != 0 {
			fmt.Fprintf(b, "  status %d", a.Status)
		}
		if a.OK() {
			b.WriteString("  ok\n")
			continue
		}
		fmt.Fprintf(b, "  %s: %s\n", a.Code, clean(a.Error))
		if a.Response != "" {
			fmt.Fprintf(b, "      answer: %s\n", cut(clean(a.Response), 200))
		}
	}
}
