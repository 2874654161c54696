package bus

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/internal/pull"
	"github.com/signalmesh/signalmesh/pkg/signal"
	"github.com/signalmesh/signalmesh/pkg/subject"
)

// Snapshots are named copies of the history of a bus. Each is what some replay yielded in
// the moment it was made, and stays that until it is deleted: what is published later, ages
// out or is purged does not touch it. A snapshot that was not finished, because somebody
// failed or crashed over it, is no snapshot: nobody ever sees a part of one.
//
// The signals are copied as they lie on the bus, compressed, into a stream of their own, so
// that there is no bound on their number; a thousand JSON signals of 400 bytes take about
// 100 kB there, and a few hundred bytes of the server's memory. The description of each is
// a JSON document that the plain NATS tools read:
//
//	nats stream view SIG_default_SNAPSHOTS --subject 'sig-snap.default.info.*'
//
// Nothing is deleted by age or size: the disk that snapshots take is theirs until somebody
// deletes them.
type Snapshots struct{ b *Bus }

// Snapshots are those of the bus.
func (b *Bus) Snapshots() Snapshots { return Snapshots{b} }

// A Snapshot describes one.
type Snapshot struct {
	Name    string    `json:"name"`
	Bus     string    `json:"bus"`
	Pattern string    `json:"pattern"`
	Subject string    `json:"subject,omitempty"`     // what it was narrowed to
	Related string    `json:"correlation,omitempty"` // likewise
	Where   []string  `json:"where,omitempty"`       // likewise
	Created time.Time `json:"created"`
	Node    string    `json:"node,omitempty"` // who made it; see WithNode

	Signals  int       `json:"signals"`
	First    uint64    `json:"first_sequence,omitempty"` // position of its first signal
	Last     uint64    `json:"last_sequence,omitempty"`  // position of its last signal
	Oldest   time.Time `json:"oldest,omitzero"`          // when the bus got the first
	Newest   time.Time `json:"newest,omitzero"`          // when the bus got the last
	Imported bool      `json:"imported,omitempty"`       // from a file: positions are lines of it

	Bytes  int64  `json:"bytes"`        // of all signals
	Stored int64  `json:"stored_bytes"` // what they take in the stream
	Digest string `json:"sha256"`       // of the content, which readers check
	Data   string `json:"data"`         // id under which the content lies
	Chunks int    `json:"chunks"`       // messages of content
}

// Create makes a snapshot of the signals that a [Bus.Replay] with this pattern and these
// options would yield now, and returns when it is stored. The name has letters, digits, "_"
// and "-". It takes one to three seconds for 100,000 signals, and holds up nobody.
//
// The error is coded Conflict when there is a snapshot of this name, Invalid for a bad name,
// pattern or option, among which [Follow], Exhausted when the store is full, and NotFound on
// a bus that was opened without snapshots.
func (s Snapshots) Create(ctx context.Context, name, on string, opts ...ReplayOption) (Snapshot, error) {
	d, err := s.create(ctx, name, on, opts)
	if err != nil {
		return Snapshot{}, fmt.Errorf("create snapshot %.64s: %w", name, err)
	}
	return d, nil
}

func (s Snapshots) create(ctx context.Context, name, on string, opts []ReplayOption) (Snapshot, error) {
	p, cfg, err := replaying(on, opts)
	if err != nil {
		return Snapshot{}, err
	}
	if cfg.follow {
		return Snapshot{}, fault.Newf(fault.Invalid, "a snapshot has an end, so it can't follow")
	}
	d := Snapshot{Pattern: p.String(), Subject: cfg.subject, Related: cfg.correlation, Where: cfg.where}
	return s.store(ctx, name, d, func(w *snapshotWriter) error {
		var failed error
		err := s.b.walk(ctx, p, cfg, func(m *pull.Msg, _ *signal.Signal) bool {
			failed = w.add(record{m.Sequence, m.Stored, m.Header, m.Data})
			return failed == nil
		})
		return cmp.Or(failed, err)
	})
}

// store writes the content and then, which makes it a snapshot, the description.
func (s Snapshots) store(ctx context.Context, name string, d Snapshot, fill func(*snapshotWriter) error) (Snapshot, error) {
	if err := subject.CheckName("snapshot", name); err != nil {
		return d, err
	}
	if _, err := s.find(ctx, name); err == nil {
		return d, taken(name)
	} else if !fault.Is(err, fault.NotFound) {
		return d, err
	}
	if err := s.sweep(ctx); err != nil {
		return d, err
	}
	d.Name, d.Bus, d.Node = name, s.b.name, s.b.node
	d.Created, d.Data = time.Now().UTC(), signal.NewID().String()
	w := newSnapshotWriter(ctx, s.b, &d)
	err := fill(w)
	if err == nil {
		err = w.close()
	}
	if err == nil {
		err = s.publish(ctx, d)
	}
	if err != nil {
		s.abandon(ctx, d.Data)
		return d, err
	}
	return d, nil
}

