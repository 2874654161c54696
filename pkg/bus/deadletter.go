package bus

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/signalmesh/signalmesh/pkg/delivery"
	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/internal/pull"
	"github.com/signalmesh/signalmesh/pkg/subject"
)

// DeadLetters are the deliveries of a bus that ended without success. Each is one JSON
// document (delivery.Letter) in the stream of dead letters, under a subject that ends in its
// id, where the plain NATS tools find it:
//
//	nats stream view SIG_default_DLQ
//	nats req '$JS.API.STREAM.MSG.GET.SIG_default_DLQ' '{"last_by_subj":"sig-dlq.default.*.*.<id>"}'
//
// The engine keeps about 300 bytes of memory per letter.
type DeadLetters struct{ b *Bus }

// DeadLetters are those of the bus.
func (b *Bus) DeadLetters() DeadLetters { return DeadLetters{b} }

// A LetterFilter selects dead letters. The zero filter selects all, oldest first.
type LetterFilter struct {
	Kind        delivery.Kind
	Name        string // of the route or subscription; needs Kind
	Target      string
	Fingerprint string
	Reason      delivery.Reason
	Since       time.Time // given up at this time or later
	Newest      bool      // newest first
	Limit       int       // 0: no limit
}

func (f LetterFilter) keeps(l delivery.Letter) bool {
	return (f.Target == "" || l.Target == f.Target) &&
		(f.Fingerprint == "" || l.Fingerprint == f.Fingerprint) &&
		(f.Reason == "" || l.Reason == f.Reason) &&
		(f.Since.IsZero() || !l.LastAt.Before(f.Since))
}

