package bus

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

// An Expectation says what must be last on the bus for a publish to happen. It is how
// several writers that decide from what they have read keep out of each other's way.
type Expectation struct {
	typ   string // none: the whole bus
	last  uint64
	given bool
}

// ExpectSequence expects the last signal of exactly this type to be at the sequence; 0 means
// that there is none yet.
func ExpectSequence(typ string, sequence uint64) Expectation {
	return Expectation{typ: typ, last: sequence, given: true}
}

// ExpectLast expects the last signal of the bus, of whatever type, to be at the sequence.
func ExpectLast(sequence uint64) Expectation { return Expectation{last: sequence, given: true} }

// PublishIf is [Bus.PublishAck] under a condition that the engine checks in the moment of
// storing. When it does not hold nothing is stored and the error is coded Conflict: read
// again, decide again. A repeat of a publish that had succeeded still succeeds.
func (b *Bus) PublishIf(ctx context.Context, expect Expectation, signals ...*signal.Signal) ([]Ack, error) {
	if expect.typ != "" {
		if _, err := b.space.Signal(b.name, expect.typ); err != nil {
			return nil, fmt.Errorf("publish: expectation: %w", err)
		}
	}
	return b.publish(ctx, expect, signals)
}

// set puts the expectation, if there is one, on the first message of a publish.
func (e Expectation) set(b *Bus, m *nats.Msg) {
	if !e.given {
		return
	}
	n := strconv.FormatUint(e.last, 10)
	if e.typ == "" {
		m.Header[jetstream.ExpectedLastSeqHeader] = []string{n}
		return
	}
	subj, _ := b.space.Signal(b.name, e.typ) // checked by PublishIf
	m.Header[jetstream.ExpectedLastSubjSeqHeader] = []string{n}
	m.Header[jetstream.ExpectedLastSubjSeqSubjHeader] = []string{subj}
}

// isWrongLast reports whether an expectation did not hold. Replicated streams have a code
// of their own for it.
func isWrongLast(err error) bool {
	code := apiCode(err)
	return code == jetstream.JSErrCodeStreamWrongLastSequence || code == jetstream.JSErrCodeStreamWrongLastSequenceConstant
}

// expected looks whether it is our own message, stored by a try whose answer got lost, that
// made the expectation fail: an unreplicated stream checks it before it looks for a
// duplicate.
func (b *Bus) expected(ctx context.Context, e Expectation, o outgoing, refusal error) (stored, error) {
	last, err := b.stream.GetLastMsgForSubject(ctx, o.msg.Subject)
	if err == nil && last.Sequence > e.last && last.Header.Get(jetstream.MsgIDHeader) == o.id {
		return stored{last.Sequence, true}, nil
	}
	if err != nil && !errors.Is(err, jetstream.ErrMsgNotFound) {
		return stored{}, coded(err)
	}
	if err == nil && last.Sequence > e.last {
		return b.behind(ctx, e, o, refusal)
	}
	return stored{}, conflict(e, refusal)
}

// behind is expected for when others have published to the type after it.
func (b *Bus) behind(ctx context.Context, e Expectation, o outgoing, refusal error) (stored, error) {
	dup, err := b.anyStored(ctx, []outgoing{o})
	if err == nil && dup {
		var ack stored
		if ack, err = b.send(ctx, unconditional(o.msg)); err == nil && ack.sequence > e.last {
			return stored{ack.sequence, true}, nil
		}
	}
	if err != nil && apiCode(err) != codeBatchDisabled {
		return stored{}, coded(err)
	}
	return stored{}, conflict(e, refusal)
}

func conflict(e Expectation, refusal error) error {
	what := "the bus"
	if e.typ != "" {
		what = e.typ
	}
	return fault.Hint(fault.Newf(fault.Conflict, "%s is not at sequence %d: %w", what, e.last, refusal),
		"read what came after sequence %d, then decide again", e.last)
}
