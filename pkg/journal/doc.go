// Package journal knows who caused what, who received it and what became of it.
//
// What it promises:
//
//   - Recording is never in the way of publishing. [Journal.Follow] reads the bus behind the
//     publishers and resumes from its own stored position, so a crash leaves no gap; doing a
//     signal twice changes nothing.
//   - A signal costs one key, one more if it has a cause and one more if it has a
//     conversation. What is written at the same time is stored together, in one sync of the
//     disk where the server syncs; a lone write never waits for company.
//   - A lookup is one request of about a tenth of a millisecond, whatever the size of the
//     journal. Keys are never listed.
//   - Questions go by the bare id, since that is what people have. Signals of different
//     sources may share one; then the answer is an [*AmbiguousError] with the sources, and
//     [FromSource] chooses, never chance.
//   - [Journal.Trace] shows each signal once however many ways lead to it, has no bound on
//     depth and ends on cycles.
//   - [Journal.Record], the way by hand, refuses a cause that is unknown, later than its
//     effect, or an effect of it. The bus is recorded as it is: a cause there may be
//     unknown, and shows as such.
//
// # Keys
//
// The journal is a KV bucket, SIG_<bus>_JOURNAL, one message to a key. All keys begin with
// the hash of what they are asked for by; H is 22 characters and h the first 11 of such a
// hash (subject.Key).
//
//	s.H(id).h(source)              the signal: attributes, place on the bus, causes
//	e.H(cause id).h(source, id)    cause and effect
//	c.H(conversation).h(source, id)  a signal of a conversation
//	v.H(id).h(source)              the verdicts on the signal's deliveries
//
// Values are JSON and hold in full what the keys only hash, so `nats kv get` shows them. The
// data of a signal stays on the bus, where it is anyway and for longer; the journal keeps its
// place. Only a signal recorded by hand is kept whole.
//
// A cause added by hand ([Journal.Record] with one that the signal does not name itself) is a
// node of its own, s.H(id).h(source)-h(cause), so that no two writers change one key.
// Verdicts are the only value that is changed: they are merged, and stored on the condition
// that nobody else stored in between.
//
// # What it costs
//
// Measured with 256 bytes of data and ids of 6 characters: each key takes about 260 bytes of
// disk (a verdict document 430) and 220 to 330 bytes of the server's memory. A signal with a
// cause, a conversation and one delivery is four keys: 1.2 kB of disk, 1.2 kB of memory.
//
// # Replicas
//
// Reads are direct gets, which any replica answers. With one server a read sees all that was
// stored before it. With three it may miss what was stored a moment ago: a lookup may not
// find it yet and [Journal.Record] may not find the cause yet; neither finds anything wrong.
package journal