func taken(name string) error {
	return fault.Hint(fault.Newf(fault.Conflict, "there is a snapshot of this name"), "delete %s first, or choose another name", name)
}

// publish makes the snapshot visible, provided that its content is all there and nobody else
// took the name meanwhile.
func (s Snapshots) publish(ctx context.Context, d Snapshot) error {
	there, err := s.counts(ctx, s.b.space.SnapshotData(s.b.name, d.Data))
	if err != nil {
		return err
	}
	if n := there[s.b.space.SnapshotData(s.b.name, d.Data)]; n < uint64(d.Chunks) {
		return fault.Newf(fault.Unavailable, "somebody deleted what was written: %d of %d parts are left", n, d.Chunks)
	}
	doc, err := json.Marshal(d)
	if err != nil {
		return fault.Wrap(fault.Internal, err)
	}
	m := nats.NewMsg(s.b.space.Snapshot(s.b.name, d.Name))
	m.Data = doc
	m.Header.Set(jetstream.MsgIDHeader, d.Data)
	m.Header.Set(jetstream.ExpectedLastSubjSeqHeader, "0")
	ctx, cancel := bounded(ctx)
	defer cancel()
	_, err = s.b.send(ctx, m)
	if !isWrongLast(err) {
		return err
	}
	if other, err := s.find(ctx, d.Name); err == nil && other.Data == d.Data {
		return nil // ours, by a try whose answer got lost
	}
	return taken(d.Name)
}

// Get describes a snapshot. The error is coded NotFound when there is none of this name.
func (s Snapshots) Get(ctx context.Context, name string) (Snapshot, error) {
	d, err := s.find(ctx, name)
	if err != nil {
		return Snapshot{}, fmt.Errorf("get snapshot %.64s: %w", name, err)
	}
	return d, nil
}

func (s Snapshots) find(ctx context.Context, name string) (Snapshot, error) {
	var d Snapshot
	m, err := s.b.lastMessage(ctx, s.b.space.SnapshotStream(s.b.name), s.b.space.Snapshot(s.b.name, name))
	if err != nil {
		return d, s.missing(err)
	}
	if err := json.Unmarshal(m.Data, &d); err != nil {
		return d, fault.Newf(fault.Internal, "its description: %w", err)
	}
	return d, nil
}

// missing explains an error that may mean that there is no stream for snapshots.
func (s Snapshots) missing(err error) error {
	if apiCode(err) == jetstream.JSErrCodeStreamNotFound || errors.Is(err, jetstream.ErrStreamNotFound) {
		return fault.Hint(coded(err), "the bus has no stream for snapshots; `sigctl streams apply --bus %s` makes it", s.b.name)
	}
	if fault.Is(coded(err), fault.NotFound) {
		return fault.Hint(fault.Newf(fault.NotFound, "there is no snapshot of this name"), "`sigctl snapshot ls` shows the names")
	}
	return coded(err)
}

// List describes all snapshots, the newest first.
func (s Snapshots) List(ctx context.Context) ([]Snapshot, error) {
	all, err := s.list(ctx)
	if err != nil {
		return nil, fmt.Errorf("list snapshots: %w", err)
	}
	return all, nil
}

func (s Snapshots) list(ctx context.Context) ([]Snapshot, error) {
	sc := scan{
		stream: s.b.space.SnapshotStream(s.b.name), filters: []string{s.b.space.AllSnapshots(s.b.name)},
		start: start{given: true, sequence: 1},
	}
	var all []Snapshot
	for m, err := range s.b.scan(ctx, sc) {
		if err != nil {
			return nil, s.missing(err)
		}
		var d Snapshot
		if json.Unmarshal(m.Data, &d) == nil {
			all = append(all, d)
		}
	}
	slices.SortStableFunc(all, func(x, y Snapshot) int { return y.Created.Compare(x.Created) })
	return all, nil
}

