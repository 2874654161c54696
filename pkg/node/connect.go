package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/signalmesh/signalmesh/pkg/embed"
	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/secret"
)

// connect starts the embedded server, or joins the one in the configuration.
func (n *Node) connect(ctx context.Context, undo *stack) error {
	if n.cfg.NATS.URL != "" {
		return n.dial(ctx, undo)
	}
	if err := n.embed(ctx, undo); err != nil {
		return err
	}
	conn, err := n.server.Connect(n.connection()...)
	if err != nil {
		return fmt.Errorf("connect to the embedded server: %w", err)
	}
	n.hold(conn, undo)
	return nil
}

func (n *Node) embed(ctx context.Context, undo *stack) error {
	host, port, err := splitListen(n.cfg.NATS.Listen)
	if err != nil {
		return err
	}
	cfg := embed.Config{
		Name: n.Name(), Dir: n.cfg.Node.Data, Host: host, Port: port, NextFree: n.opts.NextFreeNATS,
		Open: n.cfg.Network.Expose, Durability: embed.Durability(n.cfg.NATS.Durability),
		MaxStore: int64(n.cfg.NATS.MaxStore), Log: n.log,
	}
	if !n.cfg.NATS.Token.IsZero() {
		if cfg.Token, err = n.cfg.NATS.Token.Resolve(); err != nil {
			return fmt.Errorf("nats.token: %w", err)
		}
	}
	if cfg.Cluster, err = n.cluster(); err != nil {
		return err
	}
	if n.server, err = embed.Start(ctx, cfg); err != nil {
		return err
	}
	undo.push(n.server.Shutdown)
	return nil
}

// cluster is what the embedded server knows of the others.
func (n *Node) cluster() (embed.Cluster, error) {
	c := n.cfg.NATS.Cluster
	if c == nil {
		return embed.Cluster{}, nil
	}
	host, port, err := splitListen(c.Listen)
	if err != nil {
		return embed.Cluster{}, fmt.Errorf("nats.cluster.listen: %w", err)
	}
	return embed.Cluster{Name: c.Name, Host: host, Port: port, Routes: c.Routes, Advertise: c.Advertise}, nil
}

// dial joins a server outside. One that is not up yet is waited for, because nodes and
// servers start in any order.
func (n *Node) dial(ctx context.Context, undo *stack) error {
	opts, err := n.credentials()
	if err != nil {
		return err
	}
	opts = append(opts, n.connection()...)
	server := withoutUser(n.cfg.NATS.URL)
	for began := time.Now(); ; {
		conn, err := nats.Connect(n.cfg.NATS.URL, opts...)
		if err == nil {
			n.hold(conn, undo)
			return nil
		}
		if errors.Is(err, nats.ErrAuthorization) {
			return fault.Wrap(fault.Unauthenticated, fmt.Errorf("connect to %s: %w", server, err))
		}
		if !mayPass(err) || time.Since(began) > n.opts.ConnectTimeout {
			err = fault.Wrap(fault.Unavailable, fmt.Errorf("connect to %s: %w", server, err))
			return fault.Hint(err, "is the server up, and does nats.url name its client port?")
		}
		n.log.WarnContext(ctx, "nats does not answer yet", "url", server, "error", err)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(reconnectWait):
		}
	}
}

// mayPass reports whether waiting can help against an error of connecting.
func mayPass(err error) bool {
	var netErr net.Error
	return errors.Is(err, nats.ErrNoServers) || errors.Is(err, nats.ErrTimeout) || errors.As(err, &netErr)
}

// credentials are what the node shows to a server outside.
func (n *Node) credentials() ([]nats.Option, error) {
	var opts []nats.Option
	if ref := n.cfg.NATS.Creds; !ref.IsZero() {
		file, ok := strings.CutPrefix(ref.String(), "file:")
		if !ok {
			return nil, fault.Newf(fault.Invalid, "nats.creds must be file:/path of a credentials file")
		}
		opts = append(opts, nats.UserCredentials(file))
	}
	if ref := n.cfg.NATS.Token; !ref.IsZero() {
		token, err := ref.Resolve()
		if err != nil {
			return nil, fmt.Errorf("nats.token: %w", err)
		}
		opts = append(opts, nats.Token(token))
	}
	return opts, nil
}

// reconnectWait is between two attempts to reach a server.
const reconnectWait = 250 * time.Millisecond

// connection are the options of every connection of a node: it says who it is, and never
// gives up once it was there, not even when it is refused: credentials may be being changed.
func (n *Node) connection() []nats.Option {
	return []nats.Option{
		nats.Name("signald " + n.Name()), nats.MaxReconnects(-1), nats.ReconnectWait(reconnectWait), nats.IgnoreAuthErrorAbort(),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				n.log.Warn("connection to nats is lost", "error", err)
			}
		}),
		nats.ReconnectHandler(func(c *nats.Conn) { n.log.Info("connection to nats is back", "url", secret.URL(c.ConnectedUrl())) }),
		nats.ErrorHandler(func(_ *nats.Conn, s *nats.Subscription, err error) {
			subject := ""
			if s != nil {
				subject = s.Subject
			}
			n.log.Warn("nats reports an error", "subject", subject, "error", err)
		}),
	}
}

// hold keeps the connection until everything that uses it is down, and flushes it then, so
// that the last acknowledgements leave.
func (n *Node) hold(conn *nats.Conn, undo *stack) {
	n.conn = conn
	undo.push(func() {
		if err := conn.FlushTimeout(2 * time.Second); err != nil {
			n.log.Warn("could not flush to nats", "error", err)
		}
		conn.Close()
	})
}

// withoutUser is a URL, or several with commas between them, without user and password.
func withoutUser(urls string) string {
	list := strings.Split(urls, ",")
	for i, text := range list {
		scheme, rest, found := strings.Cut(strings.TrimSpace(text), "://")
		if !found {
			scheme, rest = "nats", scheme
		}
		list[i] = scheme + "://" + rest[strings.LastIndexByte(rest, '@')+1:]
	}
	return strings.Join(list, ",")
}

func splitListen(address string) (host string, port int, err error) {
	host, text, err := net.SplitHostPort(address)
	if err == nil {
		port, err = strconv.Atoi(text)
	}
	if err != nil {
		return "", 0, fault.Newf(fault.Invalid, "listen address %q is not host:port: %w", address, err)
	}
	if port == 0 {
		port = embed.RandomPort
	}
	return host, port, nil
}
