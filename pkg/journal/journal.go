package journal

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/signalmesh/signalmesh/pkg/codec"
	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/provision"
	"github.com/signalmesh/signalmesh/pkg/signal"
	"github.com/signalmesh/signalmesh/pkg/subject"
	"github.com/signalmesh/signalmesh/streams"
)

// A Journal is the journal of one bus. Its methods may be called concurrently.
type Journal struct {
	settings
	js     jetstream.JetStream
	signal string // the bus's stream
	bucket string // the stream behind the bucket
	keys   keys
	read   *reader
	write  *writer
}

// Open opens the journal of a bus on the connection, which the caller keeps and closes after
// [Journal.Close]. It creates the bucket and the bus's stream if they are missing.
func Open(ctx context.Context, nc *nats.Conn, opts ...Option) (*Journal, error) {
	s := newSettings(opts)
	if err := subject.CheckName("bus", s.bus); err != nil {
		return nil, fmt.Errorf("open journal: %w", err)
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, fmt.Errorf("open journal: %w", err)
	}
	j := &Journal{
		settings: s, js: js,
		signal: s.space.Stream(s.bus), bucket: s.space.JournalStream(s.bus),
		keys: newKeys(s.space.JournalBucket(s.bus)),
	}
	if err := j.start(ctx, nc); err != nil {
		return nil, fmt.Errorf("open journal of bus %s: %w", s.bus, err)
	}
	return j, nil
}

func (j *Journal) start(ctx context.Context, nc *nats.Conn) (err error) {
	if err := j.exists(ctx); err != nil {
		return err
	}
	if j.read, err = newReader(nc); err != nil {
		return err
	}
	if j.write, err = newWriter(nc, j.bucket, j.read); err != nil {
		j.read.close()
	}
	return err
}

// exists makes sure of the streams that the journal stands on.
func (j *Journal) exists(ctx context.Context) error {
	if j.provision {
		vars := provision.Vars{Space: j.space, Buses: []string{j.bus}, Replicas: j.replicas}
		defs, err := provision.Load(streams.FS, vars, streams.Signals, streams.Journal)
		if err != nil {
			return err
		}
		return provision.Ensure(ctx, j.js, defs...)
	}
	_, err := j.js.Stream(ctx, j.bucket)
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		return fault.Hint(fault.Newf(fault.NotFound, "there is none"),
			"a node makes it when it serves the bus; is the name of the bus right?")
	case err != nil:
		return fault.Wrap(fault.Unavailable, err)
	}
	return nil
}

// Close writes what is queued and frees what the journal holds. A [Recorder] must be stopped
// before.
func (j *Journal) Close() {
	j.write.close()
	j.read.close()
}

// Bus is the name of the bus.
func (j *Journal) Bus() string { return j.bus }

// Lookup returns what is recorded about the signal with this id: its attributes, causes and
// conversation. [ErrNotFound] if there is none, an [*AmbiguousError] if there are several.
func (j *Journal) Lookup(ctx context.Context, id string, opts ...LookupOption) (*Record, error) {
	var q query
	for _, o := range opts {
		o.lookup(&q)
	}
	r, err := j.find(ctx, id, q)
	if err != nil {
		return nil, fmt.Errorf("look up %q: %w", id, err)
	}
	return r, nil
}

// Get returns the signal with this id, with its data, which it fetches from the bus.
// Besides the errors of [Journal.Lookup] it returns [ErrDataGone].
func (j *Journal) Get(ctx context.Context, id string, opts ...LookupOption) (*signal.Signal, error) {
	r, err := j.Lookup(ctx, id, opts...)
	if err != nil {
		return nil, err
	}
	s, err := j.whole(ctx, r)
	if err != nil {
		return nil, fmt.Errorf("get %q: %w", id, err)
	}
	return s, nil
}

// whole returns the signal of a record with its data.
func (j *Journal) whole(ctx context.Context, r *Record) (*signal.Signal, error) {
	if r.Sequence == 0 {
		return r.Signal, nil
	}
	m, ok, err := j.read.get(ctx, j.signal, r.Sequence)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, fault.Hint(ErrDataGone, "the journal still has its attributes, causes and effects")
	}
	s, err := codec.FromNATS(m.header, m.data)
	if err != nil {
		return nil, err
	}
	if !entryOf(s, 0).same(r.Entry) { // the stream was made anew
		return nil, ErrDataGone
	}
	return s, nil
}

// find returns the record that id, and the source if one was given, stand for.
func (j *Journal) find(ctx context.Context, id string, q query) (*Record, error) {
	found, err := j.recordsOf(ctx, id)
	if err != nil {
		return nil, err
	}
	if q.chosen {
		for _, r := range found {
			if r.Source == q.source {
				return r, nil
			}
		}
		found = nil
	}
	switch len(found) {
	case 0:
		return nil, ErrNotFound
	case 1:
		return found[0], nil
	}
	return nil, ambiguous(id, found)
}

// recordsOf returns the records of all signals with one of the ids. It fails on a value that
// can't be read only if that is all there is.
func (j *Journal) recordsOf(ctx context.Context, ids ...string) ([]*Record, error) {
	asked := make(map[string]bool, len(ids))
	filters := make([]string, len(ids))
	for i, id := range ids {
		asked[id] = true
		filters[i] = j.keys.nodes(id)
	}
	msgs, err := j.read.all(ctx, j.bucket, filters)
	if err != nil {
		return nil, err
	}
	found, err := records(live(msgs), func(id string) bool { return asked[id] })
	if len(found) > 0 && err != nil {
		j.unreadable(err)
		err = nil
	}
	return found, err
}

// unreadable tells of a value that somebody else must have written. Where there are others to
// answer with, it does not keep them back.
func (j *Journal) unreadable(err error) {
	j.log.Warn("journal entry left out", "bus", j.bus, "error", err)
}
