package bus

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"hash"
	"io"
	"iter"
	"maps"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/signalmesh/signalmesh/pkg/codec"
	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/internal/pull"
)

// The content of a snapshot is a gzip file of records, cut into messages. So it does not
// matter how large a signal is compared to a message.
const (
	chunkSize   = 256 << 10
	headerChunk = "Signalmesh-Chunk" // number of the message, from 1
	maxRecord   = 64 << 20           // of header and body; more is damage
)

// A record is one signal of a snapshot as it lay on the bus: position and time, header and
// body. Written down, the numbers and the lengths in front of header and body are varints,
// and the header is JSON, or nothing.
type record struct {
	sequence uint64
	stored   time.Time
	header   map[string][]string
	body     []byte
}

// append writes the record down. What the engine needed of the header is left out.
func (r record) append(dst []byte) ([]byte, error) {
	header := maps.Clone(r.header)
	maps.DeleteFunc(header, func(name string, _ []string) bool { return strings.HasPrefix(strings.ToLower(name), "nats-") })
	var text []byte
	if len(header) > 0 {
		var err error
		if text, err = json.Marshal(header); err != nil {
			return nil, fault.Wrap(fault.Internal, err)
		}
	}
	dst = binary.AppendUvarint(dst, r.sequence)
	dst = binary.AppendVarint(dst, r.stored.UnixNano())
	dst = append(binary.AppendUvarint(dst, uint64(len(text))), text...)
	return append(binary.AppendUvarint(dst, uint64(len(r.body))), r.body...), nil
}

// entry reads the signal in the record.
func (r record) entry() (Entry, error) {
	s, err := codec.FromNATS(r.header, r.body)
	if err != nil {
		return Entry{}, fault.Newf(fault.Internal, "signal at %d: %w", r.sequence, err)
	}
	return Entry{s, r.sequence, r.stored}, nil
}

// readRecord reads what append wrote; io.EOF means that there is no more.
func readRecord(in *bufio.Reader) (r record, err error) {
	if r.sequence, err = binary.ReadUvarint(in); err != nil {
		return r, err
	}
	at, err := binary.ReadVarint(in)
	if err != nil {
		return r, cutShort(err)
	}
	r.stored = time.Unix(0, at).UTC()
	text, err := readBytes(in)
	if err == nil && len(text) > 0 {
		err = json.Unmarshal(text, &r.header)
	}
	if err == nil {
		r.body, err = readBytes(in)
	}
	return r, cutShort(err)
}

func readBytes(in *bufio.Reader) ([]byte, error) {
	n, err := binary.ReadUvarint(in)
	if err != nil || n == 0 {
		return nil, err
	}
	if n > maxRecord {
		return nil, errors.New("a length makes no sense")
	}
	b := make([]byte, n)
	_, err = io.ReadFull(in, b)
	return b, err
}

