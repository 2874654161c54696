// Package signal is the unit that travels through the mesh: one CloudEvents 1.0 event.
//
// What it promises:
//
//   - Nothing is lost. A [Signal] that [Signal.Validate] accepts is the same signal after
//     it was written as JSON and read again: every attribute, every extension with its
//     type, and the data byte for byte, be it JSON of any kind or plain bytes.
//   - Nothing is guessed. The JSON reader refuses what it cannot represent, and says which
//     attribute is wrong in an [AttributeError]. It never repairs input.
//   - Ids made by [NewID] are UUIDv7 and strictly increasing within the process.
//   - A signal made with [CausedBy] continues the conversation, the trace and the hop count
//     of its cause, unless an option says otherwise.
//
// Signals are plain values. They may be read by any number of goroutines and must not be
// changed once published or handed to a handler; change a [Signal.Clone] instead.
//
// # Time
//
// Times travel as RFC 3339 with up to nine fractional digits and the offset they were given
// with; the instant never changes. Monotonic clock readings are dropped.
//
// # Data
//
// Data is what travels. A content type of application/json, text/json, anything that ends in
// "+json", or none at all, makes it JSON text: it is carried as it was written, numbers of any
// length, key order and the spaces within included. Everything else is bytes. Data that is nil is no
// data; the JSON text null is data. Reading follows the same rule: `"data":null` is the JSON
// value null when the content type is JSON, and no data otherwise.
package signal
