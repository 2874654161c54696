package webhook

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/signalmesh/signalmesh/pkg/codec"
	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/ingress"
	"github.com/signalmesh/signalmesh/pkg/internal/plug"
	"github.com/signalmesh/signalmesh/pkg/secret"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

func init() { ingress.Register("webhook", openSource) }

// SourceConfig are the options of the webhook source: how a request is proven to come
// from its sender. What signals look like is said by the mapping of the source, and where
// that is silent by what is known about the sender; see the documentation of each.
type SourceConfig struct {
	Verify       string        `json:"verify" required:"true" enum:"github|stripe|slack|shopify|gitlab|standard|hmac|none" doc:"who sends, and so how requests are signed; none accepts anybody's"`
	Secret       []secret.Ref  `json:"secret" single:"true" doc:"the shared secret, or for standard also a public key (whpk_...); several while one is replaced by another"`
	ReplayWindow time.Duration `json:"replay_window" max:"24h" doc:"how far the signed time of a request may be from now, 5m when not given; not for senders that sign no time (github, shopify, gitlab)"`
	IDHeader     string        `json:"id_header" doc:"header with the sender's id of a delivery, the same over its repeats"`

	Header          string `json:"header" doc:"hmac: header that holds the signature, X-Signature when not given"`
	Algorithm       string `json:"algorithm" enum:"sha1|sha256|sha512" doc:"hmac: hash function, sha256 when not given"`
	Encoding        string `json:"encoding" enum:"hex|base64" doc:"hmac: text form of the signature, hex when not given"`
	Prefix          string `json:"prefix" doc:"hmac: text before the signature, such as sha256="`
	TimestampHeader string `json:"timestamp_header" doc:"hmac: header with the time of sending in Unix seconds; it must be signed"`
	Signed          string `json:"signed" doc:"hmac: what is signed, with {body}, {timestamp} and {id} filled in; {body}, or {timestamp}.{body} with a timestamp_header, when not given"`
}

// defaultWindow is what most senders recommend.
const defaultWindow = 5 * time.Minute

func (c SourceConfig) window() time.Duration {
	if c.ReplayWindow == 0 {
		return defaultWindow
	}
	return c.ReplayWindow
}

// signsTime are the senders whose signature covers a time.
var signsTime = map[string]bool{"stripe": true, "slack": true, "standard": true, "hmac": true}

// Validate refuses options that contradict each other.
func (c SourceConfig) Validate() error {
	var errs []error
	problem := func(key, format string, args ...any) {
		errs = append(errs, plug.At(fault.Newf(fault.Invalid, format, args...), key))
	}
	switch {
	case c.Verify == "none" && len(c.Secret) > 0:
		problem("secret", "no use with verify: none; choose how requests are verified, or leave the secret out")
	case c.Verify != "none" && len(c.Secret) == 0:
		problem("secret", "required to verify %s requests", c.Verify)
	}
	if c.ReplayWindow != 0 && !signsTime[c.Verify] {
		problem("replay_window", "no use with verify: %s, whose requests carry no signed time", c.Verify)
	}
	if c.Verify == "hmac" {
		_, err := newHMAC(c, nil)
		return errors.Join(append(errs, err)...)
	}
	for key, value := range map[string]string{
		"header": c.Header, "algorithm": c.Algorithm, "encoding": c.Encoding,
		"prefix": c.Prefix, "timestamp_header": c.TimestampHeader, "signed": c.Signed,
	} {
		if value != "" {
			problem(key, "only for verify: hmac")
		}
	}
	return errors.Join(errs...)
}

// CheckMapping compiles the expressions of a mapping.
func (c SourceConfig) CheckMapping(m ingress.Mapping) error {
	_, err := compileMapping(m)
	return err
}

// source is one opened webhook source.
type source struct {
	name     string
	verifier verifier
	preset   preset
	idHeader string
	mapping  mapping
}

var _ ingress.Receiver = (*source)(nil)

func openSource(_ context.Context, c SourceConfig, env ingress.Env) (ingress.Receiver, error) {
	m, err := compileMapping(env.Mapping)
	if err != nil {
		return nil, err
	}
	texts := make([]string, len(c.Secret))
	for i, ref := range c.Secret {
		if texts[i], err = ref.Resolve(); err != nil {
			return nil, err
		}
	}
	s := &source{name: env.Name, idHeader: c.IDHeader, mapping: m}
	if s.verifier, s.preset, err = sender(c, texts); err != nil {
		return nil, err
	}
	if c.Verify == "none" {
		env.Log.Warn("webhook source accepts unsigned requests", "source", env.Name)
	}
	return s, nil
}

