// Package outhttp makes the HTTP calls of adapters: one place for the options they share,
// for what a status means to a delivery, and for keeping secrets out of errors.
//
// A call follows no redirects, is bounded by its own timeout and its caller's context, and
// reads no more of an answer than asked for. Which connections it may make is decided by
// the [Guard] it is given.
package outhttp

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/textproto"
	"net/url"
	"strings"
	"time"

	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/internal/plug"
	"github.com/signalmesh/signalmesh/pkg/secret"
)

// Options are what every adapter that calls HTTP endpoints accepts.
type Options struct {
	URL     string           `json:"url" required:"true" doc:"address to call, http or https; credentials belong into auth or headers, not here"`
	Headers map[string]Value `json:"headers" doc:"further request headers; a value is a text, or {ref: env:NAME} for a secret; credentials must be secrets"`
	Auth    *Auth            `json:"auth" doc:"credentials sent with each request"`
	Timeout time.Duration    `json:"timeout" default:"5s" min:"1ms" max:"24h" doc:"longest time for one attempt, from connecting to the end of the answer"`
	Success []Statuses       `json:"success" single:"true" default:"[2xx]" doc:"statuses that mean delivered: 204, 2xx or 200-299"`
	TLS     *TLS             `json:"tls" doc:"certificates for https, besides those the system trusts"`
}

// Auth is one way to prove who calls.
type Auth struct {
	Bearer secret.Ref `json:"bearer" doc:"token sent as Authorization: Bearer"`
	Basic  *Basic     `json:"basic" doc:"user name and password"`
}

// Basic is HTTP basic authentication.
type Basic struct {
	Username string     `json:"username" required:"true" doc:"user name"`
	Password secret.Ref `json:"password" required:"true" doc:"password"`
}

// TLS holds certificates in PEM form, by reference.
type TLS struct {
	CA   secret.Ref `json:"ca" doc:"certificates to trust instead of the system's"`
	Cert secret.Ref `json:"cert" doc:"certificate this side shows"`
	Key  secret.Ref `json:"key" doc:"private key of cert"`
}

// Value is the value of a header: a literal text, or a reference to a secret.
type Value struct {
	Text string
	Ref  secret.Ref
}

// DecodePlug reads a text, or a map with the one key ref.
func (v *Value) DecodePlug(n plug.Node) error {
	if !n.IsMap() {
		return n.Decode(&v.Text)
	}
	var m struct {
		Ref secret.Ref `json:"ref" required:"true" doc:"env:NAME or file:/path"`
	}
	err := n.Decode(&m)
	v.Ref = m.Ref
	return err
}

// DescribePlug says what a value is in reference documentation.
func (Value) DescribePlug() string { return "text or secret" }

// MarshalJSON writes what DecodePlug reads.
func (v Value) MarshalJSON() ([]byte, error) {
	if v.Ref.IsZero() {
		return json.Marshal(v.Text)
	}
	return json.Marshal(map[string]secret.Ref{"ref": v.Ref})
}

// Validate reports everything that is wrong with the options, as far as it can be told
// without resolving secrets or names.
func (o Options) Validate() error {
	u, err := url.Parse(o.URL)
	switch {
	case err != nil:
		err = fault.Newf(fault.Invalid, "not a URL") // the cause repeats the text, and what may be in it
	case u.Scheme != "http" && u.Scheme != "https":
		err = fault.Newf(fault.Invalid, "scheme %q is not http or https", u.Scheme)
	case u.Hostname() == "":
		err = fault.Newf(fault.Invalid, "no host")
	case u.User != nil:
		err = fault.Hint(fault.Newf(fault.Invalid, "it holds a user name or password"), "use auth")
	case u.Fragment != "":
		err = fault.Newf(fault.Invalid, "it has a fragment, which is never sent")
	}
	errs := []error{plug.At(err, "url")}
	seen := map[string]bool{}
	for name, value := range o.Headers {
		err := checkHeader(name, value)
		if key := textproto.CanonicalMIMEHeaderKey(name); err == nil && seen[key] {
			err = fault.Newf(fault.Invalid, "the header is given twice")
		} else {
			seen[key] = true
		}
		errs = append(errs, plug.At(err, "headers", name))
	}
	if o.Auth != nil && seen["Authorization"] {
		errs = append(errs, plug.At(fault.Newf(fault.Invalid, "the header Authorization is given too"), "auth"))
	}
	if o.Auth != nil && (o.Auth.Bearer.IsZero() == (o.Auth.Basic == nil)) {
		errs = append(errs, plug.At(fault.Newf(fault.Invalid, "expected one of bearer, basic"), "auth"))
	}
	if o.TLS != nil && o.TLS.Cert.IsZero() != o.TLS.Key.IsZero() {
		errs = append(errs, plug.At(fault.Newf(fault.Invalid, "cert and key belong together"), "tls"))
	}
	return errors.Join(errs...)
}

