package journal

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/signalmesh/signalmesh/pkg/fault"
)

const (
	readTimeout = 5 * time.Second // when the context has no nearer end
	readBytes   = 1 << 20         // after which the server ends an answer, to be continued
	maxReads    = 32              // answers on their way at once: 32 MB at most
)

// directGet is the API that reads a stream without its leader; see the package comment.
const directGet = "$JS.API.DIRECT.GET."

// errTooMany is the server's refusal to find the last message of more than 1024 subjects.
var errTooMany = errors.New("more than 1024 keys")

// request is the body of a direct get.
type request struct {
	Sequence  uint64   `json:"seq,omitempty"`
	MultiLast []string `json:"multi_last,omitempty"`
	NextBy    string   `json:"next_by_subj,omitempty"`
	LastBy    string   `json:"last_by_subj,omitempty"`
	StartTime string   `json:"start_time,omitempty"`
	Batch     int      `json:"batch,omitempty"`
	MaxBytes  int      `json:"max_bytes,omitempty"`
}

// stored is one message as it lies in a stream.
type stored struct {
	subject  string
	sequence uint64
	at       time.Time
	header   nats.Header
	data     []byte
}

// deleted reports whether the key was deleted with KV tools.
func (m stored) deleted() bool { return m.header.Get("KV-Operation") != "" }

// answer is all that came for one request.
type answer struct {
	msgs []stored
	last uint64 // sequence of the last message
	more bool   // the server stopped early: go on after last
}

// reader asks the server for messages. All answers come in on one subscription and are told
// apart by a token; a subscription for each request costs several times the request.
type reader struct {
	nc     *nats.Conn
	sub    *nats.Subscription
	prefix string
	closed chan struct{}
	slots  chan struct{}

	mu    sync.Mutex
	next  uint64
	calls map[string]*call
}

// call is a request that is not answered yet. The subscription's goroutine alone writes it
// until done is closed.
type call struct {
	answer
	single bool // one message is the whole answer
	err    error
	done   chan struct{}
}

func newReader(nc *nats.Conn) (*reader, error) {
	r := &reader{
		nc: nc, prefix: nc.NewInbox() + ".", closed: make(chan struct{}),
		slots: make(chan struct{}, maxReads), calls: make(map[string]*call),
	}
	sub, err := nc.Subscribe(r.prefix+"*", r.receive)
	if err != nil {
		return nil, fault.Newf(fault.Unavailable, "subscribe to answers: %w", err)
	}
	if err := sub.SetPendingLimits(-1, -1); err != nil { // bounded by maxReads
		return nil, fault.Wrap(fault.Unavailable, err)
	}
	sub.SetClosedHandler(func(string) { close(r.closed) })
	r.sub = sub
	return r, nil
}

func (r *reader) close() { _ = r.sub.Unsubscribe() } // an error means it has ended already

// ask sends one request and waits for the whole answer.
func (r *reader) ask(ctx context.Context, stream string, q request) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	select {
	case r.slots <- struct{}{}:
		defer func() { <-r.slots }()
	case <-ctx.Done():
		return answer{}, fault.Wrap(fault.Unavailable, ctx.Err())
	}
	body, err := json.Marshal(q)
	if err != nil {
		return answer{}, err
	}
	token, c := r.register(q.Batch == 0 && len(q.MultiLast) == 0)
	defer r.forget(token)
	if err := r.nc.PublishRequest(directGet+stream, r.prefix+token, body); err != nil {
		return answer{}, fault.Wrap(fault.Unavailable, err)
	}
	select {
	case <-c.done:
		return c.answer, c.err
	case <-ctx.Done():
		return answer{}, fault.Newf(fault.Unavailable, "no answer: %w", ctx.Err())
	case <-r.closed:
		return answer{}, fault.Wrap(fault.Unavailable, nats.ErrConnectionClosed)
	}
}

func (r *reader) register(single bool) (string, *call) {
	c := &call{single: single, done: make(chan struct{})}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.next++
	token := strconv.FormatUint(r.next, 36)
	r.calls[token] = c
	return token, c
}

func (r *reader) forget(token string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.calls, token)
}

// receive takes one message of an answer.
func (r *reader) receive(m *nats.Msg) {
	token := m.Subject[len(r.prefix):]
	r.mu.Lock()
	c := r.calls[token]
	r.mu.Unlock()
	if c == nil || c.err != nil {
		return
	}
	if status := m.Header.Get("Status"); status != "" {
		c.end(status, m.Header)
	} else if c.take(m); c.err == nil && !c.single {
		return
	}
	r.forget(token) // so that nothing writes to it any more
	close(c.done)
}

