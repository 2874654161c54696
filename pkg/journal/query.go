package journal

import (
	"context"
	"fmt"
	"time"

	"github.com/signalmesh/signalmesh/pkg/pattern"
)

// A Query selects recorded signals. What is left out selects everything; what is given must
// all hold.
type Query struct {
	Pattern pattern.Pattern // of the type; the zero Pattern is any
	Source  string          // exactly
	Subject string          // exactly
	After   time.Time       // the signal's time, this instant included
	Before  time.Time       // the signal's time, this instant excluded

	Limit  int    // signals in a page; 100 if not positive
	Cursor Cursor // where the page begins
}

// early is how far ahead of their arrival signals may be dated and still be found by a
// query with After; it spares the server what is older.
const early = time.Hour

// Query returns a page of the signals that q selects, in the order in which they were
// recorded. A signal without a time counts as having happened when it was recorded.
//
// With a Subject it reads that conversation and is as fast as [Journal.Conversation]. Without,
// the server walks the journal from After on: some ten thousand signals take a second. For
// the history of a type, replay the bus instead, which has an index of types.
//
// Signals dated more than an hour ahead of their arrival may be missed by After. A signal
// with causes that were added by hand may be on more than one page.
func (j *Journal) Query(ctx context.Context, q Query) (Entries, error) {
	if q.Limit <= 0 {
		q.Limit = defaultPage
	}
	from, err := q.Cursor.position()
	if err != nil {
		return Entries{}, fmt.Errorf("query journal: %w", err)
	}
	s := scan{j: j, q: q, from: from, size: min(q.Limit, pageSize), out: Entries{Entries: []Entry{}}, seen: make(map[[2]string]bool)}
	for !s.done && err == nil {
		err = s.step(ctx)
	}
	if err != nil {
		return Entries{}, fmt.Errorf("query journal: %w", err)
	}
	return s.out, nil
}

// scan is a query under way.
type scan struct {
	j    *Journal
	q    Query
	from uint64
	size int // documents to read next
	out  Entries
	seen map[[2]string]bool // (id, source) of what is in out
	done bool
}

// step reads some documents and keeps those that are selected.
func (s *scan) step(ctx context.Context) error {
	a, err := s.read(ctx)
	if err != nil {
		return err
	}
	for i, m := range a.msgs {
		if m.deleted() || s.q.Subject == "" && !s.j.keys.isNode(m.subject) {
			continue
		}
		d, err := readDocument(m)
		if err != nil {
			s.j.unreadable(err)
			continue
		}
		if s.seen[d.identity()] || !s.selects(d, m.at) {
			continue
		}
		s.out.Entries = append(s.out.Entries, d.entry())
		s.seen[d.identity()] = true
		if len(s.out.Entries) == s.q.Limit {
			s.done = true
			if a.more || i < len(a.msgs)-1 {
				s.out.Next = cursorAt(m.sequence + 1)
			}
			return nil
		}
	}
	s.from, s.done = a.last+1, !a.more
	s.size = min(4*s.size, pageSize) // the query selects few
	return nil
}

// read reads the next documents that may be selected. A walk reads every kind of key: letting
// the server choose costs it a count of all that remains, ten times the reading.
func (s *scan) read(ctx context.Context) (answer, error) {
	if s.q.Subject != "" {
		msgs, next, err := s.j.read.page(ctx, s.j.bucket, s.j.keys.members(s.q.Subject), s.from, s.size)
		return answer{msgs: msgs, last: next - 1, more: next > 0}, err
	}
	if s.from == 0 && !s.q.After.IsZero() && s.q.After.Before(time.Now()) {
		start := s.q.After.Add(-early).UTC().Format(time.RFC3339Nano)
		return s.j.read.ask(ctx, s.j.bucket, request{StartTime: start, Batch: s.size, MaxBytes: readBytes})
	}
	return s.j.read.ask(ctx, s.j.bucket, request{Sequence: max(s.from, 1), Batch: s.size, MaxBytes: readBytes})
}

// selects reports whether the query selects the document.
func (s *scan) selects(d document, recorded time.Time) bool {
	e, at := d.entry(), d.Signal.Time
	if at.IsZero() {
		at = recorded
	}
	return (s.q.Pattern.IsZero() || s.q.Pattern.Match(e.Type)) &&
		(s.q.Source == "" || e.Source == s.q.Source) &&
		(s.q.Subject == "" || e.Subject == s.q.Subject) &&
		(s.q.After.IsZero() || !at.Before(s.q.After)) &&
		(s.q.Before.IsZero() || at.Before(s.q.Before))
}