// Endpoint is the URL with what may be secret masked.
func (o Options) Endpoint() string { return secret.URL(o.URL) }

// Hosts is the one host that is called.
func (o Options) Hosts() []string {
	u, err := url.Parse(o.URL)
	if err != nil {
		return []string{""}
	}
	return []string{u.Hostname()}
}

// managed are headers that the connection or the adapter sets by itself.
var managed = map[string]bool{
	"Host": true, "Content-Length": true, "Transfer-Encoding": true, "Connection": true, "Keep-Alive": true,
	"Proxy-Connection": true, "Trailer": true, "Te": true, "Upgrade": true, "Expect": true,
	"Content-Type": true, "Content-Encoding": true,
}

// credentials are headers whose value is always a secret.
var credentials = map[string]bool{
	"Authorization": true, "Proxy-Authorization": true, "Cookie": true, "X-Api-Key": true, "Api-Key": true,
	"X-Auth-Token": true, "X-Access-Token": true, "X-Amz-Security-Token": true, "Dd-Api-Key": true, "X-Vault-Token": true,
}

func checkHeader(name string, value Value) error {
	key := textproto.CanonicalMIMEHeaderKey(name)
	switch {
	case !ValidName(name):
		return fault.Newf(fault.Invalid, "not a header name")
	case managed[key]:
		return fault.Newf(fault.Invalid, "the header can't be chosen, it follows from the request")
	case credentials[key] && value.Ref.IsZero():
		err := fault.Newf(fault.Invalid, "the header carries a credential, which must be a secret (the value is not shown)")
		return fault.Hint(err, "write {ref: env:NAME}")
	case !validValue(value.Text):
		return fault.Newf(fault.Invalid, "the value holds a control character")
	}
	return nil
}

// ValidName says whether name can be the name of a header.
func ValidName(name string) bool {
	return name != "" && strings.IndexFunc(name, func(r rune) bool {
		return r <= ' ' || r >= 0x7f || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r)
	}) < 0
}

func validValue(value string) bool {
	return strings.IndexFunc(value, func(r rune) bool { return r < ' ' || r == 0x7f }) < 0
}

// IsPlain says whether value is printable ASCII, which every reader of headers takes.
func IsPlain(value string) bool {
	return strings.IndexFunc(value, func(r rune) bool { return r < ' ' || r > '~' }) < 0
}

// EncodeValue makes any text fit for a header, as CloudEvents does: what is not printable
// ASCII, and the percent sign, is written as %XX.
func EncodeValue(text string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(text) {
		if c := text[i]; c <= ' ' || c >= 0x7f || c == '%' || c == '"' {
			b.WriteByte('%')
			b.WriteByte(hex[c>>4])
			b.WriteByte(hex[c&15])
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// Method returns name in upper case when a request may have it, else an Invalid error.
func Method(name string) (string, error) {
	m := strings.ToUpper(name)
	switch {
	case !ValidName(m):
		return "", fault.Newf(fault.Invalid, "not an HTTP method")
	case m == http.MethodConnect || m == http.MethodTrace:
		return "", fault.Newf(fault.Invalid, "method %s can't be used", m)
	}
	return m, nil
}

var _ plug.Decoder = (*Value)(nil)
