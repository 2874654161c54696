package bus

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"

	"github.com/signalmesh/signalmesh/pkg/codec"
	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

// MaxLine is the longest line of an archive that is read, in bytes.
const MaxLine = 32 << 20

// Export writes the signals of a snapshot as CloudEvents JSON, one to a line (NDJSON), and
// says how many. The options are those of [Snapshots.Entries].
func (s Snapshots) Export(ctx context.Context, name string, to io.Writer, opts ...ReplayOption) (int, error) {
	out := bufio.NewWriterSize(to, 64<<10)
	n := 0
	for e, err := range s.Entries(ctx, name, opts...) {
		if err == nil {
			err = WriteLine(out, e.Signal)
		}
		if err != nil {
			return n, fmt.Errorf("export: %w", err)
		}
		n++
	}
	if err := out.Flush(); err != nil {
		return n, fmt.Errorf("export: %w", err)
	}
	return n, nil
}

// Import makes a snapshot of an archive: signals as CloudEvents JSON, one to a line. Nothing
// is published. A signal's position in it is its line, and the time at which it was stored
// the time it gives itself. One line that is not a signal, and no snapshot is made.
//
// Errors are those of [Snapshots.Create], and Invalid or TooLarge, with the number of the
// line, for what is in the archive.
func (s Snapshots) Import(ctx context.Context, name string, from io.Reader) (Snapshot, error) {
	d, err := s.store(ctx, name, Snapshot{Pattern: "**", Imported: true}, func(w *snapshotWriter) error {
		for e, err := range ReadLines(from) {
			if err != nil {
				return err
			}
			header, body, err := codec.ToNATS(e.Signal, s.b.mode)
			if err != nil {
				return fmt.Errorf("line %d: %w", e.Sequence, err)
			}
			if err := w.add(record{e.Sequence, e.Stored, header, body}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return Snapshot{}, fmt.Errorf("import snapshot %.64s: %w", name, err)
	}
	return d, nil
}

// Select yields of the entries what a replay with this pattern and these options would:
// those of an archive, of a snapshot, or of any other source. There is nothing to follow.
func Select(from iter.Seq2[Entry, error], on string, opts ...ReplayOption) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		p, cfg, err := replaying(on, opts)
		if err != nil {
			yield(Entry{}, fmt.Errorf("replay %.256s: %w", on, err))
			return
		}
		n := 0
		for e, err := range from {
			if err != nil {
				yield(Entry{}, err)
				return
			}
			if e.Sequence < cfg.start.sequence || e.Stored.Before(cfg.start.time) || cfg.past(e.Sequence, e.Stored) ||
				!p.Match(e.Signal.Type) || !cfg.keeps(e.Signal) {
				continue // what comes later may be older: an archive has any order
			}
			if n++; !yield(e, nil) || n == cfg.limit {
				return
			}
		}
	}
}

// WriteLine writes a signal as CloudEvents JSON in one line.
func WriteLine(to io.Writer, s *signal.Signal) error {
	doc, err := s.MarshalJSON()
	if err != nil {
		return err
	}
	var line bytes.Buffer
	line.Grow(len(doc) + 1)
	if err := json.Compact(&line, doc); err != nil { // data keeps the layout it came in
		return fault.Newf(fault.Invalid, "signal %.64s: %w", s.ID, err)
	}
	line.WriteByte('\n')
	_, err = to.Write(line.Bytes())
	return err
}

// ReadLines yields the signals of an archive, written by [WriteLine] or anybody else:
// CloudEvents JSON, one to a line, with empty lines passed over. The position of an entry is
// its line, and its time that of the signal. An error names the line and ends it; lines
// longer than [MaxLine] are coded TooLarge, what is no valid signal Invalid.
func ReadLines(from io.Reader) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		in := bufio.NewScanner(from)
		in.Buffer(make([]byte, 64<<10), MaxLine)
		line := uint64(0)
		for in.Scan() {
			line++
			text := bytes.TrimSpace(in.Bytes())
			if len(text) == 0 {
				continue
			}
			s := new(signal.Signal)
			err := s.UnmarshalJSON(bytes.Clone(text))
			if err == nil {
				err = s.Validate()
			}
			if err != nil {
				yield(Entry{}, fmt.Errorf("line %d: %w", line, err))
				return
			}
			if !yield(Entry{s, line, s.Time}, nil) {
				return
			}
		}
		err := in.Err()
		if errors.Is(err, bufio.ErrTooLong) {
			err = fault.Newf(fault.TooLarge, "longer than %d bytes", MaxLine)
		}
		if err != nil {
			yield(Entry{}, fmt.Errorf("line %d: %w", line+1, err))
		}
	}
}
