package delivery

import "time"

// A Status is how far one delivery has come. The set is closed.
type Status string

// The statuses. Delivered, Dead and Stopped are how a run ends; Retrying is a delivery
// that waits for its next attempt; the others say why none was made.
const (
	Delivered      Status = "delivered"       // the receiver has it
	Retrying       Status = "retrying"        // failed, and will be tried again at NextAt
	Dead           Status = "dead"            // given up; there is a dead letter
	Stopped        Status = "stopped"         // interrupted without a verdict; it runs again
	Rejected       Status = "rejected"        // the predicate said no
	PredicateError Status = "predicate_error" // the predicate could not be evaluated
	Unmatched      Status = "unmatched"       // no route matches the signal
	Denied         Status = "denied"          // policy forbids this target
	Expired        Status = "expired"         // past its expirytime
	Loop           Status = "loop"            // too many hops
	Skipped        Status = "skipped"         // a middleware or a disabled route passed it over
)

// Final reports whether nothing more will happen to a delivery with this status.
func (s Status) Final() bool { return s != Retrying && s != Stopped && s != "" }

// A Reason says why a delivery is dead. The set is closed.
type Reason string

// The reasons.
const (
	ReasonAttempts    Reason = "attempts"    // the attempts are used up
	ReasonPermanent   Reason = "permanent"   // trying again cannot help
	ReasonLoop        Reason = "loop"        // too many hops
	ReasonExpired     Reason = "expired"     // past its expirytime
	ReasonUndecodable Reason = "undecodable" // not a CloudEvent
	ReasonDenied      Reason = "denied"      // policy forbids this target
	ReasonCrashLoop   Reason = "crash_loop"  // delivered again and again without an outcome: it takes its process down
	ReasonMapping     Reason = "mapping"     // authentic input that could not be turned into a signal
)

// A Verdict is what became of one signal at one receiver. The journal keeps it, and
// `why` shows it.
type Verdict struct {
	Route    string    `json:"route,omitempty"`
	Target   string    `json:"target,omitempty"`  // name of the target within the route
	Adapter  string    `json:"adapter,omitempty"` // http, webhook, ...
	Endpoint string    `json:"endpoint,omitempty"`
	Revision uint64    `json:"revision,omitempty"` // of the route's definition
	Status   Status    `json:"status"`
	Reason   string    `json:"reason,omitempty"` // one sentence for people
	Attempts []Attempt `json:"attempts,omitempty"`
	At       time.Time `json:"at"`                 // when this was decided
	NextAt   time.Time `json:"next_at,omitzero"`   // of Retrying
	Parked   bool      `json:"parked,omitempty"`   // of Retrying: it waits in the LATER stream, not in memory
	Node     string    `json:"node,omitempty"`     // who decided
	Reply    string    `json:"reply_id,omitempty"` // id of the signal that the receiver answered with
	Letter   string    `json:"letter,omitempty"`   // id of the dead letter
}
