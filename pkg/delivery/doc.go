// Package delivery says what happens to one signal at one receiver: attempts, until
// there is a verdict.
//
// It promises, to subscriptions and routes alike:
//
//   - [Policy.Run] is the only loop that makes attempts. The first attempt counts. A
//     [fault.Permanent] error ends it at once, [fault.RetryAfter] sets the least wait, and
//     anything else is tried again after an exponential, jittered wait until MaxAttempts.
//   - A panic in the receiver is a failed attempt, never a crash.
//   - The end of the context is not a failure: the run stops without a verdict, and
//     whoever holds the signal hands it back to the stream.
//
// The documents that such a run leaves behind are here too, each readable as plain JSON:
// an [Attempt], a [Verdict] for the journal, a dead [Letter], and a [Request] to run one
// delivery later. The package has no clock but the standard one, no network and no state.
package delivery
