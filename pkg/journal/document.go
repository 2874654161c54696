package journal

import (
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"time"

	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

// An Entry is the short form of a signal, as edges and conversations keep it.
type Entry struct {
	ID       string    `json:"id"`
	Source   string    `json:"source,omitempty"`
	Type     string    `json:"type,omitempty"`
	Subject  string    `json:"subject,omitempty"`
	Time     time.Time `json:"time,omitzero"`
	Sequence uint64    `json:"sequence,omitempty"` // position on the bus; 0 if it is not from there
}

// A Record is what the journal holds about one signal, apart from effects and verdicts.
type Record struct {
	Entry
	Causes       []string  `json:"causes,omitempty"`       // ids; its own first, then those added by hand
	Conversation string    `json:"conversation,omitempty"` // its subject, else its correlation id
	Recorded     time.Time `json:"recorded"`               // when the journal got it

	// Signal holds the attributes. Its data is inside only if the signal is not on the bus;
	// [Journal.Get] fetches it.
	Signal *signal.Signal `json:"signal"`
}

// same reports whether two entries are one signal.
func (e Entry) same(o Entry) bool { return e.ID == o.ID && e.Source == o.Source }

func entryOf(s *signal.Signal, sequence uint64) Entry {
	return Entry{ID: s.ID, Source: s.Source, Type: s.Type, Subject: s.Subject, Time: s.Time, Sequence: sequence}
}

// A document is the value of a node, an edge or a conversation's member:
//
//	{"seq":12,"cause":"...","conversation":"...","signal":{...}}
//
// The signal of a node has all its attributes, and its data if it is not on the bus. That of
// an edge or a member is the entry. The cause is there in edges, and in nodes when it is not
// the signal's own.
type document struct {
	Sequence     uint64         `json:"seq,omitempty"`
	Cause        string         `json:"cause,omitempty"`
	Conversation string         `json:"conversation,omitempty"`
	Signal       *signal.Signal `json:"signal"`
}

// nodeDocument is the value of the record of s. What is on the bus is not kept twice: its
// data stays there.
func nodeDocument(s *signal.Signal, sequence uint64, cause string) []byte {
	d := document{Sequence: sequence, Signal: s}
	if cause != s.Causation() {
		d.Cause = cause
	}
	if sequence > 0 {
		attributes := *s
		attributes.Data = nil
		d.Signal = &attributes
	}
	return d.append()
}

func edgeDocument(s *signal.Signal, sequence uint64, cause string) []byte {
	return document{Sequence: sequence, Cause: cause, Signal: brief(s)}.append()
}

func memberDocument(s *signal.Signal, sequence uint64, conversation string) []byte {
	return document{Sequence: sequence, Conversation: conversation, Signal: brief(s)}.append()
}

// brief is s reduced to its entry.
func brief(s *signal.Signal) *signal.Signal {
	return &signal.Signal{ID: s.ID, Source: s.Source, Type: s.Type, Subject: s.Subject, Time: s.Time}
}

func (d document) append() []byte {
	out := make([]byte, 0, 512)
	out = append(out, '{')
	if d.Sequence > 0 {
		out = append(out, `"seq":`...)
		out = append(strconv.AppendUint(out, d.Sequence, 10), ',')
	}
	out = appendMember(out, "cause", d.Cause)
	out = appendMember(out, "conversation", d.Conversation)
	out = append(out, `"signal":`...)
	return append(d.Signal.AppendJSON(out), '}')
}

func appendMember(out []byte, name, text string) []byte {
	if text == "" {
		return out
	}
	quoted, _ := json.Marshal(text) // a string never fails
	out = append(out, '"')
	out = append(append(out, name...), `":`...)
	return append(append(out, quoted...), ',')
}

// readDocument reads the value of a key.
func readDocument(m stored) (document, error) {
	var d document
	err := json.Unmarshal(m.data, &d)
	if err == nil && d.Signal == nil {
		err = errors.New("no signal inside")
	}
	if err != nil {
		return d, fault.Newf(fault.Internal, "journal key %s: %w", m.subject, err)
	}
	return d, nil
}

// entry is the short form of the document's signal.
func (d document) entry() Entry { return entryOf(d.Signal, d.Sequence) }

func (d document) identity() [2]string { return [2]string{d.Signal.ID, d.Signal.Source} }

// records merges the nodes of one or more ids, one record for each signal, in the order in
// which they came. Nodes of another id than asked for, which only a collision of hashes
// could bring, are left out, and so are those that can't be read; the error is about them.
func records(msgs []stored, asked func(id string) bool) ([]*Record, error) {
	var out []*Record
	var bad []error
	index := make(map[[2]string]*Record, len(msgs))
	for _, m := range msgs {
		d, err := readDocument(m)
		if err != nil {
			bad = append(bad, err)
			continue
		}
		if !asked(d.Signal.ID) {
			continue
		}
		key := d.identity()
		r := index[key]
		if r == nil {
			r = &Record{Recorded: m.at}
			index[key] = r
			out = append(out, r)
		}
		r.add(d)
	}
	return out, errors.Join(bad...)
}

// add takes one node of the signal into its record. Of several nodes the one that knows the
// signal's place on the bus describes it.
func (r *Record) add(d document) {
	if r.Signal == nil || d.Sequence > r.Sequence {
		r.Signal, r.Entry, r.Conversation = d.Signal, d.entry(), d.Signal.Conversation()
		if own := d.Signal.Causation(); own != "" && !slices.Contains(r.Causes, own) {
			r.Causes = slices.Insert(r.Causes, 0, own)
		}
	}
	if d.Cause != "" && !slices.Contains(r.Causes, d.Cause) {
		r.Causes = append(r.Causes, d.Cause)
	}
}
