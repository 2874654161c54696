package embed

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/signalmesh/signalmesh/pkg/fault"
)

// readyTimeout bounds the wait for the listener after streams were recovered.
const readyTimeout = 10 * time.Second

// A Server is a running embedded NATS server. Its methods may be called concurrently.
type Server struct {
	cfg  Config
	srv  *server.Server
	log  *logger
	lock *os.File
	stop sync.Once
}

// Start runs a server and returns when it answers. Recovery of large streams takes as long
// as it takes: ctx is looked at before and after it, not during. A server of a cluster
// answers when a majority is up, and is waited for until ctx ends.
//
// Errors are fault.Invalid or Denied for the configuration, fault.Conflict for a port or a
// directory in use, fault.Unavailable for a server that did not come up.
func Start(ctx context.Context, cfg Config) (*Server, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("nats server: %w", err)
	}
	dir, err := filepath.Abs(cfg.Dir)
	if err != nil {
		return nil, fault.Newf(fault.Invalid, "nats server: data directory: %w", err)
	}
	cfg.Dir = dir
	s := &Server{cfg: cfg, log: &logger{log: cfg.Log}}
	if s.lock, err = lockDir(cfg.Dir); err != nil {
		return nil, fmt.Errorf("nats server: %w", err)
	}
	if err := s.start(ctx); err != nil {
		s.Shutdown()
		return nil, fmt.Errorf("nats server: %w", err)
	}
	return s, nil
}

func (s *Server) start(ctx context.Context) error {
	port, err := s.choosePort(ctx)
	if err != nil {
		return err
	}
	if err := s.checkClusterPort(ctx); err != nil {
		return err
	}
	srv, err := server.NewServer(s.cfg.options(port))
	if err != nil {
		return fault.Wrap(fault.Invalid, err)
	}
	s.srv = srv
	srv.SetLoggerV2(s.log, false, false, false)
	srv.Start()
	ready := s.log.err() == nil && srv.ReadyForConnections(readyTimeout)
	switch err := s.log.err(); {
	case err != nil && strings.Contains(err.Error(), "Error listening on port"):
		return portTaken(s.cfg.Host, port)
	case err != nil:
		return fault.Wrap(fault.Unavailable, err)
	case ctx.Err() != nil:
		return ctx.Err()
	case !ready:
		return fault.Newf(fault.Unavailable, "not listening after %s", readyTimeout)
	}
	if s.cfg.Cluster.enabled() {
		return s.quorum(ctx)
	}
	return s.Healthy()
}

// choosePort finds out whether the port can be had before streams are recovered.
func (s *Server) choosePort(ctx context.Context) (int, error) {
	if s.cfg.Port <= 0 {
		return server.RANDOM_PORT, ctx.Err()
	}
	open := ListenOn
	if s.cfg.NextFree {
		open = Listen
	}
	l, err := open(ctx, s.cfg.Host, s.cfg.Port)
	if err != nil {
		return 0, err
	}
	return l.Addr().(*net.TCPAddr).Port, l.Close()
}

// Name is the server's name.
func (s *Server) Name() string { return s.cfg.Name }

// Dir is the absolute path of the data directory.
func (s *Server) Dir() string { return s.cfg.Dir }

// Durability says what an acknowledgement of this server means.
func (s *Server) Durability() Durability { return s.cfg.Durability }

// ClientURL is where clients connect, "nats://127.0.0.1:4222". It does not hold the token.
func (s *Server) ClientURL() string { return s.srv.ClientURL() }

// Connect opens a connection that stays within the process: no port, no TLS, half the
// latency of loopback TCP. It reconnects for ever unless opts say otherwise. The caller
// closes it, before [Server.Shutdown].
func (s *Server) Connect(opts ...nats.Option) (*nats.Conn, error) {
	all := []nats.Option{nats.InProcessServer(s.srv), nats.Name(s.cfg.Name), nats.MaxReconnects(-1)}
	if s.cfg.Token != "" {
		all = append(all, nats.Token(s.cfg.Token))
	}
	nc, err := nats.Connect("", append(all, opts...)...)
	if err != nil {
		return nil, fault.Newf(fault.Unavailable, "connect to embedded nats server: %w", err)
	}
	return nc, nil
}

// Healthy asks the server whether it works: JetStream enabled, every stream and consumer
// recovered, no write error. An error is fault.Unavailable and carries the reason.
func (s *Server) Healthy() error {
	if err := s.log.err(); err != nil {
		return fault.Wrap(fault.Unavailable, err)
	}
	if !s.srv.Running() {
		return fault.Wrap(fault.Unavailable, errors.New("the nats server was shut down"))
	}
	h := s.srv.Healthz(&server.HealthzOptions{})
	if h.Status != "ok" {
		return fault.Newf(fault.Unavailable, "%s", h.Error)
	}
	return nil
}

// Shutdown stops the server and returns when all of it has ended. It may be called more
// than once.
func (s *Server) Shutdown() {
	s.stop.Do(func() {
		if s.srv != nil {
			s.srv.Shutdown()
			s.srv.WaitForShutdown()
		}
		_ = s.lock.Close() // which lets go of it, whatever it says
	})
}
