package journal

import (
	"context"
	"fmt"
	"strconv"

	"github.com/signalmesh/signalmesh/pkg/fault"
)

// defaultPage is how many signals a page holds if it is not said.
const defaultPage = 100

// Entries are one page of an answer.
type Entries struct {
	Entries []Entry `json:"entries"`
	Next    Cursor  `json:"next,omitempty"` // where the next page begins; "" if this is the last
}

// Cause returns the signal that caused the one with this id; ok is false if it has no cause.
// Of several causes it returns the one that the signal names itself, else the first that was
// added by hand; [Journal.Trace] has all. A cause that is not in the journal is an entry with
// nothing but its id.
func (j *Journal) Cause(ctx context.Context, id string, opts ...LookupOption) (cause Entry, ok bool, err error) {
	r, err := j.Lookup(ctx, id, opts...)
	if err != nil || len(r.Causes) == 0 {
		return Entry{}, false, err
	}
	cause = Entry{ID: r.Causes[0]}
	found, err := j.recordsOf(ctx, cause.ID)
	if err != nil {
		return Entry{}, false, fmt.Errorf("cause of %q: %w", id, err)
	}
	if len(found) > 0 {
		cause = found[0].Entry
	}
	return cause, true, nil
}

// Effects returns a page of the signals that name this one as their cause, in the order in
// which they were recorded; none if there are none, or no such signal.
func (j *Journal) Effects(ctx context.Context, id string, opts ...PageOption) (Entries, error) {
	page, err := j.page(ctx, j.keys.edges(id), opts, func(d document) bool { return d.Cause == id })
	if err != nil {
		return Entries{}, fmt.Errorf("effects of %q: %w", id, err)
	}
	return page, nil
}

// Conversation returns a page of the signals with this subject or, if they have no subject,
// this correlation id, in the order in which they were recorded.
func (j *Journal) Conversation(ctx context.Context, key string, opts ...PageOption) (Entries, error) {
	page, err := j.page(ctx, j.keys.members(key), opts, func(d document) bool { return d.Conversation == key })
	if err != nil {
		return Entries{}, fmt.Errorf("conversation %q: %w", key, err)
	}
	return page, nil
}

// page reads one page of the documents under the filter that are meant.
func (j *Journal) page(ctx context.Context, filter string, opts []PageOption, meant func(document) bool) (Entries, error) {
	q := query{limit: defaultPage}
	for _, o := range opts {
		o.page(&q)
	}
	if q.limit <= 0 {
		q.limit = defaultPage
	}
	from, err := q.after.position()
	if err != nil {
		return Entries{}, err
	}
	page := Entries{Entries: []Entry{}}
	msgs, next, err := j.read.page(ctx, j.bucket, filter, from, q.limit)
	if err != nil {
		return Entries{}, err
	}
	for _, m := range msgs {
		d, err := readDocument(m)
		if err != nil {
			j.unreadable(err)
			continue
		}
		if meant(d) {
			page.Entries = append(page.Entries, d.entry())
		}
	}
	page.Next = cursorAt(next)
	return page, nil
}

// position is the place in the bucket's stream that the cursor stands for.
func (c Cursor) position() (uint64, error) {
	if c == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(string(c), 36, 64)
	if err != nil {
		return 0, fault.Newf(fault.Invalid, "cursor %.40q is not one that a page returned", string(c))
	}
	return n, nil
}

func cursorAt(position uint64) Cursor {
	if position == 0 {
		return ""
	}
	return Cursor(strconv.FormatUint(position, 36))
}
