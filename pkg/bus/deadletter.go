package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
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
		old, at, err := d.find(ctx, l.ID)
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
		n := 0
		for m, err := range d.scan(ctx, f) {
			if err != nil {
				yield(delivery.Letter{}, fmt.Errorf("list dead letters: %w", err))
				return
			}
			l, err := readLetter(m.Subject, m.Data)
			if err != nil || !f.keeps(l) {
				continue // not ours, or not asked for
			}
			if n++; !yield(l, nil) || n == f.Limit {
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
	any := strings.TrimSuffix(d.b.space.AllDead(d.b.name), ">") + "*.*." + id
	m, err := d.b.lastMessage(ctx, d.b.space.DeadStream(d.b.name), any)
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

// Redrive has exactly the delivery of a letter run once more, in the name of whoever orders
// it, and takes the letter away. If it fails again the letter comes back under the same id
// with its history. It returns when that is stored; a crash in between leaves the letter
// there as well.
func (d DeadLetters) Redrive(ctx context.Context, id, by string) error {
	ctx, cancel := bounded(ctx)
	defer cancel()
	l, at, err := d.find(ctx, id)
	if err == nil {
		err = d.redrive(ctx, l, at, by)
	}
	if err != nil {
		return fmt.Errorf("redrive dead letter %.64s: %w", id, err)
	}
	return nil
}

func (d DeadLetters) redrive(ctx context.Context, l delivery.Letter, at uint64, by string) error {
	if l.Kind != delivery.KindRoute && l.Kind != delivery.KindSubscription {
		return fault.Newf(fault.Invalid, "a dead letter of kind %s has no receiver to be delivered to", l.Kind)
	}
	if len(l.Signal) == 0 {
		if _, err := d.b.Get(ctx, l.Sequence); err != nil {
			return fmt.Errorf("the letter does not carry its signal: %w", err)
		}
	}
	now := time.Now()
	if err := d.b.later(ctx, fmt.Sprintf("redrive-%s-%d-%d", l.ID, at, len(l.Redrives)), l.Request(now, by), now); err != nil {
		return err
	}
	return d.remove(ctx, at)
}

// RedriveAll redrives what the filter selects and says how many deliveries that were. The
// first error ends it.
func (d DeadLetters) RedriveAll(ctx context.Context, f LetterFilter, by string) (int, error) {
	n := 0
	for l, err := range d.List(ctx, f) {
		if err == nil {
			err = d.Redrive(ctx, l.ID, by)
		}
		if err != nil && !fault.Is(err, fault.NotFound) { // someone else has just taken it
			return n, err
		}
		if err == nil {
			n++
		}
	}
	return n, nil
}

// Discard deletes a letter for good; the error is coded NotFound when there is none.
func (d DeadLetters) Discard(ctx context.Context, id string) error {
	_, at, err := d.find(ctx, id)
	if err == nil || at > 0 {
		err = d.remove(ctx, at)
	}
	if err != nil {
		return fmt.Errorf("discard dead letter %.64s: %w", id, err)
	}
	return nil
}

// remove deletes what lies at a position of the dead letters, if it is still there.
func (d DeadLetters) remove(ctx context.Context, at uint64) error {
	s, err := d.b.js.Stream(ctx, d.b.space.DeadStream(d.b.name))
	if err != nil {
		return coded(err)
	}
	if err := s.DeleteMsg(ctx, at); err != nil && !errors.Is(err, jetstream.ErrMsgNotFound) && !errors.Is(err, jetstream.ErrMsgDeleteUnsuccessful) {
		return coded(err)
	}
	return nil
}
