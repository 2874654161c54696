package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"net/netip"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"
	"go.yaml.in/yaml/v3"

	"github.com/signalmesh/signalmesh/pkg/bus"
	"github.com/signalmesh/signalmesh/pkg/delivery"
	"github.com/signalmesh/signalmesh/pkg/dispatch"
	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/netguard"
	"github.com/signalmesh/signalmesh/pkg/replay"
)

// routeWorkers is how many deliveries of a route are ordered at once: each waits for a sync,
// and their order is lost on the way to the nodes anyhow.
const routeWorkers = 16

// jobFlags say where signals of the past go, and how fast. They go to standard output when
// nothing is said.
func jobFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "snapshot", Usage: "what is in the snapshot `NAME`, instead of the bus"},
		&cli.StringFlag{Name: "archive", Usage: "what is in `FILE` (CloudEvents NDJSON; - is standard input), instead of the bus"},
		&cli.StringFlag{Name: "to-route", Usage: "have the nodes make the deliveries of the route `NAME`, and of no other"},
		&cli.StringSliceFlag{Name: "target", Usage: "with --to-route: only to its target `NAME`; may be repeated"},
		&cli.StringFlag{Name: "to-target", Usage: "deliver from here to one target, `'http: {url: ...}'`; addresses and secrets are those of this machine"},
		&cli.StringFlag{Name: "to-bus", Usage: "publish on the bus `NAME`"},
		&cli.StringFlag{Name: "file", Usage: "write to `FILE` as CloudEvents NDJSON"},
		&cli.Float64Flag{Name: "rate", Usage: "at most `N` signals a second"},
		&cli.Float64Flag{Name: "speed", Usage: "`N` times as fast as it happened; 1 keeps the time between signals"},
		&cli.IntFlag{Name: "workers", Usage: "`N` signals at once, in no order (default: 1, to a route 16)"},
		&cli.IntFlag{Name: "max-failures", Usage: "give up when `N` signals have failed"},
		&cli.StringFlag{Name: "replayid", Usage: "mark signals with this `ID` (default: a new one)"},
		&cli.BoolFlag{Name: "dry-run", Usage: "only say what would be sent"},
	}
}

func replayHistory(s *session) error {
	var given []string
	for _, name := range []string{"to-route", "to-target", "to-bus", "file"} {
		if s.cli.IsSet(name) {
			given = append(given, name)
		}
	}
	switch {
	case len(given) > 1:
		return usagef("--%s and --%s both say where to", given[0], given[1])
	case s.cli.IsSet("snapshot") && s.cli.IsSet("archive"):
		return usagef("--snapshot and --archive both say where from")
	case s.cli.IsSet("target") && !s.cli.IsSet("to-route"):
		return usagef("--target needs --to-route")
	}
	ctx, stop := signal.NotifyContext(s.cli.Context, os.Interrupt, syscall.SIGTERM)
	defer stop()
	job := replay.Job{
		ID: s.cli.String("replayid"), Speed: s.cli.Float64("speed"), Rate: s.cli.Float64("rate"),
		Workers: s.cli.Int("workers"), MaxFailures: s.cli.Int("max-failures"), Progress: s.progress,
	}
	var err error
	if job.From, err = s.source(ctx); err != nil {
		return err
	}
	finish, err := s.sink(ctx, &job)
	if err != nil {
		return err
	}
	if s.cli.Bool("dry-run") {
		r, err := job.Count(ctx)
		if gone := finish(false); err == nil {
			err = gone
		}
		if err != nil {
			return err
		}
		return s.out.document(r, func(w io.Writer) error { return describeReport(w, r) })
	}
	r, err := job.Run(ctx)
	if done := finish(err == nil); err == nil {
		err = done
	}
	if len(given) > 0 || job.Rate > 0 || job.Speed > 0 {
		if told := describeReport(s.stderr, r); err == nil {
			err = told
		}
	}
	if err == nil && r.Failed > 0 {
		return fault.Newf(r.Failures[0].Code, "%d of %d signals failed", r.Failed, r.Signals)
	}
	return err
}

// source is where signals come from.
func (s *session) source(ctx context.Context) (iter.Seq2[bus.Entry, error], error) {
	opts, err := s.selection()
	if err != nil {
		return nil, err
	}
	on := s.cli.Args().First()
	if name := s.cli.String("archive"); name != "" {
		in, err := s.open(name)
		if err != nil {
			return nil, err
		}
		return bus.Select(bus.ReadLines(in), on, opts...), nil
	}
	opening, cancel := s.ask()
	defer cancel()
	b, err := s.bus(opening)
	if err != nil {
		return nil, err
	}
	if name := s.cli.String("snapshot"); name != "" {
		return bus.Select(b.Snapshots().Entries(ctx, name), on, opts...), nil
	}
	return b.Entries(ctx, on, opts...), nil
}

// open opens a file to read, or standard input.
func (s *session) open(name string) (io.Reader, error) {
	if name == "-" {
		return s.stdin, nil
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, fault.Wrap(fault.NotFound, err)
	}
	s.close = append(s.close, func() { _ = f.Close() }) // it was only read
	return f, nil
}