// Entries yields the signals of a snapshot as [Bus.Entries] yields those of the bus, with
// the positions and times they had there, and takes the same options, except that there is
// nothing to follow: [FromSequence] and [Limit] page through it. What has been read whole
// is known to be what was written.
func (s Snapshots) Entries(ctx context.Context, name string, opts ...ReplayOption) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		_, cfg, err := replaying("**", opts)
		if err == nil {
			err = s.read(ctx, name, cfg, func(_ record, e Entry) bool { return yield(e, nil) })
		}
		if err != nil {
			yield(Entry{}, fmt.Errorf("read snapshot %.64s: %w", name, err))
		}
	}
}

// read hands over what cfg selects of a snapshot.
func (s Snapshots) read(ctx context.Context, name string, cfg replayConfig, yield func(record, Entry) bool) error {
	d, err := s.find(ctx, name)
	if err != nil {
		return err
	}
	n := 0
	for r, err := range s.records(ctx, d) {
		if err != nil {
			return err
		}
		if r.sequence < cfg.start.sequence || r.stored.Before(cfg.start.time) {
			continue
		}
		if cfg.past(r.sequence, r.stored) {
			return nil
		}
		e, err := r.entry()
		if err != nil {
			return err
		}
		if !cfg.keeps(e.Signal) {
			continue
		}
		if n++; !yield(r, e) || n == cfg.limit {
			return nil
		}
	}
	return nil
}

// Delete deletes a snapshot and frees what it takes. The error is coded NotFound when there
// is none of this name. Whoever is reading it gets an error.
func (s Snapshots) Delete(ctx context.Context, name string) error {
	if err := s.delete(ctx, name); err != nil {
		return fmt.Errorf("delete snapshot %.64s: %w", name, err)
	}
	return nil
}

func (s Snapshots) delete(ctx context.Context, name string) error {
	d, err := s.find(ctx, name)
	if err != nil {
		return err
	}
	stream, err := s.stream(ctx)
	if err != nil {
		return err
	}
	if err := stream.Purge(ctx, jetstream.WithPurgeSubject(s.b.space.Snapshot(s.b.name, name))); err != nil {
		return coded(err)
	}
	// A crash here leaves content without a description, which the next Create sweeps away.
	return coded(stream.Purge(ctx, jetstream.WithPurgeSubject(s.b.space.SnapshotData(s.b.name, d.Data))))
}

func (s Snapshots) stream(ctx context.Context) (jetstream.Stream, error) {
	stream, err := s.b.js.Stream(ctx, s.b.space.SnapshotStream(s.b.name))
	if err != nil {
		return nil, s.missing(err)
	}
	return stream, nil
}

// counts says how many messages there are under each subject of a filter.
func (s Snapshots) counts(ctx context.Context, filter string) (map[string]uint64, error) {
	stream, err := s.stream(ctx)
	if err != nil {
		return nil, err
	}
	info, err := stream.Info(ctx, jetstream.WithSubjectFilter(filter))
	if err != nil {
		return nil, coded(err)
	}
	return info.State.Subjects, nil
}

// unfinished is after what time content without a description, to which nothing is added,
// is taken for the remains of a crash. One that is being written grows all the time, unless
// almost nothing of a very long history goes into it.
const unfinished = 24 * time.Hour

// sweep deletes the remains of snapshots that were never finished.
func (s Snapshots) sweep(ctx context.Context) error {
	data, err := s.counts(ctx, s.b.space.AllSnapshotData(s.b.name))
	if err != nil || len(data) == 0 {
		return err
	}
	all, err := s.list(ctx)
	if err != nil {
		return err
	}
	for _, d := range all {
		delete(data, s.b.space.SnapshotData(s.b.name, d.Data))
	}
	for subj := range data {
		m, err := s.b.lastMessage(ctx, s.b.space.SnapshotStream(s.b.name), subj)
		if err == nil && time.Since(m.Time) > unfinished {
			s.b.log.InfoContext(ctx, "remains of an unfinished snapshot are deleted", "subject", subj, "messages", strconv.FormatUint(data[subj], 10))
			s.purge(ctx, subj)
		}
	}
	return nil
}

// abandon deletes what a Create that failed has written. If it can't, a later one does.
func (s Snapshots) abandon(ctx context.Context, data string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tailSetup)
	defer cancel()
	s.purge(ctx, s.b.space.SnapshotData(s.b.name, data))
}

func (s Snapshots) purge(ctx context.Context, subj string) {
	stream, err := s.stream(ctx)
	if err == nil {
		err = stream.Purge(ctx, jetstream.WithPurgeSubject(subj))
	}
	if err != nil {
		s.b.log.WarnContext(ctx, "content of an unfinished snapshot stays for now", "subject", subj, "error", err)
	}
}
