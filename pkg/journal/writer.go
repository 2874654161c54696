package journal

import (
	"context"
	"strconv"
	"sync"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/internal/batch"
)

// queueSize is how many puts wait for the writer before the next one has to wait itself.
const queueSize = 2 * batch.MaxMessages

// maxTries is how often a merge is tried against others who change the same key.
const maxTries = 8

var errClosed = fault.Newf(fault.Unavailable, "journal is closed")

// put is what is written for one signal, and who wants to know when it is stored.
type put struct {
	entries []entry
	left    int   // entries that are not settled
	err     error // the first
	done    func(error)
}

// entry is one key and its value.
type entry struct {
	msg *nats.Msg

	// merge makes the value from the one that is stored, nil if there is none. An entry
	// without it replaces whatever is stored.
	merge func(old []byte) []byte
	tries int
	of    *put
}

// writer is the only one who writes to the bucket from this process. Whatever comes in while
// a group of messages is on its way goes out as the next group, so a lone put never waits
// for company and many puts share one sync of the disk.
type writer struct {
	bucket string // the stream behind it
	pub    *batch.Publisher
	read   *reader

	mu     sync.RWMutex // held for reading while something is put into the queue
	closed bool
	queue  chan *put
	ended  chan struct{}
}

func newWriter(nc *nats.Conn, bucket string, read *reader) (*writer, error) {
	pub, err := batch.New(nc)
	if err != nil {
		return nil, err
	}
	w := &writer{
		bucket: bucket, pub: pub, read: read,
		queue: make(chan *put, queueSize), ended: make(chan struct{}),
	}
	go w.run() // ends with close
	return w, nil
}

// enqueue hands p over; p.done is called once, from the writer, unless there is an error.
// It blocks while the queue is full.
func (w *writer) enqueue(ctx context.Context, p *put) error {
	w.mu.RLock()
	defer w.mu.RUnlock()
	if w.closed {
		return errClosed
	}
	select {
	case w.queue <- p:
		return nil
	case <-ctx.Done():
		return fault.Wrap(fault.Unavailable, ctx.Err())
	}
}

// store hands the entries over and waits until they are stored. If ctx ends first they may
// be stored all the same.
func (w *writer) store(ctx context.Context, entries ...entry) error {
	stored := make(chan error, 1)
	if err := w.enqueue(ctx, newPut(func(err error) { stored <- err }, entries...)); err != nil {
		return err
	}
	select {
	case err := <-stored:
		return err
	case <-ctx.Done():
		return fault.Wrap(fault.Unavailable, ctx.Err())
	}
}

func newPut(done func(error), entries ...entry) *put {
	p := &put{entries: entries, left: len(entries), done: done}
	for i := range p.entries {
		p.entries[i].of = p
	}
	return p
}

// close writes what is queued and ends the writer.
func (w *writer) close() {
	w.mu.Lock()
	if !w.closed {
		w.closed = true
		close(w.queue)
	}
	w.mu.Unlock()
	<-w.ended
}

func (w *writer) run() {
	defer close(w.ended)
	defer w.pub.Close()
	for p := range w.queue {
		w.write(w.gather(p))
	}
}

// gather takes what is queued behind p, up to what one group holds.
func (w *writer) gather(p *put) []*entry {
	var group []*entry
	for {
		for i := range p.entries {
			group = append(group, &p.entries[i])
		}
		if len(group) > batch.MaxMessages-maxEntries {
			return group
		}
		var ok bool
		select {
		case p, ok = <-w.queue:
			if !ok {
				return group
			}
		default:
			return group
		}
	}
}

// write stores a group and settles every entry. Entries that merge are first written as if
// there were nothing to merge with, which is the rule; those that meet something are read,
// merged and written again.
func (w *writer) write(group []*entry) {
	for _, e := range group {
		if e.merge != nil {
			e.expect(0, nil)
		}
	}
	for len(group) > 0 {
		group = w.round(context.Background(), group) // bounded by the timeouts below
	}
}

// round writes the group once and returns what has to be written again.
func (w *writer) round(ctx context.Context, group []*entry) (again []*entry) {
	group, again = distinct(group)
	msgs := make([]*nats.Msg, len(group))
	for i, e := range group {
		msgs[i] = e.msg
	}
	for i, res := range w.pub.Publish(ctx, msgs) {
		e := group[i]
		if e.tries++; batch.IsConflict(res.Err) && e.tries < maxTries {
			again = append(again, e)
			continue
		}
		e.settle(res.Err)
	}
	if err := w.refresh(ctx, again); err != nil {
		for _, e := range again {
			e.settle(err)
		}
		return nil
	}
	return again
}

// distinct takes out of the group the entries that merge with one before them.
func distinct(group []*entry) (first, rest []*entry) {
	seen := make(map[string]bool)
	for _, e := range group {
		if e.merge != nil && seen[e.msg.Subject] {
			rest = append(rest, e)
			continue
		}
		if e.merge != nil {
			seen[e.msg.Subject] = true
		}
		first = append(first, e)
	}
	return first, rest
}

// refresh reads what is stored under the keys of the entries and merges each with it.
func (w *writer) refresh(ctx context.Context, entries []*entry) error {
	var subjects []string
	for _, e := range entries {
		if e.merge != nil {
			subjects = append(subjects, e.msg.Subject)
		}
	}
	if len(subjects) == 0 {
		return nil
	}
	msgs, err := w.read.all(ctx, w.bucket, subjects)
	if err != nil {
		return err
	}
	found := make(map[string]stored, len(msgs))
	for _, m := range msgs {
		found[m.subject] = m
	}
	for _, e := range entries {
		if e.merge != nil {
			m := found[e.msg.Subject]
			e.expect(m.sequence, m.data)
		}
	}
	return nil
}

// expect makes the entry one that is stored only if the key's last message is at sequence,
// where old lies.
func (e *entry) expect(sequence uint64, old []byte) {
	e.msg.Data = e.merge(old)
	if e.msg.Header == nil {
		e.msg.Header = make(nats.Header, 4)
	}
	e.msg.Header[jetstream.ExpectedLastSubjSeqHeader] = []string{strconv.FormatUint(sequence, 10)}
}

func (e *entry) settle(err error) {
	p := e.of
	if p.err == nil {
		p.err = err
	}
	if p.left--; p.left == 0 {
		p.done(p.err)
	}
}
