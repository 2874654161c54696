package delivery

import (
	"encoding/json"
	"time"

	"github.com/signalmesh/signalmesh/pkg/signal"
)

// A Request asks for exactly one delivery: of this signal, to this receiver, and to no
// other. It is the body of a message in the LATER stream of a bus.
type Request struct {
	Bus    string `json:"bus"`
	Kind   Kind   `json:"kind"`
	Name   string `json:"name"`
	Target string `json:"target,omitempty"` // name of the target within the route

	Signal   json.RawMessage `json:"signal,omitempty"`   // CloudEvents JSON; empty: what lies at Sequence
	Sequence uint64          `json:"sequence,omitempty"` // position on the bus

	First    int       `json:"first,omitempty"`    // number of the next attempt; 0 means 1
	Attempts []Attempt `json:"attempts,omitempty"` // made so far in this life
	Letter   *Letter   `json:"letter,omitempty"`   // the dead letter that is redriven, its history kept
	At       time.Time `json:"at"`                 // since when it is to be run
	Replay   bool      `json:"replay,omitempty"`   // ordered once more, whatever became of it before
}

// Decode returns the signal of the request. The error has code [fault.NotFound] when the
// request does not carry it.
func (r Request) Decode() (*signal.Signal, error) { return decode(r.Signal) }

// Request returns the request to run the delivery of l once more.
func (l Letter) Request(at time.Time, by string) Request {
	again := l.Redriven(at, by)
	r := Request{
		Bus: l.Bus, Kind: l.Kind, Name: l.Name, Target: l.Target,
		Signal: l.Signal, Sequence: l.Sequence, Letter: &again, At: at.UTC(),
	}
	again.Signal = nil // it travels once
	return r
}

// Died returns the letter for a request whose run ended dead: a new one, or the redriven
// one with its history.
func (r Request) Died(res Result) Letter {
	l := Letter{Bus: r.Bus, Kind: r.Kind, Name: r.Name, Target: r.Target, Sequence: r.Sequence}
	if r.Letter != nil {
		l = *r.Letter
	}
	l.Signal = r.Signal
	return l.Died(res)
}
