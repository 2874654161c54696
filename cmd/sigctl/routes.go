package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/signalmesh/signalmesh/pkg/delivery"
	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/route"
)

func (p *program) routes() *cli.Command {
	file := &cli.StringSliceFlag{Name: "file", Aliases: []string{"f"}, Usage: "read `FILE`, a directory of files, or - for standard input; may be repeated"}
	noWait := &cli.BoolFlag{Name: "no-wait", Usage: "don't wait until the change is in force on the nodes"}
	return group("routes", "see and change where signals go",
		p.verb(cli.Command{Name: "ls", Usage: "list the routes"}, 0, 0, listRoutes),
		p.verb(cli.Command{
			Name: "apply", Usage: "put the routes of files in force",
			Flags: []cli.Flag{
				file, noWait,
				&cli.StringFlag{Name: "owner", Usage: "`NAME` of who maintains them", Value: "sigctl"},
				&cli.BoolFlag{Name: "prune", Usage: "remove the owner's routes that are not in the files"},
				&cli.BoolFlag{Name: "take", Usage: "take over routes that belong to another owner"},
				&cli.BoolFlag{Name: "keep", Usage: "leave routes of another owner as they are"},
				&cli.BoolFlag{Name: "dry-run", Usage: "show what would change; exit code 10 if anything would"},
			},
		}, 0, 0, applyRoutes),
		p.verb(cli.Command{Name: "rm", Usage: "remove routes", ArgsUsage: "NAME...", Flags: []cli.Flag{noWait}}, 1, -1, removeRoutes),
		p.verb(cli.Command{
			Name: "test", Usage: "say which routes would take a signal, and why the others not", ArgsUsage: "TYPE",
			Flags: append(signalFlags(), file, &cli.BoolFlag{Name: "all", Usage: "also list each route whose pattern does not select it"}),
		}, 1, 1, testRoutes),
		p.verb(cli.Command{Name: "history", Usage: "list the revisions of a route", ArgsUsage: "NAME"}, 1, 1, routeHistory),
		p.verb(cli.Command{Name: "rollback", Usage: "put an earlier revision in force again", ArgsUsage: "NAME REVISION", Flags: []cli.Flag{noWait}}, 2, 2, rollbackRoute),
	)
}

// routeRow is a route as it is answered.
type routeRow struct {
	Name      string     `json:"name"`
	Revision  uint64     `json:"revision,omitempty"`
	Owner     string     `json:"owner,omitempty"`
	AppliedAt time.Time  `json:"applied_at,omitzero"`
	AppliedBy string     `json:"applied_by,omitempty"`
	Deleted   bool       `json:"deleted,omitempty"`
	Problem   string     `json:"problem,omitempty"` // why this revision can't be used
	Spec      route.Spec `json:"spec"`
}

func rowOf(r route.Route) routeRow {
	return routeRow{
		Name: r.Name, Revision: r.Revision, Owner: r.Owner,
		AppliedAt: r.AppliedAt, AppliedBy: r.AppliedBy, Spec: r.Spec,
	}
}

func (r routeRow) summary() string {
	switch {
	case r.Deleted:
		return "removed"
	case r.Problem != "":
		return "unusable: " + clean(r.Problem)
	case r.Spec.Disabled:
		return "disabled: " + clean(r.Spec.Summary())
	}
	return clean(r.Spec.Summary())
}

func listRoutes(s *session) error {
	ctx, cancel := s.ask()
	defer cancel()
	store, err := s.store(ctx)
	if err != nil {
		return err
	}
	routes, problem := store.List(ctx)
	rows := make([]routeRow, 0, len(routes))
	for _, r := range routes {
		rows = append(rows, rowOf(r))
	}
	if err := list(s.out, rows,
		column[routeRow]{title: "name", cell: func(r routeRow) string { return r.Name }},
		column[routeRow]{title: "prio", cell: func(r routeRow) string { return strconv.Itoa(r.Spec.Priority) }, right: true},
		column[routeRow]{title: "route", cell: routeRow.summary},
		column[routeRow]{title: "owner", cell: func(r routeRow) string { return clean(r.Owner) }},
		column[routeRow]{title: "rev", cell: func(r routeRow) string { return strconv.FormatUint(r.Revision, 10) }, right: true},
	); err != nil {
		return err
	}
	return problem
}

