package history

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Owed is what was promised about the signals of a history.
type Owed struct {
	// Receivers names who must get a signal of this type.
	Receivers func(typ string) []string

	// OrderBy names the receivers that are promised order, with what it is kept by: signals
	// of one result are in order, others flow. None by default.
	OrderBy map[string]func(id string) string
}

// A Report is the verdict on a history.
type Report struct {
	Acknowledged int // signals whose publish was answered with ok
	Unknown      int // signals whose every answer was lost
	Refused      int // signals that were certainly not taken
	Stored       int // signals on the bus
	Recovered    int // those on the bus among the unknown

	Accepted  int // deliveries that the stored signals owe
	Delivered int // of these, seen by their receiver
	Dead      int // of the rest, those that are dead letters
	Waiting   int // of the rest, those that are parked
	Repeats   int // deliveries beyond the first

	Problems []string // broken promises, in order of the signal's id
}

// Accounted is how many deliveries are delivered, dead or waiting.
func (r Report) Accounted() int { return r.Delivered + r.Dead + r.Waiting }

// Err reports the broken promises, the first few in words.
func (r Report) Err() error {
	const most = 12
	switch n := len(r.Problems); {
	case n > most:
		return fmt.Errorf("%d promises are broken:\n%s\n... and %d more", n, strings.Join(r.Problems[:most], "\n"), n-most)
	case n > 0:
		return errors.New(strings.Join(r.Problems, "\n"))
	}
	return nil
}

func (r Report) String() string {
	return fmt.Sprintf("signals: %d acknowledged, %d unknown (%d of them stored), %d refused, %d stored; "+
		"deliveries: %d accepted, %d accounted for (%d delivered, %d dead, %d waiting), %d repeats",
		r.Acknowledged, r.Unknown, r.Recovered, r.Refused, r.Stored,
		r.Accepted, r.Accounted(), r.Delivered, r.Dead, r.Waiting, r.Repeats)
}

// Check judges a complete history: one that was taken when the mesh had come to rest.
func Check(ops []Op, owed Owed) Report {
	c := checker{owed: owed, signals: map[string]*fate{}, keys: map[string]string{}}
	for _, op := range ops {
		c.read(op)
	}
	for _, id := range slices.Sorted(maps.Keys(c.signals)) {
		c.judge(id, c.signals[id])
	}
	c.order(ops)
	return c.report
}

// A fate is all that a history says about one signal.
type fate struct {
	typ            string
	invoked, ended int
	ok, unknown    bool
	sequences      []uint64
	deliveries     map[string][]string // keys, by receiver
	dead, waiting  map[string]bool     // by receiver
}

type checker struct {
	owed    Owed
	signals map[string]*fate
	keys    map[string]string // whose a key is
	report  Report
}

func (c *checker) problem(format string, args ...any) {
	c.report.Problems = append(c.report.Problems, fmt.Sprintf(format, args...))
}

func (c *checker) read(op Op) {
	f := c.signals[op.ID]
	if f == nil {
		f = &fate{deliveries: map[string][]string{}, dead: map[string]bool{}, waiting: map[string]bool{}}
		c.signals[op.ID] = f
	}
	switch op.Kind {
	case Publish:
		f.publish(op)
	case Stored:
		f.sequences = append(f.sequences, op.Sequence)
	case Deliver:
		f.deliveries[op.Receiver] = append(f.deliveries[op.Receiver], op.Key)
	case Dead:
		f.dead[op.Receiver] = true
	case Waiting:
		f.waiting[op.Receiver] = true
	default:
		c.problem("%s: no such operation: %q", op.ID, op.Kind)
	}
}

func (f *fate) publish(op Op) {
	f.typ = cmp.Or(op.Type, f.typ)
	switch op.Phase {
	case Invoke:
		f.invoked++
		return
	case OK:
		f.ok = true
	case Unknown:
		f.unknown = true
	case Fail:
	}
	f.ended++
}