// sender is what is known about the sender that the options name.
func sender(c SourceConfig, secrets []string) (verifier, preset, error) {
	var k keys
	for _, text := range secrets {
		k = append(k, []byte(text))
	}
	switch c.Verify {
	case "github":
		return verifyGitHub(k), github, nil
	case "stripe":
		return verifyStripe(k, c.window()), stripe, nil
	case "slack":
		return verifySlack(k, c.window()), slack, nil
	case "shopify":
		return verifyShopify(k), shopify, nil
	case "gitlab":
		return verifyGitLab(k), gitlab, nil
	case "standard":
		shared, public, err := standardKeys(secrets)
		return verifyStandard(shared, public, c.window()), standard, err
	case "hmac":
		v, err := newHMAC(c, k)
		return v, generic, err
	case "none":
		return verifierFunc(func(*ingress.Request) error { return nil }), generic, nil
	}
	return nil, preset{}, fault.Newf(fault.Invalid, "nothing is known of verify: %q", c.Verify)
}

// Receive verifies the bytes as they came, and only then looks at what they say.
func (s *source) Receive(_ context.Context, r *ingress.Request) (ingress.Result, error) {
	if err := s.verifier.verify(r); err != nil {
		return ingress.Result{}, fmt.Errorf("verify request: %w", err)
	}
	if s.preset.events && s.mapping.isZero() && isEvent(r.Header) {
		return receiveEvents(r)
	}
	d, err := newDelivery(s.name, r, &s.preset)
	if err != nil {
		return ingress.Result{}, err
	}
	var res ingress.Result
	if s.preset.reply != nil {
		reply, handshake := s.preset.reply(d)
		if res.Reply = reply; handshake {
			return res, nil
		}
	}
	id, err := s.identify(d)
	if err != nil {
		return ingress.Result{}, &ingress.Unmappable{ID: id, Err: err}
	}
	made, err := s.signal(d, id)
	if err != nil {
		return ingress.Result{}, &ingress.Unmappable{ID: id, Err: err}
	}
	res.Signals = []*signal.Signal{made}
	return res, nil
}

// isEvent reports whether a request is a CloudEvent in any mode of the HTTP binding.
func isEvent(h http.Header) bool {
	return h.Get("Ce-Specversion") != "" ||
		strings.HasPrefix(strings.ToLower(h.Get("Content-Type")), "application/cloudevents")
}

func receiveEvents(r *ingress.Request) (ingress.Result, error) {
	signals, err := codec.FromHTTP(r.Header, r.Body)
	for _, s := range signals {
		err = errors.Join(err, s.Validate())
	}
	if err != nil {
		return ingress.Result{}, err
	}
	return ingress.Result{Signals: signals}, nil
}

// identify names a delivery so that its repeats get the same name.
func (s *source) identify(d *delivery) (string, error) {
	switch {
	case s.mapping.id != nil:
		return s.mapping.eval("id", s.mapping.id, d)
	case s.idHeader != "" && d.header(s.idHeader) != "":
		return d.header(s.idHeader), nil
	case s.preset.id != nil && s.preset.id(d) != "":
		return s.preset.id(d), nil
	}
	return digest(d.request.Body), nil
}

// signal makes the signal of a delivery: each attribute by its expression, or else by the
// preset.
func (s *source) signal(d *delivery, id string) (*signal.Signal, error) {
	typ, errType := s.mapping.attribute("type", s.mapping.typ, d, s.preset.typ)
	from, errSource := s.mapping.attribute("source", s.mapping.source, d, infallible(s.preset.source))
	about, errSubject := s.mapping.attribute("subject", s.mapping.subject, d, infallible(s.preset.subject))
	if err := errors.Join(errType, errSource, errSubject); err != nil {
		return nil, err
	}
	at := d.request.At
	if s.preset.time != nil {
		if t := s.preset.time(d); !t.IsZero() {
			at = t
		}
	}
	made := &signal.Signal{
		ID: id, Type: typ, Source: from, Subject: about, Time: at.UTC().Round(0),
		DataContentType: d.contentType, Data: d.data,
	}
	return made, made.Validate()
}

// infallible turns a function of a preset, which may be missing, into one that can fail.
func infallible(f func(*delivery) string) func(*delivery) (string, error) {
	return func(d *delivery) (string, error) {
		if f == nil {
			return "", nil
		}
		return f(d), nil
	}
}
