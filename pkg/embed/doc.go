// Package embed runs a NATS server with JetStream inside the process.
//
// What it promises:
//
//   - What JetStream acknowledged is on disk. [Sync] is the default durability and means an
//     fsync before each acknowledgement; [Fast] is the opt-out, and [Server.Durability]
//     says which is in force.
//   - [Start] returns a server that answers: streams are recovered, JetStream is up and the
//     listener is open. Otherwise it returns an error and nothing is left running.
//   - A server of a [Cluster] is started when the cluster works: a majority is up, and what
//     this server keeps is recovered and led.
//   - A port or a data directory that somebody else uses is a typed error (fault.Conflict)
//     before anything is touched.
//   - Nothing in here ends the process or installs signal handlers. What the server calls
//     fatal is recorded, logged, and reported by [Start] or [Server.Healthy].
//   - It listens on 127.0.0.1 unless told otherwise, and on other addresses only with a
//     token or with [Config.Open].
//   - [Server.Shutdown] returns when every goroutine of the server has ended and the
//     directory may be removed or opened by another process.
//
// This is the only package that imports nats-server. Its regression tests
// (traps_test.go) pin engine behaviour that the rest of the mesh works around, so that an
// upgrade which changes it is noticed.
package embed
