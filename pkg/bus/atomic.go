package bus

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/signal"
	"github.com/signalmesh/signalmesh/pkg/subject"
)

// The atomic batch protocol of the engine (ADR-50): messages with one id and a running
// number, staged until one with the commit header stores them all or none.
const (
	headerBatchID       = "Nats-Batch-Id"
	headerBatchSequence = "Nats-Batch-Sequence"
	headerBatchCommit   = "Nats-Batch-Commit"
	batchCommit         = "1"
)

// races is how often a batch is put together anew because somebody stored one of its
// members in between.
const races = 8

// storeBatch stores what came through the middleware all or nothing, as far as it is not
// there already.
//
// The engine refuses a batch with a duplicate in it without saying which member it is. That
// is found out by staging members together with one that is certain to be refused: the
// refusal says whether it was for a duplicate, and nothing is stored. What is left is new
// and goes as one batch.
func (b *Bus) storeBatch(ctx context.Context, p *publication, left []outgoing) error {
	for range races {
		if len(left) == 0 {
			return nil
		}
		if len(left) == 1 {
			return b.storeOne(ctx, p, left[0])
		}
		p.expect.set(b, left[0].msg)
		first, err := b.commitBatch(ctx, left)
		switch {
		case err == nil:
			for i, o := range left {
				p.note(o, stored{sequence: first + uint64(i)})
			}
			return nil
		case isWrongLast(err) && p.expect.given:
			return conflict(p.expect, err)
		case apiCode(err) == codeBatchDisabled:
			return b.storeEach(ctx, p, left)
		case apiCode(err) != codeBatchDuplicate:
			return coded(err)
		}
		if left, err = b.without(ctx, p, left); err != nil {
			return err
		}
	}
	return fault.Newf(fault.Unavailable, "others keep publishing the same signals")
}

// storeEach is for a server without batches.
func (b *Bus) storeEach(ctx context.Context, p *publication, left []outgoing) error {
	for _, o := range left {
		if err := b.storeOne(ctx, p, o); err != nil {
			return err
		}
	}
	return nil
}

// commitBatch stores the members all or nothing and returns the position of the first. It
// tries again while nobody answers: if the answer got lost, the next try finds duplicates.
func (b *Bus) commitBatch(ctx context.Context, members []outgoing) (first uint64, err error) {
	name := batchName(members)
	for try := 0; ; try++ {
		last, err := b.stage(ctx, name+"."+signal.NewID().String(), messages(members))
		if err == nil {
			return last - uint64(len(members)-1), nil
		}
		if !transient(err) || !pause(ctx, try) {
			return 0, unanswered(ctx, err)
		}
	}
}

func messages(members []outgoing) []*nats.Msg {
	msgs := make([]*nats.Msg, len(members))
	for i, o := range members {
		msgs[i] = o.msg
	}
	return msgs
}

// batchName is the same for the same signals, by which a batch is known again.
func batchName(members []outgoing) string {
	ids := make([]string, len(members))
	for i, o := range members {
		ids[i] = o.id
	}
	return subject.Key(strings.Join(ids, "\x00"))
}

// single returns a copy of m whose headers may be changed.
func single(m *nats.Msg) *nats.Msg {
	return &nats.Msg{Subject: m.Subject, Data: m.Data, Header: maps.Clone(m.Header)}
}

// stage sends the messages as one batch and returns the position of the last.
func (b *Bus) stage(ctx context.Context, id string, msgs []*nats.Msg) (last uint64, err error) {
	for i, m := range msgs {
		staged := single(m)
		staged.Header[headerBatchID] = []string{id}
		staged.Header[headerBatchSequence] = []string{strconv.Itoa(i + 1)}
		if i < len(msgs)-1 {
			if err := b.nc.PublishMsg(staged); err != nil {
				return 0, err
			}
			continue
		}
		staged.Header[headerBatchCommit] = []string{batchCommit}
		ack, err := b.sendOnce(ctx, staged, 1) // a batch takes its time
		if err != nil {
			return 0, err
		}
		last = ack.Sequence
	}
	return last, nil
}

// without finds the members that are stored already, notes where they lie, and returns the
// others.
func (b *Bus) without(ctx context.Context, p *publication, members []outgoing) ([]outgoing, error) {
	if dup, err := b.anyStored(ctx, members[:1]); err != nil {
		return nil, err
	} else if dup {
		at, err := b.locate(ctx, p, members[0])
		if err != nil {
			return nil, err
		}
		if b.ours(ctx, members, at) {
			for i, o := range members {
				p.note(o, stored{at + uint64(i), true})
			}
			return nil, nil
		}
		members = members[1:]
	}
	return b.bisect(ctx, p, members)
}

// bisect is without for members of which nothing is known.
func (b *Bus) bisect(ctx context.Context, p *publication, members []outgoing) ([]outgoing, error) {
	if len(members) == 0 {
		return nil, nil
	}
	dup, err := b.anyStored(ctx, members)
	if err != nil || !dup {
		return members, err
	}
	if len(members) == 1 {
		_, err := b.locate(ctx, p, members[0])
		return nil, err
	}
	half := len(members) / 2
	front, err := b.bisect(ctx, p, members[:half])
	if err != nil {
		return nil, err
	}
	back, err := b.bisect(ctx, p, members[half:])
	return slices.Concat(front, back), err
}

// anyStored reports whether one of the members is on the bus, within the dedup window.
func (b *Bus) anyStored(ctx context.Context, members []outgoing) (bool, error) {
	msgs := messages(members)
	for i, m := range msgs {
		msgs[i] = unconditional(m)
	}
	msgs = append(msgs, &nats.Msg{
		Subject: msgs[0].Subject,
		Header:  nats.Header{jetstream.ExpectedStreamHeader: []string{"-"}}, // no stream has this name
	})
	for try := 0; ; try++ {
		_, err := b.stage(ctx, signal.NewID().String(), msgs)
		switch code := apiCode(err); {
		case code == codeBatchDuplicate:
			return true, nil
		case code == codeOtherStream:
			return false, nil
		case err == nil:
			return false, fault.Newf(fault.Internal, "the engine accepted a batch that it had to refuse")
		case !transient(err) || !pause(ctx, try):
			return false, unanswered(ctx, err)
		}
	}
}

// unconditional returns m without an expectation, which would be refused first.
func unconditional(m *nats.Msg) *nats.Msg {
	c := single(m)
	delete(c.Header, jetstream.ExpectedLastSeqHeader)
	delete(c.Header, jetstream.ExpectedLastSubjSeqHeader)
	delete(c.Header, jetstream.ExpectedLastSubjSeqSubjHeader)
	return c
}

// locate notes where a member lies that is stored already: the engine answers a repeat with
// the position of the first.
func (b *Bus) locate(ctx context.Context, p *publication, o outgoing) (uint64, error) {
	ack, err := b.send(ctx, unconditional(o.msg))
	if err != nil {
		return 0, err
	}
	p.note(o, ack)
	return ack.sequence, nil
}

// ours reports whether the batch of exactly these members was stored with the first of them
// at this position. Then all of them follow, since it was all or nothing.
func (b *Bus) ours(ctx context.Context, members []outgoing, at uint64) bool {
	last, err := b.stream.GetMsg(ctx, at+uint64(len(members)-1))
	if err != nil || last == nil {
		return false // what it was is gone or unknown; the slow way finds out
	}
	id := last.Header.Get(headerBatchID)
	return strings.HasPrefix(id, batchName(members)+".") &&
		last.Header.Get(headerBatchSequence) == strconv.Itoa(len(members))
}
