// Package agent runs routing and delivery on one node, for one bus.
//
// All agents of a mesh share one durable consumer per bus. Each takes its part of the
// signals, matches every one against the whole route table in process, and promises:
//
//   - A signal is acknowledged only when each of its deliveries has a verdict that is
//     stored: delivered, dead with a dead letter, or parked as a durable retry. An agent
//     that dies before that loses nothing: another takes the signal over.
//   - One (signal, route, target) is one delivery with its own attempts. It never blocks,
//     repeats or delays another one. A takeover skips what already has a verdict and goes
//     on with the attempts of the rest where they ended.
//   - A receiver sees a delivery at least once, and every time with the same key
//     ([dispatch.Info]), so that it can tell a repeat.
//   - A wait of more than a second leaves memory: the delivery is parked in the stream
//     until it is due, and holds back nothing meanwhile. So is one whose target has its
//     hands full: a target that hangs holds a share of the signals in flight, never all.
//   - A panic in a predicate or an adapter is that delivery's failure, never a crash. What
//     ends the process nevertheless is found out and given up; the deliveries beside it go
//     on.
//   - A signal that was caused by its own route too often ends as a dead letter, not as a
//     storm. Whatever an adapter publishes, or a target answers, is a hop further.
//   - A route change is a swap of one pointer. Signals in flight finish with the table they
//     began with; a route whose targets can't be opened keeps its running definition.
//
// The way of one signal: [Agent.Run] takes it off the bus; table.plan says which deliveries
// it causes (table.go); a flight settles them side by side (flight.go), each of them a run
// of attempts (run.go) that ends delivered, parked or dead (outcome.go). What is parked or
// redriven comes back one delivery at a time (later.go). [Why] reads the story afterwards.
package agent
