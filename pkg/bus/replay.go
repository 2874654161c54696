package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/signalmesh/signalmesh/pkg/codec"
	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/internal/pull"
	"github.com/signalmesh/signalmesh/pkg/pattern"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

// An Entry is a signal and where it lies on the bus.
type Entry struct {
	Signal   *signal.Signal
	Sequence uint64
	Stored   time.Time // when the bus got it
}

// Replay yields the signals of the bus whose type matches the pattern, in the order in which
// they were stored, from the oldest that is kept to the last one there was when the loop
// began; options narrow that, or go on with [Follow]. Nothing is acknowledged, and nobody
// else notices. What lies on the bus and is no signal is passed over.
//
// An error is yielded once, with a nil signal, and ends the loop: a bad pattern, a stream
// that is gone, a closed connection, or the end of ctx. A break ends it cleanly. A loop body
// that is slow holds up nothing but itself.
func (b *Bus) Replay(ctx context.Context, on string, opts ...ReplayOption) iter.Seq2[*signal.Signal, error] {
	return func(yield func(*signal.Signal, error) bool) {
		for e, err := range b.Entries(ctx, on, opts...) {
			if !yield(e.Signal, err) {
				return
			}
		}
	}
}

// Entries is [Bus.Replay] that says where each signal lies.
func (b *Bus) Entries(ctx context.Context, on string, opts ...ReplayOption) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		if err := b.entries(ctx, on, opts, yield); err != nil {
			yield(Entry{}, fmt.Errorf("replay %.256s: %w", on, err))
		}
	}
}

// entries returns nil when yield wants no more, too.
func (b *Bus) entries(ctx context.Context, on string, opts []ReplayOption, yield func(Entry, error) bool) error {
	p, cfg, err := replaying(on, opts)
	if err != nil {
		return err
	}
	return b.walk(ctx, p, cfg, func(m *pull.Msg, s *signal.Signal) bool {
		return yield(Entry{s, m.Sequence, m.Stored}, nil)
	})
}

// replaying reads what a replay was called with.
func replaying(on string, opts []ReplayOption) (pattern.Pattern, replayConfig, error) {
	cfg := replayConfig{start: start(FromOrigin().(startOption))}
	for _, o := range opts {
		o.replay(&cfg)
	}
	p, err := pattern.Parse(on)
	if err == nil && cfg.limit < 0 {
		err = fault.Newf(fault.Invalid, "limit %d is negative", cfg.limit)
	}
	return p, cfg, err
}

// walk hands over the signals of a replay, each with the message it came in.
func (b *Bus) walk(ctx context.Context, p pattern.Pattern, cfg replayConfig, yield func(*pull.Msg, *signal.Signal) bool) error {
	sc := scan{
		stream: b.space.Stream(b.name), filters: b.patternFilters([]pattern.Pattern{p}),
		start: cfg.start, follow: cfg.follow,
	}
	if cfg.last > 0 && !cfg.follow {
		last, err := b.Last(ctx)
		if err != nil {
			return err
		}
		sc.until = min(cfg.last, last)
	}
	n := 0
	for m, err := range b.scan(ctx, sc) {
		if err != nil {
			return err
		}
		if cfg.past(m.Sequence, m.Stored) {
			return nil
		}
		s, err := codec.FromNATS(m.Header, m.Data)
		if err == nil && p.Match(s.Type) && cfg.keeps(s) {
			if n++; !yield(m, s) || n == cfg.limit {
				return nil
			}
		}
		if m.Sequence == cfg.last {
			return nil
		}
	}
	return nil
}

// past reports whether a replay ends before this position.
func (c *replayConfig) past(sequence uint64, stored time.Time) bool {
	return c.last > 0 && sequence > c.last || !c.until.IsZero() && stored.After(c.until)
}

// keeps runs the filters of a replay.
func (c *replayConfig) keeps(s *signal.Signal) bool {
	if c.subject != "" && s.Subject != c.subject {
		return false
	}
	if id := c.correlation; id != "" && s.Correlation() != id && s.ID != id {
		return false
	}
	for _, f := range c.filters {
		if !f(s) {
			return false
		}
	}
	return true
}

