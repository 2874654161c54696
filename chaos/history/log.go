package history

import (
	"sync"
	"time"
)

// Kind is what an operation does.
type Kind string

// The kinds of operations.
const (
	Publish Kind = "publish" // by a client, answered or not
	Deliver Kind = "deliver" // seen by a receiver
	Stored  Kind = "stored"  // found on the bus at the end
	Dead    Kind = "dead"    // found as a dead letter at the end
	Waiting Kind = "waiting" // found parked at the end
)

// Phase is how far an operation is. All but a publish have happened when they are seen.
type Phase string

// The phases.
const (
	Invoke  Phase = "invoke"
	OK      Phase = "ok"
	Fail    Phase = "fail"    // certainly not done
	Unknown Phase = "unknown" // the answer was lost
)

// An Op is one line of a history.
type Op struct {
	At       time.Time `json:"at"`
	Kind     Kind      `json:"kind"`
	Phase    Phase     `json:"phase"`
	ID       string    `json:"id"`                 // of the signal
	Type     string    `json:"type,omitempty"`     // of the signal, where it is published
	Receiver string    `json:"receiver,omitempty"` // of the delivery
	Key      string    `json:"key,omitempty"`      // that the delivery carried
	Sequence uint64    `json:"sequence,omitempty"` // on the bus
	Note     string    `json:"note,omitempty"`     // for who reads it
}

// A Log collects the operations of many goroutines in the order in which they are told.
type Log struct {
	mu  sync.Mutex
	ops []Op
}

// Add writes down an operation. Its time is now, unless it says.
func (l *Log) Add(op Op) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if op.At.IsZero() {
		op.At = time.Now()
	}
	l.ops = append(l.ops, op)
}

// Ops returns a copy of what was written down.
func (l *Log) Ops() []Op {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]Op(nil), l.ops...)
}
