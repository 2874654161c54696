package delivery

import (
	"encoding/json"
	"errors"
	"time"

	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

// A Kind says what sort of receiver a delivery was for. It is a token of the subjects
// that letters and requests travel on.
type Kind string

// The kinds.
const (
	KindRoute        Kind = "route"        // a target of a route
	KindSubscription Kind = "subscription" // a durable subscription
	KindSignal       Kind = "signal"       // what lies on the bus is not a signal
	KindSource       Kind = "source"       // what came in could not be turned into a signal
)

// A Letter is a dead letter: one delivery that ended without success, with its whole
// story. Secrets never get into it.
type Letter struct {
	ID      string `json:"id,omitempty"` // stays the same when a redrive fails again
	Bus     string `json:"bus"`
	Kind    Kind   `json:"kind"`
	Name    string `json:"name"`             // of the route, subscription or source
	Target  string `json:"target,omitempty"` // name of the target within the route
	Adapter string `json:"adapter,omitempty"`

	// Signal is the signal in CloudEvents JSON. For what is not a signal Header and Raw
	// hold the message as it came. All are empty when they would not fit into one
	// message: what lies at Sequence on the bus is meant then.
	Signal   json.RawMessage     `json:"signal,omitempty"`
	Header   map[string][]string `json:"header,omitempty"`
	Raw      []byte              `json:"raw,omitempty"`
	Sequence uint64              `json:"sequence,omitempty"` // position on the bus; 0 if it never got there

	Attempts    []Attempt  `json:"attempts,omitempty"` // of the last run, at most MaxKept
	FirstAt     time.Time  `json:"first_at,omitzero"`  // of the first attempt ever
	LastAt      time.Time  `json:"last_at,omitzero"`   // when it was given up last
	Code        fault.Code `json:"code,omitempty"`     // class of the last failure
	Error       string     `json:"error,omitempty"`    // text of the last failure
	Reason      Reason     `json:"reason"`
	Fingerprint string     `json:"fingerprint,omitempty"` // equal for failures that look alike
	Revision    uint64     `json:"revision,omitempty"`    // of the route's definition
	Redrives    []Redrive  `json:"redrives,omitempty"`    // oldest first, at most MaxKept
	Node        string     `json:"node,omitempty"`        // who gave up
}

// A Redrive is one earlier end of the same delivery, and who ordered another try.
type Redrive struct {
	At       time.Time  `json:"at"`
	By       string     `json:"by,omitempty"`
	Attempts int        `json:"attempts,omitempty"` // number of the last attempt before it
	Code     fault.Code `json:"code,omitempty"`
	Error    string     `json:"error,omitempty"`
	Reason   Reason     `json:"reason,omitempty"`
}

// Died completes l with the end of a run: attempts, times, code, error, reason and
// fingerprint. What l knew from an earlier life stays.
func (l Letter) Died(res Result) Letter {
	l.Attempts, l.Reason = res.Attempts, res.Reason
	if res.Err != nil {
		l.Code, l.Error = fault.CodeOf(res.Err), Excerpt(res.Err.Error())
	}
	status := 0
	l.LastAt = time.Now().UTC()
	if n := len(res.Attempts); n > 0 {
		if l.FirstAt.IsZero() {
			l.FirstAt = res.Attempts[0].At
		}
		last := res.Attempts[n-1]
		l.LastAt, status = last.At.Add(last.Took), last.Status
	}
	l.Fingerprint = Fingerprint(l.Adapter, status, l.Code, l.Error)
	return l
}

// Redriven returns l as it goes into another run, ordered by the given person or
// program: its end so far moves to the history.
func (l Letter) Redriven(at time.Time, by string) Letter {
	r := Redrive{At: at.UTC(), By: by, Code: l.Code, Error: l.Error, Reason: l.Reason}
	if n := len(l.Attempts); n > 0 {
		r.Attempts = l.Attempts[n-1].Number
	}
	l.Redrives = append(l.Redrives[:len(l.Redrives):len(l.Redrives)], r)
	if over := len(l.Redrives) - MaxKept; over > 0 {
		l.Redrives = l.Redrives[over:]
	}
	return l
}

// Decode returns the signal of the letter. The error has code [fault.NotFound] when the
// letter does not carry it.
func (l Letter) Decode() (*signal.Signal, error) { return decode(l.Signal) }

func decode(doc json.RawMessage) (*signal.Signal, error) {
	if len(doc) == 0 {
		return nil, fault.Wrap(fault.NotFound, errors.New("no signal inside; look at its sequence on the bus"))
	}
	s := new(signal.Signal)
	if err := json.Unmarshal(doc, s); err != nil {
		return nil, err
	}
	return s, nil
}
