// Package streams holds the streams and buckets that the product runs on, one family per
// file. They are data: [provision] makes them so, `sigctl streams plan` shows where a
// server differs, and a directory of such files with other values, given to
// `sigctl streams apply -f`, takes their place. They are the example for users' own.
//
// A file holds one or more documents, each `stream:` or `bucket:` with the keys of NATS'
// own stream and bucket configuration. Three placeholders are replaced: {bus} by the name
// of a bus (a file that mentions it stands for one definition per bus), {prefix} by the
// subject prefix, {PREFIX} by the same in capitals.
//
// [provision]: https://pkg.go.dev/github.com/signalmesh/signalmesh/pkg/provision
package streams

import "embed"

// FS holds the definitions.
//
//go:embed *.yaml
var FS embed.FS

// The files of [FS], for those who need one family.
const (
	Signals     = "signals.yaml"     // per bus: the log of signals
	DeadLetters = "deadletters.yaml" // per bus: deliveries that ended without success
	Later       = "later.yaml"       // per bus: deliveries to be run later
	Snapshots   = "snapshots.yaml"   // per bus: copies of its history, kept until deleted
	Journal     = "journal.yaml"     // per bus: who caused what
	Routes      = "routes.yaml"      // per mesh: the routes
	Nodes       = "nodes.yaml"       // per mesh: who is alive
)
