package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/signalmesh/signalmesh/pkg/bus"
	"github.com/signalmesh/signalmesh/pkg/fault"
)

// settled is what became of dead letters, or would with --dry-run.
type settled struct {
	Redriven  *int   `json:"redriven,omitempty"`
	Discarded *int   `json:"discarded,omitempty"`
	Exported  *int   `json:"exported,omitempty"`
	Kept      int    `json:"kept,omitempty"`   // letters that can't be redriven
	Reason    string `json:"reason,omitempty"` // of the first of those
	DryRun    bool   `json:"dry_run,omitempty"`
}

// chosen are the dead letters to settle: those with the ids, or what the filter selects.
func (s *session) chosen() (ids []string, f bus.LetterFilter, err error) {
	if f, err = s.filter(); err != nil {
		return nil, f, err
	}
	ids = s.cli.Args().Slice()
	filtered := s.cli.Bool("all") || f != bus.LetterFilter{}
	switch {
	case filtered == (len(ids) > 0):
		return nil, f, usagef("name dead letters by id, or say which with a filter or --all")
	case len(ids) > 0 && s.cli.Bool("dry-run"):
		return nil, f, usagef("--dry-run counts what a filter or --all selects")
	}
	return ids, f, nil
}

func redrive(s *session) error {
	ids, f, err := s.chosen()
	if err != nil {
		return err
	}
	if s.cli.IsSet("rate") && (len(ids) > 0 || s.cli.Float64("rate") <= 0) {
		return usagef("--rate is the number per second, for what a filter or --all selects")
	}
	ctx, cancel := s.ask()
	defer cancel()
	letters, err := s.letters(ctx)
	if err != nil {
		return err
	}
	var done bus.Redriven
	if len(ids) > 0 {
		done.Runs, err = eachID(ids, func(id string) error { return letters.Redrive(s.cli.Context, id, whoami()) })
	} else {
		opts := []bus.RedriveOption{bus.RedriveRate(s.cli.Float64("rate"))}
		if s.cli.Bool("dry-run") {
			opts = append(opts, bus.RedriveDryRun())
		}
		done, err = letters.RedriveAll(s.cli.Context, f, whoami(), opts...)
	}
	if err != nil {
		return after(done.Runs, err)
	}
	answer := settled{Redriven: &done.Runs, Kept: done.Kept, DryRun: s.cli.Bool("dry-run")}
	if done.Kept > 0 {
		answer.Reason = done.Reason.Error()
		s.warn("%s can't be redriven: %s", count(done.Kept, "dead letter", "dead letters"), clean(answer.Reason))
	}
	return s.out.document(answer, func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "%s %s run once more\n", count(done.Runs, "delivery", "deliveries"), s.tense("will", "would"))
		return err
	})
}

func discard(s *session) error {
	ids, f, err := s.chosen()
	if err != nil {
		return err
	}
	ctx, cancel := s.ask()
	defer cancel()
	letters, err := s.letters(ctx)
	if err != nil {
		return err
	}
	var n int
	switch {
	case len(ids) > 0:
		n, err = eachID(ids, func(id string) error { return letters.Discard(s.cli.Context, id) })
	case s.cli.Bool("dry-run"):
		n, err = s.countLetters(letters, f)
	case s.cli.Bool("yes"):
		n, err = letters.DiscardAll(s.cli.Context, f)
	default:
		if n, err = s.countLetters(letters, f); err == nil {
			return usagef("%s would be gone for good; say --yes", count(n, "dead letter", "dead letters"))
		}
	}
	if err != nil {
		return after(n, err)
	}
	return s.out.document(settled{Discarded: &n, DryRun: s.cli.Bool("dry-run")}, func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "%s %s gone\n", count(n, "dead letter", "dead letters"), s.tense(are(n), "would be"))
		return err
	})
}

// eachID deals with dead letters by id, all of them whatever becomes of the others.
func eachID(ids []string, do func(id string) error) (n int, err error) {
	var errs []error
	for _, id := range ids {
		if err := do(id); err != nil {
			errs = append(errs, err)
			continue
		}
		n++
	}
	return n, errors.Join(errs...)
}

func (s *session) countLetters(letters bus.DeadLetters, f bus.LetterFilter) (n int, err error) {
	for _, err := range letters.List(s.cli.Context, f) {
		if err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

// exportLetters writes letters, not an answer: -o means nothing to it.
func exportLetters(s *session) (err error) {
	f, err := s.filter()
	if err != nil {
		return err
	}
	ctx, cancel := s.ask()
	defer cancel()
	letters, err := s.letters(ctx)
	if err != nil {
		return err
	}
	name := s.cli.String("file")
	if name == "" || name == "-" {
		_, err := letters.Export(s.cli.Context, f, s.out.w)
		return err
	}
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600) // signals are nobody else's business
	if err != nil {
		return fault.Wrap(fault.Invalid, err)
	}
	n, err := letters.Export(s.cli.Context, f, file)
	if err = errors.Join(err, file.Close()); err != nil {
		return err
	}
	return s.out.document(settled{Exported: &n}, func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "%s %s in %s\n", count(n, "dead letter", "dead letters"), are(n), clean(name))
		return err
	})
}

// after says how far a failure let it come.
func after(n int, err error) error {
	if n == 0 {
		return err
	}
	return fmt.Errorf("after %d: %w", n, err)
}

// tense chooses between what is done and what --dry-run only says.
func (s *session) tense(done, would string) string {
	if s.cli.Bool("dry-run") {
		return would
	}
	return done
}

// count is a number of things.
func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

func are(n int) string {
	if n == 1 {
		return "is"
	}
	return "are"
}