func applyRoutes(s *session) error {
	specs, err := s.specs()
	if err != nil {
		return err
	}
	if len(s.cli.StringSlice("file")) == 0 {
		return usagef("routes apply needs -f FILE")
	}
	ctx, cancel := s.ask()
	defer cancel()
	store, err := s.store(ctx)
	if err != nil {
		return err
	}
	var change []route.ChangeOption
	for name, option := range map[string]func() route.ChangeOption{"prune": route.Prune, "take": route.Take, "keep": route.Keep} {
		if s.cli.Bool(name) {
			change = append(change, option())
		}
	}
	owner := s.cli.String("owner")
	if s.cli.Bool("dry-run") {
		return s.planRoutes(ctx, store, specs, owner, change)
	}
	opts := []route.ApplyOption{route.By(whoami())}
	for _, o := range change {
		opts = append(opts, o)
	}
	changes, err := store.Apply(ctx, specs, owner, opts...)
	if err != nil {
		return ownerHint(err)
	}
	if err := s.showChanges(changes); err != nil {
		return err
	}
	return s.awaitForce(ctx, store)
}

// planRoutes shows what apply would do.
func (s *session) planRoutes(ctx context.Context, store *route.Store, specs []route.Spec, owner string, change []route.ChangeOption) error {
	opts := make([]route.PlanOption, len(change))
	for i, o := range change {
		opts[i] = o
	}
	changes, err := store.Plan(ctx, specs, owner, opts...)
	if err != nil {
		return ownerHint(err)
	}
	if err := s.showChanges(changes); err != nil || changes.Empty() {
		return err
	}
	return planHasChanges
}

func (s *session) showChanges(changes route.Changes) error {
	if s.out.format == formatTable {
		_, err := fmt.Fprintln(s.out.w, strings.TrimRight(changes.String(), "\n"))
		return err
	}
	return list(s.out, []route.Change(changes))
}

// ownerHint says how to go on when a route belongs to somebody else.
func ownerHint(err error) error {
	if fault.Is(err, fault.Conflict) && fault.HintOf(err) == "" {
		return fault.Hint(err, "--take makes such routes yours, --keep leaves them as they are")
	}
	return err
}

// specs reads the routes of the files that were named.
func (s *session) specs() ([]route.Spec, error) {
	var specs []route.Spec
	var errs []error
	for _, name := range s.cli.StringSlice("file") {
		files, err := s.files(name)
		if err != nil {
			return nil, err
		}
		for _, f := range files {
			more, err := route.ParseText(f.text, f.name)
			if err != nil {
				errs = append(errs, err)
			}
			specs = append(specs, more...)
		}
	}
	return specs, errors.Join(errs...)
}

type namedText struct {
	name string
	text []byte
}

// files reads a file, the YAML and JSON files of a directory, or standard input.
func (s *session) files(name string) ([]namedText, error) {
	if name == "-" {
		text, err := io.ReadAll(s.stdin)
		if err != nil {
			return nil, fmt.Errorf("read standard input: %w", err)
		}
		return []namedText{{"standard input", text}}, nil
	}
	paths := []string{name}
	if info, err := os.Stat(name); err == nil && info.IsDir() {
		entries, err := os.ReadDir(name)
		if err != nil {
			return nil, fault.Wrap(fault.NotFound, err)
		}
		paths = nil
		for _, e := range entries {
			if ext := filepath.Ext(e.Name()); !e.IsDir() && slices.Contains([]string{".yaml", ".yml", ".json"}, ext) {
				paths = append(paths, filepath.Join(name, e.Name()))
			}
		}
		if len(paths) == 0 {
			return nil, fault.Newf(fault.NotFound, "%s: no .yaml, .yml or .json file", name)
		}
	}
	var out []namedText
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, fault.Wrap(fault.NotFound, err)
		}
		out = append(out, namedText{path, text})
	}
	return out, nil
}

// whoami is who changes routes, for the record.
func whoami() string {
	name := "unknown"
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	host, err := os.Hostname()
	if err != nil {
		return name
	}
	return name + "@" + host
}

func removeRoutes(s *session) error {
	ctx, cancel := s.ask()
	defer cancel()
	store, err := s.store(ctx)
	if err != nil {
		return err
	}
	if err := store.Remove(ctx, s.cli.Args().Slice()...); err != nil {
		return err
	}
	return s.awaitForce(ctx, store)
}

