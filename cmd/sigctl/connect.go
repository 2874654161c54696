package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/urfave/cli/v2"

	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/secret"
)

// dial says how to reach NATS. Its JSON form is that of a context of the nats command, of
// which it reads what concerns the connection.
type dial struct {
	URL         string `json:"url"`
	User        string `json:"user"`
	Password    string `json:"password"`
	Token       string `json:"token"`
	Creds       string `json:"creds"`
	NKey        string `json:"nkey"`
	UserJWT     string `json:"user_jwt"`
	UserSeed    string `json:"user_seed"`
	Cert        string `json:"cert"`
	Key         string `json:"key"`
	CA          string `json:"ca"`
	TLSFirst    bool   `json:"tls_first"`
	InboxPrefix string `json:"inbox_prefix"`
}

// dialing decides where to connect: --server, --context, $NATS_URL, $NATS_CONTEXT, the
// selected context, or the default server.
func dialing(c *cli.Context) (dial, error) {
	server, name := c.String("server"), c.String("context")
	if server == "" && name == "" {
		server = os.Getenv("NATS_URL")
	}
	if server != "" {
		return dial{URL: server}, nil
	}
	if name == "" {
		name = os.Getenv("NATS_CONTEXT")
	}
	if name == "" {
		selected, err := os.ReadFile(filepath.Join(contextHome(), "context.txt"))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return dial{}, fault.Newf(fault.Invalid, "selected nats context: %w", err)
		}
		name = strings.TrimSpace(string(selected))
	}
	if name == "" {
		return dial{URL: nats.DefaultURL}, nil
	}
	d, err := readContext(name)
	if err != nil {
		return dial{}, fmt.Errorf("nats context %q: %w", name, err)
	}
	return d, nil
}

// contextHome is where the nats command keeps its contexts.
func contextHome() string {
	home := os.Getenv("XDG_CONFIG_HOME")
	if home == "" {
		user, err := os.UserHomeDir()
		if err != nil {
			return ""
		}
		home = filepath.Join(user, ".config")
	}
	return filepath.Join(home, "nats")
}

func readContext(name string) (dial, error) {
	var d dial
	if strings.ContainsAny(name, `/\`) || strings.Contains(name, "..") {
		return d, fault.Newf(fault.Invalid, "not a name")
	}
	text, err := os.ReadFile(filepath.Join(contextHome(), "context", name+".json")) //nolint:gosec // the name holds no separator, see above
	if errors.Is(err, fs.ErrNotExist) {
		return d, fault.Hint(fault.Newf(fault.NotFound, "there is none"), "`nats context ls` shows the names; --server goes without one")
	}
	if err != nil {
		return d, fault.Wrap(fault.Invalid, err)
	}
	if err := json.Unmarshal(text, &d); err != nil {
		return d, fault.Newf(fault.Invalid, "%w", err)
	}
	if d.URL == "" {
		d.URL = nats.DefaultURL
	}
	return d, nil
}

// connect reaches the server once; a command does not wait for one to come.
func (d dial) connect(timeout time.Duration) (*nats.Conn, error) {
	opts, err := d.options()
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", d.where(), err)
	}
	nc, err := nats.Connect(d.URL, append(opts, nats.Timeout(timeout))...)
	switch {
	case err == nil:
		return nc, nil
	case errors.Is(err, nats.ErrAuthorization), errors.Is(err, nats.ErrAuthExpired), strings.Contains(err.Error(), "Authorization Violation"):
		return nil, fault.Hint(fault.Newf(fault.Denied, "connect to %s: %w", d.where(), err),
			"give credentials with a NATS context, or in the URL of --server")
	}
	return nil, fault.Hint(fault.Newf(fault.Unavailable, "connect to %s: %s", d.where(), d.redact(err)),
		"is a node running? `signald dev` starts one and prints its address; --server says where to look")
}

// where is the server's URL as it may be shown.
func (d dial) where() string {
	var shown []string
	for u := range strings.SplitSeq(d.URL, ",") {
		shown = append(shown, secret.URL(strings.TrimSpace(u)))
	}
	return strings.Join(shown, ",")
}

// redact is the text of an error of the client, which may quote the URL.
func (d dial) redact(err error) string {
	text := err.Error()
	for u := range strings.SplitSeq(d.URL, ",") {
		if parsed, perr := url.Parse(strings.TrimSpace(u)); perr == nil && parsed.User != nil {
			password, _ := parsed.User.Password()
			text = secret.Redact(text, password, parsed.User.String())
		}
	}
	return text
}

func (d dial) options() ([]nats.Option, error) {
	opts := []nats.Option{nats.Name("sigctl"), nats.MaxReconnects(10)}
	add := func(used bool, o nats.Option) {
		if used {
			opts = append(opts, o)
		}
	}
	add(d.User != "", nats.UserInfo(d.User, d.Password))
	add(d.Token != "", nats.Token(d.Token))
	add(d.Creds != "", nats.UserCredentials(expand(d.Creds)))
	add(d.UserJWT != "" && d.UserSeed != "", nats.UserJWTAndSeed(d.UserJWT, d.UserSeed))
	add(d.CA != "", nats.RootCAs(expand(d.CA)))
	add(d.Cert != "" && d.Key != "", nats.ClientCert(expand(d.Cert), expand(d.Key)))
	add(d.TLSFirst, nats.TLSHandshakeFirst())
	add(d.InboxPrefix != "", nats.CustomInboxPrefix(d.InboxPrefix))
	if d.NKey != "" {
		o, err := nats.NkeyOptionFromSeed(expand(d.NKey))
		if err != nil {
			return nil, fault.Newf(fault.Invalid, "nkey: %w", err)
		}
		opts = append(opts, o)
	}
	return opts, nil
}

// expand replaces a leading ~ in a path, as the nats command does.
func expand(path string) string {
	rest, ok := strings.CutPrefix(path, "~/")
	home, err := os.UserHomeDir()
	if !ok || err != nil {
		return path
	}
	return filepath.Join(home, rest)
}
