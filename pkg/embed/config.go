package embed

import (
	"errors"
	"log/slog"
	"net"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/signalmesh/signalmesh/pkg/fault"
)

// DefaultPort is the port that NATS clients try first.
const DefaultPort = 4222

// RandomPort asks for any free port.
const RandomPort = -1

// Defaults of [Config].
const (
	DefaultName       = "signalmesh"
	DefaultHost       = "127.0.0.1"
	DefaultMaxMemory  = 256 << 20 // bytes of memory streams
	DefaultMaxPayload = 8 << 20   // bytes of one message, the most that NATS advises
)

// MaxConsumers is how many consumers one stream may have. The engine's own default is
// 1000, which is less than a busy bus has subscriptions.
const MaxConsumers = 10_000

// Durability says what an acknowledgement means.
type Durability string

// The two durabilities. The zero value is taken for Sync.
const (
	// Sync acknowledges after the data is on disk: what was acknowledged survives power loss.
	Sync Durability = "sync"
	// Fast acknowledges after the data is in the page cache and syncs every ten seconds:
	// it survives the end of the process, and not the end of the machine.
	Fast Durability = "fast"
)

// fastSyncInterval bounds what Fast can lose; the engine's own default is two minutes.
const fastSyncInterval = 10 * time.Second

// Config describes one embedded server. Only Dir has no default.
type Config struct {
	Name string // of the server, without spaces; "signalmesh" by default
	Dir  string // where streams are kept; created if missing, used by one server at a time

	Host string // address to listen on; 127.0.0.1 by default
	Port int    // port to listen on; 0 and RandomPort mean any free port
	// NextFree takes the next free port when Port is in use, up to 100 further.
	NextFree bool

	Token string // asked of every client when not empty
	Open  bool   // accept a Host that is not loopback without a token

	Durability Durability // Sync by default
	MaxMemory  int64      // bytes of all memory streams; DefaultMaxMemory by default
	MaxStore   int64      // bytes of all file streams; three quarters of the free disk by default
	MaxPayload int32      // bytes of one message with its headers; DefaultMaxPayload by default
	Domain     string     // JetStream domain, which leaf nodes need; none by default

	Cluster Cluster // of several servers; none by default

	Log *slog.Logger // nil logs nothing
}

// withDefaults fills what was left out.
func (c Config) withDefaults() Config {
	if c.Name == "" {
		c.Name = DefaultName
	}
	if c.Host == "" {
		c.Host = DefaultHost
	}
	if c.Cluster.enabled() && c.Cluster.Host == "" {
		c.Cluster.Host = DefaultHost
	}
	if c.Durability == "" {
		c.Durability = Sync
	}
	if c.MaxMemory == 0 {
		c.MaxMemory = DefaultMaxMemory
	}
	if c.MaxPayload == 0 {
		c.MaxPayload = DefaultMaxPayload
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// validate reports everything that is wrong at once.
func (c Config) validate() error {
	var errs []error
	bad := func(format string, args ...any) {
		errs = append(errs, fault.Newf(fault.Invalid, format, args...))
	}
	if c.Dir == "" {
		bad("no data directory given")
	}
	if strings.ContainsAny(c.Name, " \t\r\n") {
		bad("server name %q contains spaces", c.Name)
	}
	if c.Port > 65535 || c.Port < RandomPort {
		bad("port %d is not between 0 and 65535", c.Port)
	}
	if strings.ContainsAny(c.Domain, ".*> \t") {
		bad("jetstream domain %q contains one of . * > or a space", c.Domain)
	}
	if c.Durability != Sync && c.Durability != Fast {
		bad("durability %q is neither %q nor %q", c.Durability, Sync, Fast)
	}
	if c.MaxMemory < 0 || c.MaxStore < 0 || c.MaxPayload < 0 {
		bad("a limit is negative")
	}
	if c.Token == "" && !c.Open && !isLoopback(c.Host) {
		errs = append(errs, fault.Hint(
			fault.Newf(fault.Denied, "listening on %s without authentication", c.Host),
			"set a token, listen on 127.0.0.1, or say that the port is meant to be open"))
	}
	errs = append(errs, c.validateCluster()...)
	if len(errs) == 0 {
		return nil
	}
	return fault.Wrap(fault.CodeOf(errs[0]), errors.Join(errs...))
}

// isLoopback reports whether host can only be reached from this machine.
func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// options are fresh for each start: the server writes into what it is given.
func (c Config) options(port int) *server.Options {
	o := &server.Options{
		ServerName: c.Name, Host: c.Host, Port: port, Authorization: c.Token,
		MaxPayload: c.MaxPayload,

		JetStream: true, StoreDir: c.Dir, JetStreamDomain: c.Domain,
		JetStreamMaxMemory: c.MaxMemory, JetStreamMaxStore: c.MaxStore,
		JetStreamLimits: server.JSLimitOpts{DefaultMaxConsumers: MaxConsumers},
		SyncAlways:      c.Durability == Sync, SyncInterval: fastSyncInterval,

		NoSigs: true, DisableJetStreamBanner: true,
		LameDuckGracePeriod: time.Second, LameDuckDuration: 5 * time.Second,
	}
	c.clusterOptions(o)
	return o
}
