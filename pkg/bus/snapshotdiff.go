package bus

import (
	"context"
	"crypto/sha256"
	"fmt"
	"iter"

	"github.com/signalmesh/signalmesh/pkg/signal"
)

// A ChangeKind says in what a signal differs between two snapshots.
type ChangeKind string

// The kinds of changes.
const (
	Added   ChangeKind = "added"   // only in the second
	Removed ChangeKind = "removed" // only in the first
	Changed ChangeKind = "changed" // in both, with another content
)

// A Change is what two snapshots do not agree on. Old is the entry of the first, New that
// of the second; the one that there is none of is zero.
type Change struct {
	Kind ChangeKind
	Old  Entry
	New  Entry
}

// Diff yields what is in one snapshot and not, or not the same, in the other: first what is
// added, in the order of the second, then what is removed or changed, in the order of the
// first. Signals are the same when source and id are; of a signal that a snapshot has more
// than once the first counts. Where they lie, and when the bus got them, is not compared.
//
// It reads the first snapshot twice and holds about 100 bytes for every signal of both, and
// the signals that have changed.
func (s Snapshots) Diff(ctx context.Context, first, second string) iter.Seq2[Change, error] {
	return func(yield func(Change, error) bool) {
		if err := s.diff(ctx, first, second, func(c Change) bool { return yield(c, nil) }); err != nil {
			yield(Change{}, fmt.Errorf("diff: %w", err))
		}
	}
}

// identity and content of a signal, in a form that costs little to hold.
type (
	identity [16]byte
	content  [16]byte
)

func identityOf(s *signal.Signal) identity {
	sum := sha256.Sum256([]byte(s.Source + "\x00" + s.ID))
	return identity(sum[:16])
}

// sighting is what is known of a signal of either snapshot.
type sighting struct {
	content content
	old     bool // the first snapshot has it
	new     bool // the second one too
}

func (s Snapshots) diff(ctx context.Context, first, second string, yield func(Change) bool) error {
	seen := make(map[identity]sighting)
	var text []byte
	look := func(e Entry) (identity, content) {
		text = e.Signal.AppendJSON(text[:0])
		sum := sha256.Sum256(text)
		return identityOf(e.Signal), content(sum[:16])
	}
	for e, err := range s.Entries(ctx, first) {
		if err != nil {
			return err
		}
		id, c := look(e)
		if _, again := seen[id]; !again {
			seen[id] = sighting{content: c, old: true}
		}
	}
	changed := make(map[identity]Entry)
	for e, err := range s.Entries(ctx, second) {
		if err != nil {
			return err
		}
		id, c := look(e)
		was := seen[id]
		if was.new {
			continue
		}
		seen[id] = sighting{content: was.content, old: was.old, new: true}
		switch {
		case !was.old:
			if !yield(Change{Kind: Added, New: e}) {
				return nil
			}
		case was.content != c:
			changed[id] = e
		}
	}
	return s.lost(ctx, first, seen, changed, yield)
}

// lost yields what the first snapshot has and the second has not, or not so.
func (s Snapshots) lost(ctx context.Context, first string, seen map[identity]sighting, changed map[identity]Entry, yield func(Change) bool) error {
	for e, err := range s.Entries(ctx, first) {
		if err != nil {
			return err
		}
		id := identityOf(e.Signal)
		was, known := seen[id]
		if !known {
			continue // told already
		}
		delete(seen, id)
		now, differs := changed[id]
		c := Change{Kind: Removed, Old: e}
		switch {
		case differs:
			c = Change{Kind: Changed, Old: e, New: now}
		case was.new:
			continue
		}
		if !yield(c) {
			return nil
		}
	}
	return nil
}
