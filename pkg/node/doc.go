// Package node is everything that one process of the mesh runs: an embedded NATS server or
// a connection to one, the buses with their journals, the agents that route and deliver,
// the HTTP surface, and its place in the mesh.
//
// What it promises:
//
//   - [New] is inert. [Node.Run] starts everything in order, blocks, and takes it down in
//     the opposite order when its context ends: nothing new is let in, then what is in
//     flight finishes, then what is left is handed back.
//   - Killing the process instead loses nothing that was acknowledged.
//   - A node that can't start changes nothing in the mesh: its addresses, its name and its
//     configuration are checked before its routes are put in force.
//   - Signals are taken off a bus only when the mesh's routes are in force here. A change of
//     routes is followed without a restart; one that can't be put in force leaves what runs,
//     and is visible at /readyz?verbose.
//   - A server that goes away is waited for. What ends for good ends the node, with an error.
//
// Both signald and tests run a Node; nothing in here is global, so one process may run
// several.
package node
