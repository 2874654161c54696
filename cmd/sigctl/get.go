package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"unicode/utf8"

	"github.com/urfave/cli/v2"

	"github.com/signalmesh/signalmesh/pkg/journal"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

// sourceFlag chooses among signals of the same id.
func sourceFlag() cli.Flag {
	return &cli.StringFlag{Name: "source", Usage: "`URI` of the source, if several signals have that id"}
}

func sourceOption(c *cli.Context, flag string) []journal.LookupOption {
	if !c.IsSet(flag) {
		return nil
	}
	return []journal.LookupOption{journal.FromSource(c.String(flag))}
}

func (p *program) get() *cli.Command {
	return p.verb(cli.Command{
		Name: "get", Usage: "show a signal", ArgsUsage: "ID", Flags: []cli.Flag{sourceFlag()},
	}, 1, 1, func(s *session) error {
		ctx, cancel := s.ask()
		defer cancel()
		j, err := s.journal(ctx)
		if err != nil {
			return err
		}
		sig, err := j.Get(ctx, s.cli.Args().First(), sourceOption(s.cli, "source")...)
		if err != nil {
			return err
		}
		return s.out.document(sig, func(w io.Writer) error { return describe(w, sig) })
	})
}

// describe shows a signal to people: a line for each attribute, then the data.
func describe(w io.Writer, s *signal.Signal) error {
	var b bytes.Buffer
	attribute := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, "%-16s %s\n", name, clean(value))
		}
	}
	attribute("id", s.ID)
	attribute("source", s.Source)
	attribute("type", s.Type)
	attribute("subject", s.Subject)
	attribute("time", stamp(s.Time))
	attribute("datacontenttype", s.DataContentType)
	attribute("dataschema", s.DataSchema)
	names := make([]string, 0, len(s.Extensions))
	for name := range s.Extensions {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		attribute(name, s.ExtString(name))
	}
	if s.Data != nil {
		fmt.Fprintf(&b, "\n%s\n", shownData(s))
	}
	_, err := w.Write(b.Bytes())
	return err
}

// shownData is the data as it may be shown on a terminal.
func shownData(s *signal.Signal) string {
	var pretty bytes.Buffer
	if s.IsJSON() && json.Indent(&pretty, s.Data, "", "  ") == nil {
		return printable(pretty.Bytes())
	}
	if utf8.Valid(s.Data) {
		return printable(s.Data)
	}
	return fmt.Sprintf("%d bytes of %s", len(s.Data), clean(s.DataContentType))
}

// printable keeps line breaks and replaces every other control character.
func printable(text []byte) string {
	return string(bytes.Map(func(r rune) rune {
		if r != '\n' && r != '\t' && (r < ' ' || r >= 0x7f && r < 0xa0) {
			return utf8.RuneError
		}
		return r
	}, text))
}