// evaluation is what one route would make of a signal.
type evaluation struct {
	Route   string          `json:"route"`
	On      string          `json:"on"`
	When    string          `json:"when,omitempty"`
	Matched bool            `json:"matched"`
	Status  delivery.Status `json:"status,omitempty"` // why not
	Reason  string          `json:"reason,omitempty"`
	Targets []string        `json:"targets,omitempty"`
}

func testRoutes(s *session) error {
	sig, err := s.signal(s.cli.Args().First())
	if err != nil {
		return err
	}
	ctx, cancel := s.ask()
	defer cancel()
	table, err := s.testTable(ctx)
	if err != nil {
		return err
	}
	evaluations := table.Evaluate(sig)
	if s.cli.Bool("all") {
		evaluations = table.Explain(sig)
	}
	out := []evaluation{}
	for _, e := range evaluations {
		if e.Route.Bus == "" || e.Route.Bus == s.busName() {
			out = append(out, evaluated(e))
		}
	}
	if s.out.format == formatTable && len(out) == 0 {
		_, err := fmt.Fprintf(s.out.w, "no route takes %s\n", clean(sig.Type))
		return err
	}
	return list(s.out, out,
		column[evaluation]{title: "route", cell: func(e evaluation) string { return e.Route }},
		column[evaluation]{title: "on", cell: func(e evaluation) string { return e.On }},
		column[evaluation]{title: "takes it", cell: evaluation.verdict},
		column[evaluation]{title: "targets", cell: func(e evaluation) string { return strings.Join(e.Targets, ", ") }},
	)
}

// testTable is the table to test: of the files that were named, else the one in the mesh.
func (s *session) testTable(ctx context.Context) (*route.Table, error) {
	if len(s.cli.StringSlice("file")) == 0 {
		return s.table(ctx)
	}
	specs, err := s.specs()
	if err != nil {
		return nil, err
	}
	routes := make([]route.Route, len(specs))
	for i, spec := range specs {
		routes[i].Spec = spec
	}
	return route.Compile(routes...)
}

func evaluated(e route.Evaluation) evaluation {
	out := evaluation{
		Route: e.Route.Name, On: e.Route.On.String(), When: e.Route.When, Matched: e.Matched,
	}
	if e.Matched {
		out.Targets = e.Route.TargetNames()
		return out
	}
	out.Reason = e.Reason()
	switch {
	case e.Route.Disabled:
		out.Status = delivery.Skipped
	case e.Err != nil:
		out.Status = delivery.PredicateError
	case e.Rejected:
		out.Status = delivery.Rejected
	default:
		out.Status = delivery.Unmatched
	}
	return out
}

func (e evaluation) verdict() string {
	if e.Matched {
		return "yes"
	}
	return "no: " + clean(e.Reason)
}

func routeHistory(s *session) error {
	ctx, cancel := s.ask()
	defer cancel()
	store, err := s.store(ctx)
	if err != nil {
		return err
	}
	versions, err := store.History(ctx, s.cli.Args().First())
	if err != nil {
		return err
	}
	rows := make([]routeRow, 0, len(versions))
	for _, v := range versions {
		row := rowOf(v.Route)
		row.Deleted = v.Deleted
		if v.Err != nil {
			row.Problem = v.Err.Error()
		}
		rows = append(rows, row)
	}
	return list(s.out, rows,
		column[routeRow]{title: "rev", cell: func(r routeRow) string { return strconv.FormatUint(r.Revision, 10) }, right: true},
		column[routeRow]{title: "applied", cell: func(r routeRow) string { return stamp(r.AppliedAt) }},
		column[routeRow]{title: "by", cell: func(r routeRow) string { return clean(r.AppliedBy) }},
		column[routeRow]{title: "owner", cell: func(r routeRow) string { return clean(r.Owner) }},
		column[routeRow]{title: "route", cell: routeRow.summary},
	)
}

func rollbackRoute(s *session) error {
	name, text := s.cli.Args().Get(0), s.cli.Args().Get(1)
	revision, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return usagef("revision %q is not a number; `sigctl routes history %s` lists them", text, name)
	}
	ctx, cancel := s.ask()
	defer cancel()
	store, err := s.store(ctx)
	if err != nil {
		return err
	}
	r, err := store.Rollback(ctx, name, revision, route.By(whoami()))
	if err != nil {
		return err
	}
	row := rowOf(r)
	if err := s.out.document(row, func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "%s is as in revision %d again, now revision %d\n", row.Name, revision, row.Revision)
		return err
	}); err != nil {
		return err
	}
	return s.awaitForce(ctx, store)
}
