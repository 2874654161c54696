package main

import (
	"cmp"
	"context"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/urfave/cli/v2"

	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/provision"
	"github.com/signalmesh/signalmesh/streams"
)

func (p *program) streams() *cli.Command {
	flags := []cli.Flag{
		&cli.StringFlag{Name: "file", Aliases: []string{"f"}, Usage: "definitions in `DIR` (default: those of the product)"},
		&cli.IntFlag{Name: "replicas", Usage: "keep `N` copies of what does not say itself", Value: 1},
	}
	return group("streams", "see and change the streams and buckets the mesh stands on",
		p.verb(cli.Command{
			Name: "ls", Usage: "list streams and buckets",
			Flags: []cli.Flag{&cli.BoolFlag{Name: "all", Usage: "also those that are not of this mesh"}},
		}, 0, 0, listStreams),
		p.verb(cli.Command{Name: "plan", Usage: "show what apply would change; exit code 10 if anything", Flags: flags}, 0, 0, planStreams),
		p.verb(cli.Command{
			Name: "apply", Usage: "make the streams what the files say",
			Flags: append(flags[:len(flags):len(flags)], &cli.BoolFlag{Name: "force", Usage: "also when signals are given up"}),
		}, 0, 0, applyStreams),
	)
}

// streamRow is a stream as it is answered.
type streamRow struct {
	Name      string   `json:"name"`
	Subjects  []string `json:"subjects"`
	Messages  uint64   `json:"messages"`
	Bytes     uint64   `json:"bytes"`
	First     uint64   `json:"first_sequence"`
	Last      uint64   `json:"last_sequence"`
	Consumers int      `json:"consumers"`
	Replicas  int      `json:"replicas"`
	Storage   string   `json:"storage"`
}

func listStreams(s *session) error {
	ctx, cancel := s.ask()
	defer cancel()
	js, err := s.jetStream()
	if err != nil {
		return err
	}
	mark := strings.ToUpper(s.space.Prefix())
	var rows []streamRow
	found := js.ListStreams(ctx)
	for info := range found.Info() {
		name := strings.TrimPrefix(info.Config.Name, "KV_")
		ours := strings.HasPrefix(name, mark+"_") || strings.HasPrefix(name, mark+"MESH_")
		if ours || s.cli.Bool("all") {
			rows = append(rows, rowOfStream(info))
		}
	}
	if err := found.Err(); err != nil {
		return fmt.Errorf("list streams: %w", fault.Wrap(fault.Unavailable, err))
	}
	slices.SortFunc(rows, func(a, b streamRow) int { return cmp.Compare(a.Name, b.Name) })
	number := func(f func(streamRow) uint64) func(streamRow) string {
		return func(r streamRow) string { return strconv.FormatUint(f(r), 10) }
	}
	return list(s.out, rows,
		column[streamRow]{title: "stream", cell: func(r streamRow) string { return r.Name }},
		column[streamRow]{title: "subjects", cell: func(r streamRow) string { return strings.Join(r.Subjects, ", ") }},
		column[streamRow]{title: "messages", cell: number(func(r streamRow) uint64 { return r.Messages }), right: true},
		column[streamRow]{title: "size", cell: func(r streamRow) string { return size(r.Bytes) }, right: true},
		column[streamRow]{title: "last", cell: number(func(r streamRow) uint64 { return r.Last }), right: true},
		column[streamRow]{title: "consumers", cell: func(r streamRow) string { return strconv.Itoa(r.Consumers) }, right: true},
		column[streamRow]{title: "copies", cell: func(r streamRow) string { return strconv.Itoa(r.Replicas) }, right: true},
		column[streamRow]{title: "storage", cell: func(r streamRow) string { return r.Storage }},
	)
}

func rowOfStream(info *jetstream.StreamInfo) streamRow {
	return streamRow{
		Name: info.Config.Name, Subjects: info.Config.Subjects,
		Messages: info.State.Msgs, Bytes: info.State.Bytes, First: info.State.FirstSeq, Last: info.State.LastSeq,
		Consumers: info.State.Consumers, Replicas: info.Config.Replicas, Storage: info.Config.Storage.String(),
	}
}

func (s *session) jetStream() (jetstream.JetStream, error) {
	nc, err := s.conn()
	if err != nil {
		return nil, err
	}
	return jetstream.New(nc)
}

// plan compares the definitions with the server: for the bus that was named, else for every
// bus there is.
func (s *session) plan(ctx context.Context) (*provision.Plan, error) {
	var files fs.FS = streams.FS
	if dir := s.cli.String("file"); dir != "" {
		if info, err := os.Stat(dir); err != nil || !info.IsDir() {
			return nil, fault.Newf(fault.NotFound, "%s is not a directory", dir)
		}
		files = os.DirFS(dir)
	}
	js, err := s.jetStream()
	if err != nil {
		return nil, err
	}
	vars := provision.Vars{Space: s.space, Replicas: s.cli.Int("replicas"), Buses: []string{s.busName()}}
	if !s.cli.IsSet("bus") {
		if vars.Buses, err = provision.Buses(ctx, js, s.space); err != nil {
			return nil, err
		}
	}
	return provision.New(ctx, js, files, provision.With(vars))
}

func planStreams(s *session) error {
	ctx, cancel := s.ask()
	defer cancel()
	plan, err := s.plan(ctx)
	if err != nil {
		return err
	}
	if err := s.showPlan(plan); err != nil || plan.Empty() {
		return err
	}
	return planHasChanges
}

func (s *session) showPlan(plan *provision.Plan) error {
	if s.out.format == formatTable {
		_, err := fmt.Fprintln(s.out.w, strings.TrimRight(plan.String(), "\n"))
		return err
	}
	return s.out.document(plan, nil)
}

func applyStreams(s *session) error {
	ctx, cancel := s.ask()
	defer cancel()
	plan, err := s.plan(ctx)
	if err != nil {
		return err
	}
	if err := s.showPlan(plan); err != nil {
		return err
	}
	if plan.Destructive() && !s.cli.Bool("force") {
		return fault.Hint(fault.Newf(fault.Conflict, "this would give up signals, so nothing was changed"), "--force does it all the same")
	}
	return plan.Apply(ctx)
}