// Write stores a letter and returns when it is stored. A letter with the id of one that is
// there is taken for a repeat of it, and takes its place only if it has more redrives behind
// it or is about another position. A letter without an id gets one from its kind, name,
// target and position. What makes it larger than a message may be is left out: the answers
// of receivers first, then all attempts but the last, then the signal, then the history.
func (d DeadLetters) Write(ctx context.Context, l delivery.Letter) error {
	l.Bus = d.b.name
	if l.ID == "" {
		l.ID = subject.Key(fmt.Sprintf("%s\x00%s\x00%s\x00%d", l.Kind, l.Name, l.Target, l.Sequence))
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	if err := d.write(ctx, l); err != nil {
		return fmt.Errorf("write dead letter %.64s: %w", l.ID, err)
	}
	return nil
}

func (d DeadLetters) write(ctx context.Context, l delivery.Letter) error {
	if l.Kind == "" || l.Name == "" || subject.CheckName("dead letter", l.ID) != nil {
		return fault.Newf(fault.Invalid, "kind %q, name %q or id is missing or malformed", l.Kind, l.Name)
	}
	body, err := d.encode(l)
	if err != nil {
		return err
	}
	m := &nats.Msg{Subject: d.subject(l), Data: body, Header: nats.Header{}}
	for range races {
		old, at, err := d.last(ctx, m.Subject)
		switch {
		case err == nil && len(old.Redrives) >= len(l.Redrives) && old.Sequence == l.Sequence:
			return nil
		case err != nil && !fault.Is(err, fault.NotFound):
			return err
		}
		m.Header[jetstream.ExpectedLastSubjSeqHeader] = []string{strconv.FormatUint(at, 10)}
		_, err = d.b.send(ctx, m)
		switch {
		case err == nil && at > 0:
			return d.remove(ctx, at)
		case !isWrongLast(err):
			return err
		}
	}
	return fault.Newf(fault.Unavailable, "others keep writing it")
}

// encode leaves out what does not fit.
func (d DeadLetters) encode(l delivery.Letter) ([]byte, error) {
	shrink := []func(){
		func() {},
		func() {
			l.Attempts = slices.Clone(l.Attempts)
			for i := range l.Attempts {
				l.Attempts[i].Response = ""
			}
		},
		func() { l.Attempts = l.Attempts[max(len(l.Attempts)-1, 0):] },
	}
	if l.Sequence > 0 { // what lies there is meant then; without it nothing else has the content
		shrink = append(shrink, func() { l.Signal, l.Raw, l.Header = nil, nil, nil })
	}
	for _, less := range shrink {
		less()
		body, err := json.Marshal(l)
		if err != nil {
			return nil, fault.Wrap(fault.Invalid, err)
		}
		if d.b.fits(len(body)) {
			return body, nil
		}
	}
	return nil, fault.Newf(fault.TooLarge, "dead letter does not fit into a message")
}

func withoutResponses(attempts []delivery.Attempt) []delivery.Attempt {
	attempts = slices.Clone(attempts)
	for i := range attempts {
		attempts[i].Response = ""
	}
	return attempts
}

func lastOf[T any](all []T) []T { return all[max(len(all)-1, 0):] }

func (d DeadLetters) subject(l delivery.Letter) string {
	return d.b.space.DeadLetter(d.b.name, string(l.Kind), l.Name) + "." + l.ID
}

// List yields the letters that the filter selects and that are there when it begins. An
// error is yielded once and ends it.
func (d DeadLetters) List(ctx context.Context, f LetterFilter) iter.Seq2[delivery.Letter, error] {
	return func(yield func(delivery.Letter, error) bool) {
		for l, err := range d.selected(ctx, f) {
			if err != nil {
				err = fmt.Errorf("list dead letters: %w", err)
			}
			if !yield(l.Letter, err) {
				return
			}
		}
	}
}

// placed is a letter and where it lies.
type placed struct {
	delivery.Letter
	at uint64
}

// selected yields what the filter selects, in one way through the stream.
func (d DeadLetters) selected(ctx context.Context, f LetterFilter) iter.Seq2[placed, error] {
	return func(yield func(placed, error) bool) {
		n := 0
		for m, err := range d.scan(ctx, f) {
			if err != nil {
				yield(placed{}, err)
				return
			}
			l, err := readLetter(m.Subject, m.Data)
			if err != nil || !f.keeps(l) {
				continue // not ours, or not asked for
			}
			if n++; !yield(placed{l, m.Sequence}, nil) || n == f.Limit {
				return
			}
		}
	}
}

// scan yields the messages of the letters that may be selected, in the order asked for.
func (d DeadLetters) scan(ctx context.Context, f LetterFilter) iter.Seq2[*pull.Msg, error] {
	sc := scan{stream: d.b.space.DeadStream(d.b.name), filters: d.filters(f), start: start{given: true, sequence: 1}}
	if !f.Since.IsZero() && !f.Newest {
		sc.start.time = f.Since // a letter is stored after it was given up
	}
	if !f.Newest {
		return d.b.scan(ctx, sc)
	}
	return func(yield func(*pull.Msg, error) bool) {
		if err := d.backwards(ctx, sc, yield); err != nil {
			yield(nil, err)
		}
	}
}

// pageBack is how many positions are read at once on the way back.
const pageBack = 500

// backwards yields the messages of a scan from the last to the first, page by page.
func (d DeadLetters) backwards(ctx context.Context, sc scan, yield func(*pull.Msg, error) bool) error {
	s, err := d.b.js.Stream(ctx, sc.stream)
	if err != nil {
		return coded(err)
	}
	first, last := s.CachedInfo().State.FirstSeq, s.CachedInfo().State.LastSeq
	for last >= first && last > 0 {
		sc.until = last
		sc.start.sequence = max(first, last-min(last, pageBack)+1)
		var page []*pull.Msg
		for m, err := range d.b.scan(ctx, sc) {
			if err != nil {
				return err
			}
			page = append(page, m)
		}
		for _, m := range slices.Backward(page) {
			if !yield(m, nil) {
				return nil
			}
		}
		last = sc.start.sequence - 1
	}
	return nil
}

func (d DeadLetters) filters(f LetterFilter) []string {
	if f.Kind == "" {
		return nil
	}
	if f.Name != "" {
		return []string{d.b.space.DeadLetter(d.b.name, string(f.Kind), f.Name) + ".*"}
	}
	return []string{strings.TrimSuffix(d.b.space.DeadLetter(d.b.name, string(f.Kind), "x"), "x") + ">"}
}

// Get returns the letter with this id; the error is coded NotFound when there is none.
func (d DeadLetters) Get(ctx context.Context, id string) (delivery.Letter, error) {
	l, _, err := d.find(ctx, id)
	if err != nil {
		return delivery.Letter{}, fmt.Errorf("get dead letter %.64s: %w", id, err)
	}
	return l, nil
}

// find returns a letter and its position.
func (d DeadLetters) find(ctx context.Context, id string) (delivery.Letter, uint64, error) {
	if err := subject.CheckName("dead letter", id); err != nil {
		return delivery.Letter{}, 0, fault.Wrap(fault.NotFound, err)
	}
	// The engine looks through all subjects for it: a tenth of a millisecond with 10,000 letters.
	return d.last(ctx, strings.TrimSuffix(d.b.space.AllDead(d.b.name), ">")+"*.*."+id)
}

// last returns the last letter under a subject and its position.
func (d DeadLetters) last(ctx context.Context, subj string) (delivery.Letter, uint64, error) {
	m, err := d.b.lastMessage(ctx, d.b.space.DeadStream(d.b.name), subj)
	if err != nil {
		return delivery.Letter{}, 0, err
	}
	l, err := readLetter(m.Subject, m.Data)
	return l, m.Sequence, err
}

// readLetter takes the id from the subject, which says it also of a letter whose document
// does not.
func readLetter(subj string, body []byte) (delivery.Letter, error) {
	var l delivery.Letter
	if err := json.Unmarshal(body, &l); err != nil {
		return l, fault.Wrap(fault.Invalid, err)
	}
	l.ID = subj[strings.LastIndexByte(subj, '.')+1:]
	return l, nil
}

// Discard deletes a letter for good; the error is coded NotFound when there is none.
func (d DeadLetters) Discard(ctx context.Context, id string) error {
	_, at, err := d.find(ctx, id)
	if err == nil || at > 0 { // also one that can't be read
		err = d.remove(ctx, at)
	}
	if err != nil {
		return fmt.Errorf("discard dead letter %.64s: %w", id, err)
	}
	return nil
}

// DiscardAll deletes what the filter selects for good and says how many that were. The
// first error ends it.
func (d DeadLetters) DiscardAll(ctx context.Context, f LetterFilter) (int, error) {
	var n atomic.Int64
	err := d.each(ctx, f, 0, func(ctx context.Context, l placed) error {
		err := d.remove(ctx, l.at)
		if err == nil {
			n.Add(1)
		}
		return err
	})
	if err != nil {
		return int(n.Load()), fmt.Errorf("discard dead letters: %w", err)
	}
	return int(n.Load()), nil
}

// remove deletes what lies at a position of the dead letters, if it is still there.
func (d DeadLetters) remove(ctx context.Context, at uint64) error {
	stream := d.b.space.DeadStream(d.b.name)
	ctx, cancel := bounded(ctx)
	defer cancel()
	r, err := d.b.nc.RequestWithContext(ctx, apiPrefix(d.b.js.Options())+"STREAM.MSG.DELETE."+stream, fmt.Appendf(nil, `{"seq":%d,"no_erase":true}`, at))
	if err != nil {
		return coded(err)
	}
	var answer struct {
		Error *jetstream.APIError `json:"error"`
	}
	if err := json.Unmarshal(r.Data, &answer); err != nil {
		return fault.Wrap(fault.Internal, err)
	}
	if answer.Error == nil || !d.there(ctx, at) { // the engine has several ways to say that it is gone
		return nil
	}
	return coded(answer.Error)
}

// there reports whether a letter still lies at a position, as far as anybody knows.
func (d DeadLetters) there(ctx context.Context, at uint64) bool {
	_, err := d.b.askLeader(ctx, d.b.space.DeadStream(d.b.name), fmt.Appendf(nil, `{"seq":%d}`, at))
	return !fault.Is(err, fault.NotFound)
}