// cutShort is the error of a record that has begun.
func cutShort(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// A snapshotWriter writes the content of a snapshot and notes in d what that comes to.
type snapshotWriter struct {
	ctx  context.Context //nolint:containedctx // of the one call that the writer lives for
	b    *Bus
	d    *Snapshot
	sum  hash.Hash
	zip  *gzip.Writer
	next bytes.Buffer // of the next message
	size int          // of a message
	line []byte
}

func newSnapshotWriter(ctx context.Context, b *Bus, d *Snapshot) *snapshotWriter {
	w := &snapshotWriter{ctx: ctx, b: b, d: d, sum: sha256.New(), size: chunkSize}
	if limit := b.nc.MaxPayload(); limit > 0 {
		w.size = max(min(w.size, int(limit)-roomForHeaders), 1)
	}
	w.zip, _ = gzip.NewWriterLevel(&w.next, gzip.BestSpeed) // the level exists
	return w
}

func (w *snapshotWriter) add(r record) error {
	line, err := r.append(w.line[:0])
	if err != nil {
		return err
	}
	w.line = line
	if w.d.Signals++; w.d.Signals == 1 {
		w.d.First, w.d.Oldest = r.sequence, r.stored
	}
	w.d.Last, w.d.Newest = r.sequence, r.stored
	w.d.Bytes += int64(len(r.body))
	w.sum.Write(line)
	if _, err := w.zip.Write(line); err != nil {
		return err
	}
	return w.flush(w.size)
}

// flush stores full messages as long as there is at least so much.
func (w *snapshotWriter) flush(least int) error {
	for w.next.Len() >= least && w.next.Len() > 0 {
		if err := w.store(w.next.Next(w.size)); err != nil {
			return err
		}
	}
	return nil
}

// store stores one message. Its id keeps it from being stored twice within the dedup window,
// its number lets a reader notice after that.
func (w *snapshotWriter) store(chunk []byte) error {
	w.d.Chunks++
	w.d.Stored += int64(len(chunk))
	n := strconv.Itoa(w.d.Chunks)
	m := nats.NewMsg(w.b.space.SnapshotData(w.b.name, w.d.Data))
	m.Data = chunk
	m.Header.Set(jetstream.MsgIDHeader, w.d.Data+"."+n)
	m.Header.Set(headerChunk, n)
	ctx, cancel := bounded(w.ctx)
	defer cancel()
	_, err := w.b.send(ctx, m)
	return err
}

func (w *snapshotWriter) close() error {
	if err := w.zip.Close(); err != nil {
		return err
	}
	w.d.Digest = hex.EncodeToString(w.sum.Sum(nil))
	return w.flush(1)
}

// records yields the content of a snapshot. An error ends it: content that is gone, or is
// not what was written.
func (s Snapshots) records(ctx context.Context, d Snapshot) iter.Seq2[record, error] {
	return func(yield func(record, error) bool) {
		next, stop := iter.Pull2(s.chunks(ctx, d))
		defer stop()
		if err := readRecords(&chunkReader{next: next}, d, func(r record) bool { return yield(r, nil) }); err != nil {
			yield(record{}, coded(err))
		}
	}
}

func readRecords(content io.Reader, d Snapshot, yield func(record) bool) error {
	zip, err := gzip.NewReader(content)
	if err != nil {
		return damaged(err)
	}
	sum := sha256.New()
	in := bufio.NewReaderSize(io.TeeReader(zip, sum), 64<<10)
	n := 0
	for {
		r, err := readRecord(in)
		switch {
		case err == nil:
		case errors.Is(err, io.EOF):
			if got := hex.EncodeToString(sum.Sum(nil)); n != d.Signals || got != d.Digest {
				return fault.Newf(fault.Internal, "damaged: %d signals with digest %s, want %d with %s", n, got, d.Signals, d.Digest)
			}
			return nil
		default:
			return damaged(err)
		}
		if n++; !yield(r) {
			return nil
		}
	}
}

// damaged tells content that makes no sense from a server that does not answer.
func damaged(err error) error {
	if code := fault.CodeOf(coded(err)); code != fault.Internal {
		return err
	}
	return fault.Newf(fault.Internal, "damaged: %w", err)
}

// chunks yields the messages of a snapshot's content, each once and without gaps.
func (s Snapshots) chunks(ctx context.Context, d Snapshot) iter.Seq2[[]byte, error] {
	sc := scan{
		stream: s.b.space.SnapshotStream(s.b.name), filters: []string{s.b.space.SnapshotData(s.b.name, d.Data)},
		start: start{given: true, sequence: 1},
	}
	return func(yield func([]byte, error) bool) {
		n := 0
		for m, err := range s.b.scan(ctx, sc) {
			if err == nil && number(m) == n { // stored once more by a try whose answer got lost
				continue
			}
			if n++; err == nil && number(m) != n {
				err = errGone
			}
			if err != nil {
				yield(nil, err)
				return
			}
			if !yield(m.Data, nil) || n == d.Chunks {
				return
			}
		}
		yield(nil, errGone)
	}
}

var errGone = fault.Newf(fault.NotFound, "its content is gone; was it deleted meanwhile?")

func number(m *pull.Msg) int {
	n, _ := strconv.Atoi(m.Header.Get(headerChunk)) // 0 is never expected
	return n
}

// A chunkReader reads messages as one file.
type chunkReader struct {
	next func() ([]byte, error, bool)
	rest []byte
}

func (c *chunkReader) Read(p []byte) (int, error) {
	for len(c.rest) == 0 {
		chunk, err, ok := c.next()
		if !ok {
			return 0, io.EOF
		}
		if err != nil {
			return 0, err
		}
		c.rest = chunk
	}
	n := copy(p, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

var _ io.Reader = (*chunkReader)(nil)