// judge holds one signal to the promises.
func (c *checker) judge(id string, f *fate) {
	c.origin(id, f)
	owed := map[string]bool{}
	if len(f.sequences) > 0 {
		c.report.Stored++
		for _, r := range c.owed.Receivers(f.typ) {
			owed[r] = true
			c.account(id, f, r)
		}
	}
	for _, r := range slices.Sorted(maps.Keys(f.deliveries)) {
		c.identity(id, r, f.deliveries[r])
		if !owed[r] {
			c.problem("%s: delivered to %s, which it does not owe", id, r)
		}
	}
	for _, states := range []map[string]bool{f.dead, f.waiting} {
		for _, r := range slices.Sorted(maps.Keys(states)) {
			if !owed[r] {
				c.problem("%s: a dead letter or a wait for %s, which it does not owe", id, r)
			}
		}
	}
}

// origin compares what the publisher was told with what is stored.
func (c *checker) origin(id string, f *fate) {
	stored := len(f.sequences)
	switch {
	case f.invoked == 0:
		c.problem("%s: never published", id)
	case f.ended != f.invoked:
		c.problem("%s: %d publishes begun, %d ended", id, f.invoked, f.ended)
	}
	switch {
	case f.ok:
		c.report.Acknowledged++
		if stored == 0 {
			c.problem("%s: acknowledged, and lost: it is not on the bus", id)
		}
	case f.unknown:
		c.report.Unknown++
		if stored > 0 {
			c.report.Recovered++
		}
	case f.invoked > 0:
		c.report.Refused++
		if stored > 0 {
			c.problem("%s: refused, and stored", id)
		}
	}
	if stored > 1 {
		c.problem("%s: stored %d times, at %v", id, stored, f.sequences)
	}
}

// account finds the one state of a delivery that is owed. A receiver that has seen a signal
// has it, whatever became of the answer.
func (c *checker) account(id string, f *fate, receiver string) {
	c.report.Accepted++
	switch {
	case len(f.deliveries[receiver]) > 0:
		c.report.Delivered++
	case f.dead[receiver]:
		c.report.Dead++
	case f.waiting[receiver]:
		c.report.Waiting++
	default:
		c.problem("%s: lost on the way to %s: neither delivered, nor dead, nor waiting", id, receiver)
	}
}

// identity checks the keys of all deliveries of one signal to one receiver.
func (c *checker) identity(id, receiver string, keys []string) {
	c.report.Repeats += len(keys) - 1
	whose := id + " to " + receiver
	for _, key := range keys {
		if key != keys[0] {
			c.problem("%s: a repeat carries the key %q, the first time %q", whose, key, keys[0])
		}
		if key == "" {
			continue // the receiver takes none
		}
		if other, taken := c.keys[key]; taken && other != whose {
			c.problem("%s: carries the key %q of %s", whose, key, other)
		}
		c.keys[key] = whose
	}
}

// order looks at first deliveries only: a repeat may come at any time.
func (c *checker) order(ops []Op) {
	type lane struct{ receiver, key string }
	last := map[lane]string{}
	seen := map[[2]string]bool{}
	at := func(id string) uint64 { return c.signals[id].sequences[0] }
	for _, op := range ops {
		by := c.owed.OrderBy[op.Receiver]
		pair := [2]string{op.Receiver, op.ID}
		if op.Kind != Deliver || by == nil || seen[pair] || len(c.signals[op.ID].sequences) == 0 {
			continue // what lies nowhere is judged already
		}
		seen[pair] = true
		l := lane{op.Receiver, by(op.ID)}
		if before, ok := last[l]; ok && at(before) > at(op.ID) {
			c.problem("%s: delivered to %s after %s, which lies behind it on the bus (%d, %d)", op.ID, op.Receiver, before, at(op.ID), at(before))
		}
		last[l] = op.ID
	}
}
