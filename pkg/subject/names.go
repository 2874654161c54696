package subject

import (
	"crypto/sha256"
	"encoding/base64"
	"strings"

	"github.com/signalmesh/signalmesh/pkg/fault"
)

// maxName is the longest name of a bus, route, subscription, node or source, in bytes.
const maxName = 64

// reserved are endings of a bus name that would give its stream the name of another bus's
// companion.
var reserved = []string{"_DLQ", "_LATER", "_SNAPSHOTS", "_JOURNAL"}

// CheckName reports what is wrong with the name of a bus, route, subscription, node or
// source; kind says which and stands in the error. A name has 1 to 64 letters, digits, "_"
// and "-"; that of a bus does not end in _DLQ, _LATER, _SNAPSHOTS or _JOURNAL.
func CheckName(kind, name string) error {
	switch {
	case name == "":
		return fault.Newf(fault.Invalid, "%s name is empty", kind)
	case len(name) > maxName:
		return fault.Newf(fault.Invalid, "%s name %s has %d bytes, more than %d", kind, brief(name), len(name), maxName)
	case !isName(name):
		return fault.Newf(fault.Invalid, `%s name %s: only letters, digits, "_" and "-" are allowed`, kind, brief(name))
	}
	if kind != "bus" {
		return nil
	}
	for _, end := range reserved {
		if strings.HasSuffix(name, end) {
			return fault.Newf(fault.Invalid, "bus name %q: names ending in %s are taken by a bus's own streams", name, end)
		}
	}
	return nil
}

func isName(text string) bool {
	for i := range len(text) {
		if !plain(text[i]) {
			return false
		}
	}
	return text != "" && len(text) <= maxName
}

// Stream is the stream of the bus, whose name must have passed [CheckName], here and below.
func (sp Space) Stream(bus string) string { return strings.ToUpper(sp.Prefix()) + "_" + bus }

// DeadStream is the stream of the bus's dead letters.
func (sp Space) DeadStream(bus string) string { return sp.Stream(bus) + "_DLQ" }

// LaterStream is the stream of the deliveries of the bus that are to be run later.
func (sp Space) LaterStream(bus string) string { return sp.Stream(bus) + "_LATER" }

// SnapshotStream is the stream of the bus's snapshots.
func (sp Space) SnapshotStream(bus string) string { return sp.Stream(bus) + "_SNAPSHOTS" }

// JournalBucket is the KV bucket of the bus's journal.
func (sp Space) JournalBucket(bus string) string { return sp.Stream(bus) + "_JOURNAL" }

// JournalStream is the stream behind [Space.JournalBucket].
func (sp Space) JournalStream(bus string) string { return "KV_" + sp.JournalBucket(bus) }

// RoutesBucket is the KV bucket of the mesh's routes.
func (sp Space) RoutesBucket() string { return strings.ToUpper(sp.Prefix()) + "MESH_ROUTES" }

// NodesBucket is the KV bucket of the nodes that are alive.
func (sp Space) NodesBucket() string { return strings.ToUpper(sp.Prefix()) + "MESH_NODES" }

// BusOf is the reverse of [Space.Stream]; it reports false for any other stream.
func (sp Space) BusOf(stream string) (bus string, ok bool) {
	bus, ok = strings.CutPrefix(stream, strings.ToUpper(sp.Prefix())+"_")
	if !ok || CheckName("bus", bus) != nil {
		return "", false
	}
	return bus, true
}

// DeadLetter is the subject of the dead letters of one thing on the bus: the kind is route,
// subscription, signal or source, the name that of the thing. A kind or name that is not
// made of name characters goes in as its [Key].
func (sp Space) DeadLetter(bus, kind, name string) string {
	return sp.Prefix() + "-dlq." + bus + "." + token(kind) + "." + token(name)
}

// AllDead is the filter of every dead letter of the bus.
func (sp Space) AllDead(bus string) string { return sp.Prefix() + "-dlq." + bus + ".>" }

// Later is the subject of requests to run a delivery of one thing on the bus, named as in
// [Space.DeadLetter].
func (sp Space) Later(bus, kind, name string) string {
	return sp.Prefix() + "-later." + bus + ".run." + token(kind) + "." + token(name)
}

// Scheduled is the subject that holds one delivery until its time. A key that is not made
// of name characters goes in as its [Key].
func (sp Space) Scheduled(bus, key string) string {
	return sp.Prefix() + "-later." + bus + ".at." + token(key)
}

// Delayed is the subject that holds one signal back until its time, by its id and its
// [MsgID].
func (sp Space) Delayed(bus, id, msgID string) string {
	return sp.Prefix() + "-later." + bus + ".at.signal." + Key(id) + "." + token(msgID)
}

// DelayedID is the filter of the signals with this id that are held back.
func (sp Space) DelayedID(bus, id string) string {
	return sp.Prefix() + "-later." + bus + ".at.signal." + Key(id) + ".*"
}

// AllDelayed is the filter of every signal that is held back until its time.
func (sp Space) AllDelayed(bus string) string { return sp.Prefix() + "-later." + bus + ".at.signal.>" }

// Schedule is the subject that holds the schedule of this name.
func (sp Space) Schedule(bus, name string) string {
	return sp.Prefix() + "-later." + bus + ".at.schedule." + token(name)
}

// AllSchedules is the filter of every schedule of the bus.
func (sp Space) AllSchedules(bus string) string {
	return sp.Prefix() + "-later." + bus + ".at.schedule.*"
}

// Fired is the subject that says when the schedule of this name fired last.
func (sp Space) Fired(bus, name string) string {
	return sp.Prefix() + "-later." + bus + ".at.fired." + token(name)
}

// Cancelled is the subject that says that what was held back under this key is not wanted.
func (sp Space) Cancelled(bus, key string) string {
	return sp.Prefix() + "-later." + bus + ".at.cancelled." + token(key)
}

// AllLater is the filter of every delivery of the bus that is to be run later.
func (sp Space) AllLater(bus string) string { return sp.Prefix() + "-later." + bus + ".>" }

// Snapshot is the subject of what describes one snapshot of the bus; a name that is not made
// of name characters goes in as its [Key].
func (sp Space) Snapshot(bus, name string) string {
	return sp.Prefix() + "-snap." + bus + ".info." + token(name)
}

// AllSnapshots is the filter of what describes the snapshots of the bus.
func (sp Space) AllSnapshots(bus string) string { return sp.Prefix() + "-snap." + bus + ".info.*" }

// SnapshotData is the subject of the content of one snapshot, which goes by an id of its own.
func (sp Space) SnapshotData(bus, id string) string {
	return sp.Prefix() + "-snap." + bus + ".data." + token(id)
}

// AllSnapshotData is the filter of the content of all snapshots of the bus.
func (sp Space) AllSnapshotData(bus string) string { return sp.Prefix() + "-snap." + bus + ".data.*" }

// Named is the subject on which the named target takes requests.
func (sp Space) Named(name string) string { return sp.Prefix() + "-named." + token(name) }

// token is text as one token of a subject, whatever it holds.
func token(text string) string {
	if isName(text) {
		return text
	}
	return Key(text)
}

// Key is 22 letters, digits, "_" and "-" that stand for the text: the same for the same
// text and, for all practical purposes, never the same for two. It is a valid token of a
// subject and of a KV key.
func Key(text string) string { return digest([]byte(text)) }

// MsgID is the Nats-Msg-Id of the signal with this source and id. CloudEvents identifies an
// event by the pair, never by the id alone.
func MsgID(source, id string) string { return digest([]byte(source + "\x00" + id)) }

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return base64.RawURLEncoding.EncodeToString(sum[:16])
}
