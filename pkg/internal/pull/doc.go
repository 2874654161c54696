// Package pull takes messages from a durable JetStream consumer and hands them over one by
// one. Subscriptions, routes and the journal stand on it.
//
// It promises:
//
//   - Messages come in the order in which the server delivers them, on one goroutine. A
//     handler that blocks is back-pressure: what is taken in advance is at most about a
//     quarter of a second of work, and nothing at all from a slow handler, so nothing
//     grows old in a buffer and members share the work fairly.
//   - A request that got lost is noticed within two heartbeats (2 s) and sent again;
//     a reconnect, a change of leader and a restart of the server are ridden out.
//   - Stop gives back what was taken and not handed over: others have it at once, not
//     after AckWait.
//   - A message delivered three times or more without an outcome may be what kills the
//     process. It is handed over alone, so that its neighbours are not blamed.
//
// It speaks the pull protocol itself because the Consume of nats.go 1.55 can fall silent
// until its heartbeat timer fires, and because it drops what it has buffered.
package pull
