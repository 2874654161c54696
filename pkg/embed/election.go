package embed

import (
	"time"
	_ "unsafe" // for go:linkname

	_ "github.com/nats-io/nats-server/v2/server" // whose variables these are
)

// The times of an election, which the engine has no options for. Its own, 4 to 9 seconds
// without a heartbeat every second, are how long a stream takes no signals after its leader
// was killed; docs/adr/004-elections.md weighs what shorter ones cost.
//
// They are set before any server runs, for all servers of the process. A server that is not
// in a cluster has no elections.
const (
	heartbeat   = 250 * time.Millisecond
	electionMin = 1000 * time.Millisecond
	electionMax = 1800 * time.Millisecond
)

//go:linkname engineHeartbeat github.com/nats-io/nats-server/v2/server.hbInterval
var engineHeartbeat time.Duration

//go:linkname engineElectionMin github.com/nats-io/nats-server/v2/server.minElectionTimeout
var engineElectionMin time.Duration

//go:linkname engineElectionMax github.com/nats-io/nats-server/v2/server.maxElectionTimeout
var engineElectionMax time.Duration

func init() {
	engineHeartbeat, engineElectionMin, engineElectionMax = heartbeat, electionMin, electionMax
}
