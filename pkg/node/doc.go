// Package node is everything that one process of the mesh runs: an embedded NATS server or
// a connection to one, the buses with their journals, the agents that route and deliver,
// the HTTP surface, and its place in the mesh.
//
// [New] is inert. [Node.Run] starts everything in order, blocks, and takes it down in the
// opposite order when its context ends: first nothing new is let in, then what is in flight
// finishes, then what is left is handed back. Killing the process instead loses nothing
// that was acknowledged.
//
// Both signald and tests run a Node; nothing in here is global, so one process may run
// several.
package node