// sink completes the job with where signals go. finish is called at the end of the job with
// whether it came to a good one.
func (s *session) sink(ctx context.Context, job *replay.Job) (finish func(good bool) error, err error) {
	finish = func(bool) error { return nil }
	opening, cancel := s.ask()
	defer cancel()
	switch c := s.cli; {
	case c.IsSet("file"):
		job.To, finish, err = s.toFile(c.String("file"))
	case c.IsSet("to-bus"):
		job.To, err = s.toBus(opening, c.String("to-bus"))
	case c.IsSet("to-route"):
		job.Workers = cmp.Or(job.Workers, routeWorkers)
		job.To, err = s.toRoute(opening, c.String("to-route"), c.StringSlice("target"))
	case c.IsSet("to-target"):
		job.To, err = s.toTarget(ctx, opening, c.String("to-target"))
	default:
		job.Workers, job.To = 1, replay.Verbatim(replay.Func(func(_ context.Context, e bus.Entry) error {
			if err := s.out.record(e.Signal, func() string { return oneLine(e) }); err != nil {
				return replay.Broken(err)
			}
			return nil
		}))
		return finish, nil
	}
	return finish, err
}

// toFile writes beside the file, and puts the result in its place when it is whole. A replay
// that does not get there leaves no trace.
func (s *session) toFile(name string) (replay.Sink, func(bool) error, error) {
	f, err := os.OpenFile(name+".part", os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, os.ErrExist) {
		return nil, nil, fault.Newf(fault.Conflict, "%s.part is there: another replay is writing it, or one was interrupted", name)
	}
	if err != nil {
		return nil, nil, err
	}
	to := replay.ToWriter(f)
	return to, func(good bool) error {
		err := to.Flush()
		if good && err == nil {
			err = f.Sync()
		}
		if cerr := f.Close(); err == nil {
			err = cerr
		}
		if !good || err != nil {
			return errors.Join(err, os.Remove(f.Name()))
		}
		return os.Rename(f.Name(), name)
	}, nil
}

func (s *session) toBus(ctx context.Context, name string) (replay.Sink, error) {
	if name == s.busName() && !s.cli.IsSet("archive") {
		return nil, usagef("--to-bus %s: that is where the signals are", name)
	}
	b, err := s.busNamed(ctx, name)
	if err != nil {
		return nil, err
	}
	return replay.ToBus(b), nil
}

func (s *session) toRoute(ctx context.Context, name string, targets []string) (replay.Sink, error) {
	table, err := s.table(ctx)
	if err != nil {
		return nil, err
	}
	r, ok := table.Get(name)
	if !ok {
		return nil, fault.Hint(fault.Newf(fault.NotFound, "no route %s", clean(name)), "`sigctl routes ls` shows their names")
	}
	b, err := s.bus(ctx)
	if err != nil {
		return nil, err
	}
	return replay.ToRoute(b, r, targets...)
}

// toTarget opens a target in this process. Who says on a command line where to deliver may
// reach whatever this machine does.
func (s *session) toTarget(ctx, opening context.Context, text string) (replay.Sink, error) {
	t, err := targetOf(text)
	if err != nil {
		return nil, fmt.Errorf("--to-target: %w", err)
	}
	nc, err := s.conn()
	if err != nil {
		return nil, err
	}
	a, err := t.Open(ctx, dispatch.Env{
		Conn: nc, Space: s.space.Prefix(), Bus: s.busName(), Node: "sigctl", Version: version(),
		Guard: netguard.New(netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")),
		Log:   slog.New(slog.DiscardHandler), Stdout: s.stdout, AllowSecrets: true,
	})
	if err != nil {
		return nil, err
	}
	s.close = append(s.close, func() { _ = dispatch.Close(a) }) // nothing is left to be told
	return replay.ToTarget(a, delivery.Policy{}), nil
}

// targetOf reads a target in YAML or JSON, as routes have it.
func targetOf(text string) (dispatch.Target, error) {
	var doc any
	if err := yaml.Unmarshal([]byte(text), &doc); err != nil {
		return dispatch.Target{}, fault.Wrap(fault.Invalid, err)
	}
	raw, err := json.Marshal(doc)
	if err != nil {
		return dispatch.Target{}, fault.Wrap(fault.Invalid, err)
	}
	var t dispatch.Target
	if err := t.UnmarshalJSON(raw); err != nil {
		return t, err
	}
	return t, t.Check()
}

// progress tells, on a terminal, how far a replay is.
func (s *session) progress(r replay.Report) {
	if isTerminal(s.stderr) {
		fmt.Fprintf(s.stderr, "%d sent, %d failed, at %d\n", r.Sent, r.Failed, r.Last)
	}
}

// describeReport is a report for people.
func describeReport(w io.Writer, r replay.Report) error {
	var text []byte
	line := func(name, value string) { text = fmt.Appendf(text, "%-9s %s\n", name, value) }
	if r.ID != "" {
		line("replayid", clean(r.ID))
	}
	line("signals", fmt.Sprintf("%d (%s)", r.Signals, size(uint64(r.Bytes))))
	if r.Skipped > 0 {
		line("skipped", strconv.Itoa(r.Skipped))
	}
	if !r.Dry {
		line("sent", strconv.Itoa(r.Sent))
		line("failed", strconv.Itoa(r.Failed))
	}
	if r.Signals > 0 {
		line("positions", fmt.Sprintf("%d to %d", r.First, r.Last))
		line("stored", stamp(r.Oldest)+" to "+stamp(r.Newest))
	}
	took := "took"
	if r.Dry {
		took = "at least"
	}
	line(took, r.Took.Round(time.Millisecond).String())
	if r.Stopped != "" {
		line("stopped", clean(r.Stopped))
		if r.Next > 0 {
			line("go on", fmt.Sprintf("--from-seq %d", r.Next))
		}
	}
	for _, f := range r.Failures {
		text = fmt.Appendf(text, "  %6d  %s %s: %s\n", f.Sequence, clean(f.Type), clean(f.ID), clean(f.Error))
	}
	_, err := w.Write(text)
	return err
}
