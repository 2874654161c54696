package journal

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/nats-io/nats.go"

	"github.com/signalmesh/signalmesh/pkg/delivery"
	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

// What is kept of one signal's deliveries, so that a receiver that is down for weeks does not
// make one key of megabytes.
const (
	maxAttempts = 50  // of one delivery: the first, and the latest
	maxVerdicts = 500 // of one signal: the latest

	maxDocument = 1 << 20 // bytes, of all verdicts of one signal; less where messages must be smaller
)

// verdictDocument is the value of a verdict key: what became of one signal.
type verdictDocument struct {
	Sequence uint64             `json:"seq,omitempty"`
	ID       string             `json:"id"`
	Source   string             `json:"source"`
	Verdicts []delivery.Verdict `json:"verdicts"`

	limit int // bytes
}

// PutVerdicts stores what became of the signal, which lies at the given position of the bus,
// and returns when it is stored. Verdicts of the same route and target replace each other,
// the later one wins and all attempts are kept, so it does not matter how often or by whom
// this is called. What is put at the same time is stored together. Of a signal with so many
// deliveries and attempts that they don't fit into one message, the answers of receivers are
// left out, then all attempts but the last of each delivery, then the oldest verdicts.
func (j *Journal) PutVerdicts(ctx context.Context, s *signal.Signal, sequence uint64, verdicts []delivery.Verdict) error {
	if len(verdicts) == 0 {
		return nil
	}
	mine := verdictDocument{Sequence: sequence, ID: s.ID, Source: s.Source, Verdicts: verdicts, limit: j.largest()}
	fresh, err := mine.encode()
	if err != nil {
		return fmt.Errorf("put verdicts on %q: %w", s.ID, err)
	}
	e := entry{
		msg:   &nats.Msg{Subject: j.keys.verdicts(s)},
		merge: func(old []byte) []byte { return mine.over(old, fresh) },
	}
	if err := j.write.store(ctx, e); err != nil {
		return fmt.Errorf("put verdicts on %q: %w", s.ID, err)
	}
	return nil
}

// largest is how large a document may be, with room for the headers around it.
func (j *Journal) largest() int {
	if most := j.js.Conn().MaxPayload(); most > 0 {
		return min(maxDocument, int(most)-4<<10)
	}
	return maxDocument
}

// encode writes the document within its limit. The verdicts are not changed.
func (d verdictDocument) encode() ([]byte, error) {
	less := []func(delivery.Verdict) delivery.Verdict{withoutResponses, withLastAttempt}
	for {
		doc, err := json.Marshal(d)
		switch {
		case err != nil || len(doc) <= d.limit || len(less) == 0 && len(d.Verdicts) == 1:
			return doc, err
		case len(less) == 0:
			d.Verdicts = d.Verdicts[(len(d.Verdicts)+1)/2:]
			continue
		}
		d.Verdicts = slices.Clone(d.Verdicts)
		for i, v := range d.Verdicts {
			d.Verdicts[i] = less[0](v)
		}
		less = less[1:]
	}
}

func withoutResponses(v delivery.Verdict) delivery.Verdict {
	v.Attempts = slices.Clone(v.Attempts)
	for i := range v.Attempts {
		v.Attempts[i].Response = ""
	}
	return v
}

func withLastAttempt(v delivery.Verdict) delivery.Verdict {
	v.Attempts = v.Attempts[max(len(v.Attempts)-1, 0):]
	return v
}

// over merges the document, fresh when encoded, into what is stored. What is stored and
// cannot be read is replaced.
func (d verdictDocument) over(old, fresh []byte) []byte {
	var stored verdictDocument
	if len(old) == 0 || json.Unmarshal(old, &stored) != nil {
		return fresh
	}
	d.Verdicts = mergeVerdicts(stored.Verdicts, d.Verdicts)
	d.Sequence = max(d.Sequence, stored.Sequence)
	merged, err := d.encode()
	if err != nil { // both were JSON a moment ago
		return fresh
	}
	return merged
}

// mergeVerdicts returns one verdict for each route and target, in the order in which they
// first appear.
func mergeVerdicts(old, fresh []delivery.Verdict) []delivery.Verdict {
	type receiver struct{ route, target string }
	var out []delivery.Verdict
	index := make(map[receiver]int)
	for _, v := range slices.Concat(old, fresh) {
		r := receiver{v.Route, v.Target}
		i, known := index[r]
		if !known {
			index[r] = len(out)
			out = append(out, v)
			continue
		}
		attempts := mergeAttempts(out[i].Attempts, v.Attempts)
		if !v.At.Before(out[i].At) {
			out[i] = v
		}
		out[i].Attempts = attempts
	}
	return out[max(0, len(out)-maxVerdicts):]
}

// mergeAttempts returns the attempts of both, each once, by time.
func mergeAttempts(a, b []delivery.Attempt) []delivery.Attempt {
	all := slices.Concat(a, b)
	slices.SortStableFunc(all, func(x, y delivery.Attempt) int {
		return cmp.Or(x.At.Compare(y.At), cmp.Compare(x.Number, y.Number), cmp.Compare(x.Node, y.Node))
	})
	all = slices.CompactFunc(all, func(x, y delivery.Attempt) bool {
		return x.At.Equal(y.At) && x.Number == y.Number && x.Node == y.Node
	})
	if over := len(all) - maxAttempts; over > 0 {
		all = slices.Delete(all, 1, 1+over)
	}
	return all
}

// Verdicts returns what became of the signal with this id: one verdict for each route and
// target, none if nothing did, or no such signal. An [*AmbiguousError] if there are verdicts
// on several signals with the id.
func (j *Journal) Verdicts(ctx context.Context, id string, opts ...LookupOption) ([]delivery.Verdict, error) {
	var q query
	for _, o := range opts {
		o.lookup(&q)
	}
	verdicts, err := j.verdicts(ctx, id, q)
	if err != nil {
		return nil, fmt.Errorf("verdicts on %q: %w", id, err)
	}
	return verdicts, nil
}

func (j *Journal) verdicts(ctx context.Context, id string, q query) ([]delivery.Verdict, error) {
	msgs, err := j.read.all(ctx, j.bucket, []string{j.keys.allVerdicts(id)})
	if err != nil {
		return nil, err
	}
	var found []*Record
	var verdicts []delivery.Verdict
	for _, m := range live(msgs) {
		var d verdictDocument
		if err := json.Unmarshal(m.data, &d); err != nil {
			return nil, fault.Newf(fault.Internal, "journal key %s: %w", m.subject, err)
		}
		if d.ID == id && (!q.chosen || d.Source == q.source) {
			found = append(found, &Record{Entry: Entry{ID: id, Source: d.Source}})
			verdicts = d.Verdicts
		}
	}
	if len(found) > 1 {
		return nil, ambiguous(id, found)
	}
	return verdicts, nil
}
