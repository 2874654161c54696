// Package mesh knows who is alive, and lets any process of the mesh answer by name.
//
// What it promises:
//
//   - A node that joined is in [Nodes] until it leaves, or until fifteen seconds after it
//     was last heard of. Watchers of the bucket see both.
//   - A node's name is its own: a second node of the same name is refused while the first
//     one answers, and takes its place at once when it does not.
//   - A [Member] outlives reconnects and a server that comes back without the bucket, which
//     is kept in memory.
//   - Each node is also the NATS micro service "signald": `nats micro ls`, `$SRV.PING` and
//     `$SRV.STATS` ask the live process instead of the record.
//   - A named target is served by any number of processes; each call reaches one of them.
//     The error of its handler arrives at the caller with code and advice ([CallNamed]). A
//     panic is an error. A name that nobody serves is fault.Unavailable at once, not a
//     timeout.
//
// A call of a named target is at most once by itself; whoever delivers retries.
package mesh
