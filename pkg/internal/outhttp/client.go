package outhttp

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/secret"
)

// Guard decides which connections may be made; *netguard.Guard is one.
type Guard interface {
	CheckURL(u *url.URL) error
	Transport() *http.Transport
}

// A Client calls one endpoint. It is safe for concurrent use.
type Client struct {
	url       *url.URL
	endpoint  string
	header    http.Header // of every request, secrets resolved; never changed
	secrets   []string
	timeout   time.Duration
	success   []Statuses
	transport *http.Transport
}

// Open checks where the options point to and resolves their secrets. agent is the value of
// the User-Agent header.
func Open(o Options, guard Guard, agent string) (*Client, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	u, err := url.Parse(o.URL)
	if err != nil {
		return nil, fault.Newf(fault.Invalid, "not a URL")
	}
	if err := guard.CheckURL(u); err != nil {
		return nil, err
	}
	c := &Client{
		url: u, endpoint: o.Endpoint(), header: http.Header{"User-Agent": {agent}},
		timeout: o.Timeout, success: o.Success, transport: guard.Transport(),
	}
	if err := c.resolve(o); err != nil {
		return nil, err
	}
	if err := c.useTLS(o.TLS); err != nil {
		return nil, err
	}
	return c, nil
}

func (c *Client) resolve(o Options) error {
	for name, value := range o.Headers {
		text := value.Text
		if !value.Ref.IsZero() {
			var err error
			if text, err = c.secret(value.Ref); err != nil {
				return fmt.Errorf("header %s: %w", name, err)
			}
		}
		c.header.Set(name, text)
	}
	switch {
	case o.Auth == nil:
	case o.Auth.Basic != nil:
		password, err := c.secret(o.Auth.Basic.Password)
		if err != nil {
			return err
		}
		pair := base64.StdEncoding.EncodeToString([]byte(o.Auth.Basic.Username + ":" + password))
		c.secrets = append(c.secrets, pair)
		c.header.Set("Authorization", "Basic "+pair)
	default:
		token, err := c.secret(o.Auth.Bearer)
		if err != nil {
			return err
		}
		c.header.Set("Authorization", "Bearer "+token)
	}
	return nil
}

func (c *Client) secret(ref secret.Ref) (string, error) {
	text, err := ref.Resolve()
	if err != nil {
		return "", err
	}
	if !validValue(text) {
		return "", fault.Newf(fault.Invalid, "secret %s holds a control character", ref)
	}
	c.secrets = append(c.secrets, text)
	return text, nil
}

func (c *Client) useTLS(o *TLS) error {
	if o == nil {
		return nil
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if !o.CA.IsZero() {
		pem, err := o.CA.Resolve()
		if err != nil {
			return err
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM([]byte(pem)) {
			return fault.Newf(fault.Invalid, "tls.ca %s holds no certificate", o.CA)
		}
	}
	if !o.Cert.IsZero() {
		cert, err := o.Cert.Resolve()
		if err != nil {
			return err
		}
		key, err := o.Key.Resolve()
		if err != nil {
			return err
		}
		pair, err := tls.X509KeyPair([]byte(cert), []byte(key))
		if err != nil {
			return fault.Newf(fault.Invalid, "tls.cert %s and tls.key %s are not a pair", o.Cert, o.Key)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	c.transport.TLSClientConfig = config
	return nil
}

// Endpoint is the URL with what may be secret masked.
func (c *Client) Endpoint() string { return c.endpoint }

// Timeout is the longest time one call may take.
func (c *Client) Timeout() time.Duration { return c.timeout }

// Secrets are the texts that must not be shown; more can be added before the first call.
func (c *Client) Secrets() []string { return c.secrets }

// Hide adds texts that must not be shown. It must not be called while calls are made.
func (c *Client) Hide(secrets ...string) { c.secrets = append(c.secrets, secrets...) }

// Close lets go of idle connections.
func (c *Client) Close() error {
	c.transport.CloseIdleConnections()
	return nil
}

// A Response is what an endpoint answered.
type Response struct {
	Status int
	Header http.Header
	Body   []byte // at most as much as asked for

	// Err says what the status means: nil for a success, else a coded error with advice.
	Err error

	// Partial is why Body is not all of the answer: too large, or the connection broke.
	Partial error
}

// Do makes one call. header adds to, and overrides, the headers of the options; a nil body
// sends none. Up to limit bytes of the answer are read. An error means that there was no
// answer: the caller's context ended, the guard refused, or the endpoint was not reached.
func (c *Client) Do(ctx context.Context, method string, header http.Header, body []byte, limit int64) (*Response, error) {
	timed, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	resp, err := c.transport.RoundTrip(c.request(timed, method, header, body)) //nolint:bodyclose // read closes it
	if err != nil {
		return nil, c.noAnswer(ctx, timed, method, err)
	}
	r := &Response{Status: resp.StatusCode, Header: resp.Header}
	r.Body, r.Partial = read(resp.Body, limit)
	if !slices.ContainsFunc(c.success, func(s Statuses) bool { return s.Low <= r.Status && r.Status <= s.High }) {
		r.Err = fmt.Errorf("%s %s: %w", method, c.endpoint, classify(r.Status, r.Header, time.Now(), c.secrets))
	}
	return r, nil
}

func (c *Client) request(ctx context.Context, method string, header http.Header, body []byte) *http.Request {
	h := make(http.Header, len(c.header)+len(header)+1)
	for name, values := range c.header {
		h[name] = values
	}
	for name, values := range header {
		h[name] = values
	}
	req := &http.Request{
		Method: method, URL: c.url, Host: c.url.Host, Header: h,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Body: http.NoBody, ContentLength: int64(len(body)),
	}
	if len(body) > 0 {
		req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
		req.Body = io.NopCloser(bytes.NewReader(body))
	}
	return req.WithContext(ctx)
}

// noAnswer explains why there is no response. The caller's context comes first: an attempt
// that was stopped has not failed.
func (c *Client) noAnswer(ctx, timed context.Context, method string, err error) error {
	switch {
	case ctx.Err() != nil:
		err = ctx.Err()
	case timed.Err() != nil:
		err = fault.Newf(fault.Unavailable, "no answer within %s", c.timeout)
	case !fault.Is(err, fault.Denied):
		err = fault.Newf(fault.Unavailable, "%s", secret.Redact(err.Error(), c.secrets...))
	}
	return fmt.Errorf("%s %s: %w", method, c.endpoint, err)
}

// read returns up to limit bytes. A longer answer costs its connection, which is cheaper
// than to wait for the end of something endless.
func read(body io.ReadCloser, limit int64) ([]byte, error) {
	defer func() { _ = body.Close() }() // what was to be read is read
	b, err := io.ReadAll(io.LimitReader(body, limit+1))
	if int64(len(b)) <= limit {
		return b, err
	}
	return b[:limit], fault.Newf(fault.TooLarge, "the answer is larger than %d bytes", limit)
}