// take adds one message to the answer.
func (c *call) take(m *nats.Msg) {
	seq, err := strconv.ParseUint(m.Header.Get("Nats-Sequence"), 10, 64)
	if err != nil {
		c.err = fault.Newf(fault.Internal, "answer without a sequence: %w", err)
		return
	}
	at, err := time.Parse(time.RFC3339Nano, m.Header.Get("Nats-Time-Stamp"))
	if err != nil {
		c.err = fault.Newf(fault.Internal, "answer without a time: %w", err)
		return
	}
	c.last = seq
	c.msgs = append(c.msgs, stored{m.Header.Get("Nats-Subject"), seq, at, m.Header, m.Data})
}

// end takes the status that ends an answer.
func (c *call) end(status string, h nats.Header) {
	text := h.Get("Description")
	switch {
	case status == "204":
		c.more = len(c.msgs) > 0 && h.Get("Nats-Num-Pending") != "0"
	case status == "404" && (strings.Contains(text, "No Results") || c.single || len(c.msgs) == 0):
	case status == "413":
		c.err = errTooMany
	case status == "503":
		c.err = fault.Newf(fault.Unavailable, "no stream answers")
	case status == "404":
		c.err = fault.Newf(fault.Unavailable, "a message went away while it was read")
	default:
		c.err = fault.Newf(fault.Internal, "refused with %s %s", status, text)
	}
}

// get reads the message at a position; ok is false if there is none any more.
func (r *reader) get(ctx context.Context, stream string, sequence uint64) (m stored, ok bool, err error) {
	a, err := r.ask(ctx, stream, request{Sequence: sequence})
	if err != nil || len(a.msgs) == 0 {
		return stored{}, false, err
	}
	return a.msgs[0], true, nil
}

// maxFilters is how many filters one request carries.
const maxFilters = 128

// all reads the last message of every key that passes one of the filters, markers of deleted
// keys among them. More filters than a request carries, and more keys than an answer may
// hold, are several requests.
func (r *reader) all(ctx context.Context, stream string, filters []string) ([]stored, error) {
	var out []stored
	for len(filters) > 0 {
		n := min(len(filters), maxFilters)
		for {
			msgs, err := r.some(ctx, stream, filters[:n])
			if errors.Is(err, errTooMany) && n > 1 {
				n /= 2
				continue
			}
			if err != nil {
				return nil, err
			}
			out, filters = append(out, msgs...), filters[n:]
			break
		}
	}
	return out, nil
}

// some is all for few filters. It returns errTooMany for more than one filter that together
// let through too many keys; a single such filter is read in pages.
func (r *reader) some(ctx context.Context, stream string, filters []string) ([]stored, error) {
	var out []stored
	from := uint64(0)
	for {
		a, err := r.ask(ctx, stream, request{MultiLast: filters, Sequence: from, MaxBytes: readBytes})
		if errors.Is(err, errTooMany) && len(filters) == 1 {
			a, err = r.walk(ctx, stream, filters[0], from, pageSize)
		}
		if err != nil {
			return nil, err
		}
		out = append(out, a.msgs...)
		if !a.more {
			return out, nil
		}
		from = a.last + 1
	}
}

// pageSize is how many keys one step of a walk reads.
const pageSize = 1000

// page reads up to limit keys that pass the filter, in the order in which they were written,
// from a position in the bucket's stream. next is 0 when there are no more.
func (r *reader) page(ctx context.Context, stream, filter string, from uint64, limit int) (msgs []stored, next uint64, err error) {
	for len(msgs) < limit {
		want := limit - len(msgs)
		a, err := r.ask(ctx, stream, request{MultiLast: []string{filter}, Sequence: from, Batch: want, MaxBytes: readBytes})
		if errors.Is(err, errTooMany) {
			a, err = r.walk(ctx, stream, filter, from, want)
		}
		if err != nil {
			return nil, 0, err
		}
		msgs = append(msgs, live(a.msgs)...)
		if !a.more {
			return msgs, 0, nil
		}
		from = a.last + 1
	}
	return msgs, from, nil
}

// walk reads up to n keys that pass the filter from a position on. It works for any number
// of keys, and makes the server look through everything that lies between them.
func (r *reader) walk(ctx context.Context, stream, filter string, from uint64, n int) (answer, error) {
	return r.ask(ctx, stream, request{NextBy: filter, Sequence: max(from, 1), Batch: min(n, pageSize), MaxBytes: readBytes})
}

// live leaves out the markers of deleted keys.
func live(msgs []stored) []stored {
	kept := msgs[:0]
	for _, m := range msgs {
		if !m.deleted() {
			kept = append(kept, m)
		}
	}
	return kept
}
