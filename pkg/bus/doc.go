// Package bus is a named log of signals: publish, now or later, subscribe, replay, dead
// letters.
//
// # What delivery promises
//
// Publishing:
//
//   - A Publish that returned nil is stored, as durably as the server promises. Nobody
//     receives a signal before that.
//   - Several signals in one Publish are stored all or none, next to each other.
//   - The same source and id within the dedup window is stored once. A Publish that failed
//     may be repeated as it is.
//   - Nothing invalid is sent, and nothing is dropped: an error says what was not stored.
//
// A durable subscription:
//
//   - Every matching signal since its beginning reaches a handler at least once, and in the
//     end has exactly one outcome: handled, passed over by its filter or its expiry, or a
//     dead letter. It may reach a handler again after a crash, a lost connection, or a
//     verdict that got lost; a handler that must not act twice remembers source and id.
//   - The dead letter is stored before the signal is acknowledged.
//   - A signal that is tried again holds up no other. With one handler at a time, the
//     default, the first attempts are in the order of publishing. With [OrderBy] the signals
//     of one key are handled one after another, and one that is tried again holds up its key.
//   - What a member has taken and not handled goes to the others at once when it stops, and
//     after AckWait when it crashes. While it lives, a signal is its own, however long the
//     handler takes.
//   - A signal that crashes its process is recognized by its count of deliveries and ends
//     as a dead letter (reason crash_loop) after MaxAttempts deliveries and three more.
//     From its third delivery on nothing is taken after it until it has an outcome or a
//     second has passed, so that its neighbours are not blamed.
//   - A dead letter that is redriven goes to that subscription and no other.
//   - With [ManualAck] a handler's nil only means that the signal is taken, and
//     [Subscription.Ack] that it is handled, in any order and at any time. Without a verdict
//     within AckWait of the handler's return that was a failed attempt, and the signal comes
//     again, until its attempts are used up.
//   - It can be paused, resumed and moved back or ahead while its members run
//     ([Bus.PauseSubscription], [Bus.ResetSubscription]); the bus keeps its backlog.
//   - A slow subscription holds up neither publishers nor other subscriptions: the bus
//     keeps what it has not taken.
//
// An ephemeral subscription and a replay read in order and without gaps, through lost
// connections and restarted servers, from a position of their own in memory.
//
// What is not promised: order between a signal that is tried again and those behind it,
// between the members of a durable subscription, or with more than one handler at a time;
// and a second delivery never happening.
//
// Messages on the bus that are no signals are passed over and counted.
//
// # History
//
// [Bus.Replay] reads what is kept, and [Bus.Snapshots] keep copies of it that nothing later
// touches. [Rebuild] folds what is about one subject into a state, and decisions on that
// state are published only if it was up to date.
//
// # Time
//
// [Bus.PublishAt] stores a signal now and has it appear at its time, once, whatever is
// restarted meanwhile; [Bus.Schedules] publish again and again. The engine keeps the time,
// and it takes a process in which [Bus.PublishDue] runs, which every node is, to put on the
// bus what has come due. A signal that has expired reaches no handler.
//
// A handler has as long as it likes, unless [Timeout] bounds it. Its context ends with
// [Subscription.Stop], not with that of the call that subscribed.
package bus