// A scan is one way through a stream.
type scan struct {
	stream  string
	filters []string
	start   start
	until   uint64 // last position, 0 for what is last when it begins
	follow  bool
}

// idleCheck is after what silence a scan asks whether something is still to come.
const idleCheck = 2 * time.Second

// scan yields the messages of a stream in order. Where it ends is known before it begins, so
// that a stream which keeps growing does not keep it going.
func (b *Bus) scan(ctx context.Context, sc scan) iter.Seq2[*pull.Msg, error] {
	return func(yield func(*pull.Msg, error) bool) {
		if err := b.runScan(ctx, sc, func(m *pull.Msg) bool { return yield(m, nil) }); err != nil {
			yield(nil, err)
		}
	}
}

func (b *Bus) runScan(ctx context.Context, sc scan, yield func(*pull.Msg) bool) error {
	config := jetstream.ConsumerConfig{FilterSubjects: sc.filters}
	end, err := b.scanEnd(ctx, &config, sc)
	if err != nil || end == 0 && !sc.follow {
		return err
	}
	found, stop := make(chan *pull.Msg), make(chan struct{})
	t, pending, err := b.newTail(ctx, sc.stream, config, func(m *pull.Msg) {
		select {
		case found <- m:
		case <-stop:
		}
	})
	if t != nil {
		defer func() {
			close(stop)
			t.Stop()
			<-t.Done()
		}()
	}
	if err != nil {
		return err
	}
	seen := uint64(0)
	if pending == 0 && !sc.follow {
		if over, err := b.over(ctx, sc, seen, end); over || err != nil {
			return err
		}
	}
	idle := time.NewTicker(idleCheck)
	defer idle.Stop()
	for {
		select {
		case m := <-found:
			if !sc.follow && m.Sequence > end {
				return nil
			}
			if !yield(m) {
				return nil
			}
			seen = m.Sequence
			if !sc.follow && m.Pending == 0 {
				if over, err := b.over(ctx, sc, seen, end); over || err != nil {
					return err
				}
			}
			if !sc.follow && seen >= end {
				return nil
			}
			idle.Reset(idleCheck)
		case <-idle.C:
			// A message that was counted may have been deleted since.
			if left, err := t.waiting(ctx); sc.follow || err != nil || left > 0 || t.current().Buffered() > 0 {
				continue
			}
			if over, err := b.over(ctx, sc, seen, end); over || err != nil {
				return err
			}
		case <-t.Done():
			if err := t.Err(); err != nil {
				return err
			}
			return errClosed
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// over reports whether a scan that has got this far, and whose consumer knows of nothing
// more, has had everything up to its end. The consumer lives with one replica, which may be
// behind; the leader knows. A scan from a time on that has not met anything yet believes
// the consumer.
func (b *Bus) over(ctx context.Context, sc scan, seen, end uint64) (bool, error) {
	from := max(seen+1, sc.start.sequence)
	if from > end || seen == 0 && !sc.start.time.IsZero() {
		return true, nil
	}
	filters := sc.filters
	if len(filters) == 0 {
		filters = []string{">"}
	}
	for _, f := range filters {
		m, err := b.nextMessage(ctx, sc.stream, f, from)
		switch {
		case fault.Is(err, fault.NotFound):
		case err != nil:
			return false, err
		case m.Sequence <= end:
			return false, nil
		}
	}
	return true, nil
}

// scanEnd completes config with the beginning and returns the last position.
func (b *Bus) scanEnd(ctx context.Context, config *jetstream.ConsumerConfig, sc scan) (end uint64, err error) {
	end = sc.until
	current := sc.start.sequence == 0 && sc.start.time.IsZero()
	if end == 0 && !sc.follow || current {
		last, err := b.lastOf(ctx, sc.stream)
		if err != nil {
			return 0, err
		}
		if current {
			sc.start.sequence = last + 1
		}
		if end == 0 {
			end = last
		}
	}
	if !sc.follow && sc.start.time.IsZero() && sc.start.sequence > end {
		return 0, nil
	}
	return end, b.begin(ctx, config, sc.start)
}

// Last is the position of the last signal that was stored; 0 when there never was one.
func (b *Bus) Last(ctx context.Context) (uint64, error) {
	return b.lastOf(ctx, b.space.Stream(b.name))
}

func (b *Bus) lastOf(ctx context.Context, stream string) (uint64, error) {
	s, err := b.js.Stream(ctx, stream)
	if err != nil {
		return 0, coded(err)
	}
	return s.CachedInfo().State.LastSeq, nil
}

// Get returns the signal at a position. The error is coded NotFound when there is none (any
// more), and Invalid when what lies there is not a signal.
func (b *Bus) Get(ctx context.Context, sequence uint64) (Entry, error) {
	e, err := b.get(ctx, sequence)
	if err != nil {
		return Entry{}, fmt.Errorf("get signal at %d: %w", sequence, err)
	}
	return e, nil
}

func (b *Bus) get(ctx context.Context, sequence uint64) (Entry, error) {
	m, err := b.stream.GetMsg(ctx, sequence)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		// A replica may not have it yet.
		m, err = b.askLeader(ctx, b.space.Stream(b.name), fmt.Appendf(nil, `{"seq":%d}`, sequence))
	}
	if err != nil {
		return Entry{}, coded(err)
	}
	s, err := codec.FromNATS(m.Header, m.Data)
	if err != nil {
		return Entry{}, err
	}
	return Entry{s, m.Sequence, m.Time}, nil
}

// askLeader reads one message in the way that is never behind.
func (b *Bus) askLeader(ctx context.Context, stream string, body []byte) (*jetstream.RawStreamMsg, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	r, err := b.nc.RequestWithContext(ctx, apiPrefix(b.js.Options())+"STREAM.MSG.GET."+stream, body)
	if err != nil {
		return nil, coded(err)
	}
	var answer struct {
		Error   *jetstream.APIError `json:"error"`
		Message *struct {
			Subject  string    `json:"subject"`
			Sequence uint64    `json:"seq"`
			Time     time.Time `json:"time"`
			Header   []byte    `json:"hdrs"`
			Data     []byte    `json:"data"`
		} `json:"message"`
	}
	if err := json.Unmarshal(r.Data, &answer); err != nil {
		return nil, fault.Wrap(fault.Internal, err)
	}
	if answer.Error != nil {
		return nil, coded(answer.Error)
	}
	if answer.Message == nil {
		return nil, coded(jetstream.ErrMsgNotFound)
	}
	m := &jetstream.RawStreamMsg{Subject: answer.Message.Subject, Sequence: answer.Message.Sequence, Time: answer.Message.Time, Data: answer.Message.Data}
	if len(answer.Message.Header) > 0 {
		if m.Header, err = nats.DecodeHeadersMsg(answer.Message.Header); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// apiPrefix is where the JetStream API listens for this client.
func apiPrefix(o jetstream.JetStreamOptions) string {
	switch {
	case o.APIPrefix != "":
		return strings.TrimSuffix(o.APIPrefix, ".") + "."
	case o.Domain != "":
		return "$JS." + o.Domain + ".API."
	}
	return "$JS.API."
}

// lastMessage returns the last message of a stream under a subject, which may have
// wildcards, as its leader knows it.
func (b *Bus) lastMessage(ctx context.Context, stream, subj string) (*jetstream.RawStreamMsg, error) {
	return b.askLeader(ctx, stream, fmt.Appendf(nil, `{"last_by_subj":%q}`, subj))
}

// nextMessage returns the first message of a stream at a position or after it under a
// subject, which may have wildcards, as its leader knows it.
func (b *Bus) nextMessage(ctx context.Context, stream, subj string, sequence uint64) (*jetstream.RawStreamMsg, error) {
	return b.askLeader(ctx, stream, fmt.Appendf(nil, `{"next_by_subj":%q,"seq":%d}`, subj, sequence))
}
