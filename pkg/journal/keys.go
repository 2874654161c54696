package journal

import (
	"strings"

	"github.com/signalmesh/signalmesh/pkg/signal"
	"github.com/signalmesh/signalmesh/pkg/subject"
)

// The kinds of keys. Each begins with the hash of what it is asked for by; see the package
// comment.
const (
	kindNode         = "s."
	kindEdge         = "e."
	kindConversation = "c."
	kindVerdict      = "v."
)

// shortHash is how much of a hash tells keys apart that share the first one: 66 bits.
const shortHash = 11

// keys spells the subjects of a bucket, "$KV.<bucket>." and a key.
type keys struct{ lead string }

func newKeys(bucket string) keys { return keys{"$KV." + bucket + "."} }

// node is where the record of the signal lies. A cause that the signal does not name itself
// makes it another record of the same signal, so that neither overwrites the other.
func (k keys) node(s *signal.Signal, cause string) string {
	key := k.lead + kindNode + subject.Key(s.ID) + "." + short(subject.Key(s.Source))
	if cause != "" && cause != s.Causation() {
		key += "-" + short(subject.Key(cause))
	}
	return key
}

// nodes is the filter of all records of signals with this id.
func (k keys) nodes(id string) string { return k.lead + kindNode + subject.Key(id) + ".*" }

// isNode reports whether a record of a signal lies under the subject.
func (k keys) isNode(subject string) bool {
	return strings.HasPrefix(subject[min(len(k.lead), len(subject)):], kindNode)
}

func (k keys) edge(cause string, effect *signal.Signal) string {
	return k.lead + kindEdge + subject.Key(cause) + "." + identity(effect)
}

// edges is the filter of the effects of a cause.
func (k keys) edges(cause string) string { return k.lead + kindEdge + subject.Key(cause) + ".*" }

func (k keys) member(conversation string, s *signal.Signal) string {
	return k.lead + kindConversation + subject.Key(conversation) + "." + identity(s)
}

// members is the filter of the signals of a conversation.
func (k keys) members(conversation string) string {
	return k.lead + kindConversation + subject.Key(conversation) + ".*"
}

func (k keys) verdicts(s *signal.Signal) string {
	return k.lead + kindVerdict + subject.Key(s.ID) + "." + short(subject.Key(s.Source))
}

// allVerdicts is the filter of the verdicts on signals with this id.
func (k keys) allVerdicts(id string) string {
	return k.lead + kindVerdict + subject.Key(id) + ".*"
}

// identity stands for source and id, within keys that share the first hash.
func identity(s *signal.Signal) string { return short(subject.MsgID(s.Source, s.ID)) }

func short(hash string) string { return hash[:shortHash] }
