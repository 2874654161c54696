package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strconv"

	"github.com/urfave/cli/v2"

	"github.com/signalmesh/signalmesh/pkg/bus"
	"github.com/signalmesh/signalmesh/pkg/fault"
)

func (p *program) snapshot() *cli.Command {
	return group("snapshot", "keep copies of a bus's history that nothing later touches",
		p.verb(cli.Command{
			Name: "create", Usage: "make a snapshot of what a replay would print", ArgsUsage: "NAME PATTERN", Flags: selectFlags(),
		}, 2, 2, createSnapshot),
		p.verb(cli.Command{Name: "ls", Usage: "list snapshots, newest first"}, 0, 0, listSnapshots),
		p.verb(cli.Command{
			Name: "show", Usage: "describe a snapshot, or print its signals", ArgsUsage: "NAME",
			Flags: append(selectFlags(), &cli.BoolFlag{Name: "signals", Usage: "print what is in it"}),
		}, 1, 1, showSnapshot),
		p.verb(cli.Command{Name: "diff", Usage: "show what two snapshots do not agree on", ArgsUsage: "NAME NAME"}, 2, 2, diffSnapshots),
		p.verb(cli.Command{Name: "rm", Usage: "delete snapshots for good", ArgsUsage: "NAME..."}, 1, -1, removeSnapshots),
		p.verb(cli.Command{
			Name: "export", Usage: "write a snapshot's signals as CloudEvents NDJSON (no FILE, or -: standard output)", ArgsUsage: "NAME [FILE]",
		}, 1, 2, exportSnapshot),
		p.verb(cli.Command{
			Name: "import", Usage: "make a snapshot of an archive, CloudEvents NDJSON (-: standard input); publishes nothing", ArgsUsage: "NAME FILE",
		}, 2, 2, importSnapshot),
	)
}

func (s *session) snapshots() (bus.Snapshots, error) {
	ctx, cancel := s.ask()
	defer cancel()
	b, err := s.bus(ctx)
	if err != nil {
		return bus.Snapshots{}, err
	}
	return b.Snapshots(), nil
}

// showOne answers with one snapshot.
func (s *session) showOne(d bus.Snapshot) error {
	return s.out.document(d, func(w io.Writer) error { return describeSnapshot(w, d) })
}

func createSnapshot(s *session) error {
	opts, err := s.selection()
	if err != nil {
		return err
	}
	snapshots, err := s.snapshots()
	if err != nil {
		return err
	}
	d, err := snapshots.Create(s.cli.Context, s.cli.Args().Get(0), s.cli.Args().Get(1), opts...)
	if err != nil {
		return err
	}
	return s.showOne(d)
}

func listSnapshots(s *session) error {
	snapshots, err := s.snapshots()
	if err != nil {
		return err
	}
	ctx, cancel := s.ask()
	defer cancel()
	all, err := snapshots.List(ctx)
	if err != nil {
		return err
	}
	type snapshot = bus.Snapshot
	return list(s.out, all,
		column[snapshot]{title: "name", cell: func(d snapshot) string { return clean(d.Name) }},
		column[snapshot]{title: "created", cell: func(d snapshot) string { return stamp(d.Created) }},
		column[snapshot]{title: "pattern", cell: func(d snapshot) string { return clean(d.Pattern) }},
		column[snapshot]{title: "signals", cell: func(d snapshot) string { return strconv.Itoa(d.Signals) }, right: true},
		column[snapshot]{title: "first", cell: func(d snapshot) string { return strconv.FormatUint(d.First, 10) }, right: true},
		column[snapshot]{title: "last", cell: func(d snapshot) string { return strconv.FormatUint(d.Last, 10) }, right: true},
		column[snapshot]{title: "stored", cell: func(d snapshot) string { return size(uint64(d.Stored)) }, right: true},
	)
}

func showSnapshot(s *session) error {
	opts, err := s.selection()
	if err != nil {
		return err
	}
	snapshots, err := s.snapshots()
	if err != nil {
		return err
	}
	name := s.cli.Args().First()
	if s.cli.Bool("signals") {
		return s.printAll(snapshots.Entries(s.cli.Context, name, opts...))
	}
	ctx, cancel := s.ask()
	defer cancel()
	d, err := snapshots.Get(ctx, name)
	if err != nil {
		return err
	}
	return s.showOne(d)
}

func describeSnapshot(w io.Writer, d bus.Snapshot) error {
	var b bytes.Buffer
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, "%-12s %s\n", name, clean(value))
		}
	}
	line("name", d.Name)
	line("bus", d.Bus)
	line("pattern", d.Pattern)
	line("subject", d.Subject)
	line("correlation", d.Related)
	for _, where := range d.Where {
		line("where", where)
	}
	line("created", stamp(d.Created))
	line("node", d.Node)
	line("signals", strconv.Itoa(d.Signals))
	if d.Signals > 0 {
		line("positions", fmt.Sprintf("%d to %d", d.First, d.Last))
		line("from", stamp(d.Oldest)+" to "+stamp(d.Newest))
	}
	line("size", fmt.Sprintf("%s, %s stored", size(uint64(d.Bytes)), size(uint64(d.Stored))))
	line("sha256", d.Digest)
	_, err := w.Write(b.Bytes())
	return err
}

// changeRow is a difference of two snapshots as it is answered.
type changeRow struct {
	Change bus.ChangeKind `json:"change"`
	Old    any            `json:"old,omitempty"`
	New    any            `json:"new,omitempty"`
}

// marks are how people know changes from diff.
var marks = map[bus.ChangeKind]string{bus.Added: "+", bus.Removed: "-", bus.Changed: "~"}

func diffSnapshots(s *session) error {
	snapshots, err := s.snapshots()
	if err != nil {
		return err
	}
	for c, err := range snapshots.Diff(s.cli.Context, s.cli.Args().Get(0), s.cli.Args().Get(1)) {
		if err != nil {
			return err
		}
		row, shown := changeRow{Change: c.Kind}, c.New
		if c.Old.Signal != nil {
			row.Old, shown = c.Old.Signal, c.Old
		}
		if c.New.Signal != nil {
			row.New, shown = c.New.Signal, c.New
		}
		if err := s.out.record(row, func() string { return marks[c.Kind] + " " + oneLine(shown) }); err != nil {
			return err
		}
	}
	return nil
}

func removeSnapshots(s *session) error {
	snapshots, err := s.snapshots()
	if err != nil {
		return err
	}
	for _, name := range s.cli.Args().Slice() {
		ctx, cancel := s.ask()
		err := snapshots.Delete(ctx, name)
		cancel()
		if err != nil {
			return err
		}
	}
	return nil
}

func exportSnapshot(s *session) error {
	snapshots, err := s.snapshots()
	if err != nil {
		return err
	}
	name, file := s.cli.Args().Get(0), s.cli.Args().Get(1)
	if file == "" || file == "-" {
		_, err := snapshots.Export(s.cli.Context, name, s.stdout)
		return err
	}
	f, err := os.OpenFile(file, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fault.Wrap(fault.Conflict, err)
	}
	_, err = snapshots.Export(s.cli.Context, name, f)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		_ = os.Remove(file) // a part of an export is none
	}
	return err
}

func importSnapshot(s *session) error {
	in, err := s.open(s.cli.Args().Get(1))
	if err != nil {
		return err
	}
	snapshots, err := s.snapshots()
	if err != nil {
		return err
	}
	d, err := snapshots.Import(s.cli.Context, s.cli.Args().Get(0), in)
	if err != nil {
		return err
	}
	return s.showOne(d)
}
