package node

import (
	"context"
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
		return n.dial(undo)
	}
	if err := n.embed(ctx, undo); err != nil {
		return err
	}
	opts := n.connection()
	if !n.cfg.NATS.Token.IsZero() {
		token, err := n.cfg.NATS.Token.Resolve()
		if err != nil {
			return err
		}
		opts = append(opts, nats.Token(token))
	}
	conn, err := n.server.Connect(opts...)
	if err != nil {
		return fmt.Errorf("connect to the embedded server: %w", err)
	}
	n.hold(conn, undo)
	return nil
}

func (n *Node) embed(ctx context.Context, undo *stack) error {
	if n.cfg.Node.Data == "" {
		return fault.Newf(fault.Invalid, "node.data is required: the folder of the embedded server's streams")
	}
	host, port, err := splitListen(n.cfg.NATS.Listen)
	if err != nil {
		return err
	}
	cfg := embed.Config{
		Name: n.Name(), Dir: n.cfg.Node.Data, Host: host, Port: port, NextFree: n.opts.NextFree,
		Open: n.cfg.Network.Expose, Durability: embed.Durability(n.cfg.NATS.Durability),
		MaxStore: int64(n.cfg.NATS.MaxStore), Log: n.log,
	}
	if !n.cfg.NATS.Token.IsZero() {
		if cfg.Token, err = n.cfg.NATS.Token.Resolve(); err != nil {
			return err
		}
	}
	if n.server, err = embed.Start(ctx, cfg); err != nil {
		return err
	}
	undo.push(n.server.Shutdown)
	return nil
}

// dial joins a server outside. It keeps trying when that one is not up yet, because nodes
// and servers start in any order.
func (n *Node) dial(undo *stack) error {
	opts := n.connection()
	if ref := n.cfg.NATS.Creds; !ref.IsZero() {
		file, ok := credsFile(ref)
		if !ok {
			return fault.Newf(fault.Invalid, "nats.creds must be file:/path of a credentials file")
		}
		opts = append(opts, nats.UserCredentials(file))
	}
	if ref := n.cfg.NATS.Token; !ref.IsZero() {
		token, err := ref.Resolve()
		if err != nil {
			return err
		}
		opts = append(opts, nats.Token(token))
	}
	conn, err := nats.Connect(n.cfg.NATS.URL, opts...)
	if err != nil {
		err = fault.Wrap(fault.Unavailable, fmt.Errorf("connect to %s: %w", secret.URL(n.cfg.NATS.URL), err))
		return fault.Hint(err, "is the server up, and does nats.url name its client port?")
	}
	n.hold(conn, undo)
	return nil
}

// connection are the options of every connection of a node: it never gives up, and says
// who it is.
func (n *Node) connection() []nats.Option {
	return []nats.Option{
		nats.Name("signald " + n.Name()), nats.MaxReconnects(-1), nats.ReconnectWait(250 * time.Millisecond),
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

func credsFile(ref secret.Ref) (string, bool) {
	return strings.CutPrefix(ref.String(), "file:")
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
