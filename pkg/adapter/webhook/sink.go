package webhook

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/signalmesh/signalmesh/pkg/codec"
	"github.com/signalmesh/signalmesh/pkg/dispatch"
	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/internal/outhttp"
	"github.com/signalmesh/signalmesh/pkg/internal/plug"
	"github.com/signalmesh/signalmesh/pkg/secret"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

func init() { dispatch.Register("webhook", openSink) }

// headerLegacyTimestamp goes with the legacy signature.
const headerLegacyTimestamp = "x-webhook-timestamp"

// SinkConfig are the options of the adapter "webhook", which sends signed requests.
type SinkConfig struct {
	outhttp.Options
	Method          string            `json:"method" default:"POST" doc:"request method: POST, PUT or PATCH"`
	Body            string            `json:"body" default:"structured" enum:"structured|standard|data" doc:"a CloudEvent in JSON; type, timestamp and data as Standard Webhooks advises; or the data alone"`
	Secret          secret.Ref        `json:"secret" doc:"secret to sign with: whsec_ and base64, or any text; unsigned without one"`
	Secrets         []secret.Ref      `json:"secrets" doc:"further secrets to sign with at the same time, while receivers change from one to another" max:"10"`
	PrivateKeys     []secret.Ref      `json:"private_keys" doc:"ed25519 keys to sign with (v1a): whsk_ and base64" max:"10"`
	Signing         string            `json:"signing" default:"standard" enum:"standard|legacy" doc:"Standard Webhooks headers, or the older hexadecimal signature in signature_header"`
	SignatureHeader string            `json:"signature_header" default:"x-webhook-signature" doc:"header of the legacy signature"`
	EventTypeHeader string            `json:"event_type_header" default:"x-webhook-event" doc:"header that carries the event type"`
	EventTypeMap    map[string]string `json:"event_type_map" doc:"event types as the receiver calls them, by signal type; a type that is not here keeps its name"`
}

// Validate checks what tags can't say.
func (c SinkConfig) Validate() error {
	errs := []error{c.Options.Validate()}
	if m := strings.ToUpper(c.Method); m != http.MethodPost && m != http.MethodPut && m != http.MethodPatch {
		errs = append(errs, plug.At(fault.Newf(fault.Invalid, "%.20q is not one of POST, PUT, PATCH", c.Method), "method"))
	}
	seen := map[string]string{HeaderID: "", HeaderTimestamp: "", HeaderSignature: "", headerLegacyTimestamp: "", "content-type": ""}
	for _, h := range []struct{ key, name string }{{"signature_header", c.SignatureHeader}, {"event_type_header", c.EventTypeHeader}} {
		_, taken := seen[strings.ToLower(h.name)]
		switch {
		case !outhttp.ValidName(h.name):
			errs = append(errs, plug.At(fault.Newf(fault.Invalid, "not a header name"), h.key))
		case taken:
			errs = append(errs, plug.At(fault.Newf(fault.Invalid, "the header %s has another meaning already", h.name), h.key))
		}
		seen[strings.ToLower(h.name)] = h.key
	}
	for name := range c.Headers {
		if _, taken := seen[strings.ToLower(name)]; taken {
			errs = append(errs, plug.At(fault.Newf(fault.Invalid, "the header is part of the webhook"), "headers", name))
		}
	}
	if c.Signing == "legacy" && (len(c.Secrets) > 0 || len(c.PrivateKeys) > 0 || c.Secret.IsZero()) {
		errs = append(errs, plug.At(fault.Newf(fault.Invalid, "the legacy signature takes exactly one secret"), "signing"))
	}
	for typ, event := range c.EventTypeMap {
		if typ == "" || event == "" {
			errs = append(errs, plug.At(fault.Newf(fault.Invalid, "an event type is empty"), "event_type_map", typ))
		}
	}
	return errors.Join(errs...)
}

// sink sends webhooks to one endpoint.
type sink struct {
	client  *outhttp.Client
	config  SinkConfig
	method  string
	secrets [][]byte
	keys    []ed25519.PrivateKey
}

func openSink(_ context.Context, c SinkConfig, env dispatch.Env) (dispatch.Adapter, error) {
	client, err := outhttp.Open(c.Options, env.Guard, env.UserAgent())
	if err != nil {
		return nil, err
	}
	k := &sink{client: client, config: c, method: strings.ToUpper(c.Method)}
	if err := k.resolve(); err != nil {
		return nil, err
	}
	return k, nil
}

func (k *sink) resolve() error {
	refs := k.config.Secrets
	if !k.config.Secret.IsZero() {
		refs = append([]secret.Ref{k.config.Secret}, refs...)
	}
	for _, ref := range refs {
		text, err := ref.Resolve()
		if err != nil {
			return err
		}
		key, err := ParseSecret(text)
		if err != nil {
			return fmt.Errorf("secret %s: %w", ref, err)
		}
		k.client.Hide(text, strings.TrimPrefix(text, prefixSecret))
		k.secrets = append(k.secrets, key)
	}
	for _, ref := range k.config.PrivateKeys {
		text, err := ref.Resolve()
		if err != nil {
			return err
		}
		key, err := ParsePrivateKey(text)
		if err != nil {
			return fmt.Errorf("secret %s: %w", ref, err)
		}
		k.client.Hide(text, strings.TrimPrefix(text, prefixPrivate))
		k.keys = append(k.keys, key)
	}
	return nil
}

// Deliver sends one request, signed at the time of this attempt.
func (k *sink) Deliver(ctx context.Context, s *signal.Signal) error {
	event := s.Type
	if mapped, ok := k.config.EventTypeMap[s.Type]; ok {
		event = mapped
	}
	header, body, err := k.encode(dispatch.Forward(s), event)
	if err != nil {
		return fault.Permanent(fmt.Errorf("encode signal for %s: %w", k.client.Endpoint(), err))
	}
	header.Set(k.config.EventTypeHeader, outhttp.EncodeValue(event))
	k.sign(header, dispatch.KeyOf(ctx, s), time.Now(), body)
	answer, err := k.client.Do(ctx, k.method, header, body, 2*dispatch.MaxExcerpt)
	if err != nil {
		return err
	}
	return dispatch.Fail(answer.Err, answer.Status, answer.Body, k.client.Secrets()...)
}

func (k *sink) sign(header http.Header, id string, at time.Time, body []byte) {
	seconds := strconv.FormatInt(at.Unix(), 10)
	header.Set(HeaderID, id)
	header.Set(HeaderTimestamp, seconds)
	if k.config.Signing == "legacy" {
		header.Set(headerLegacyTimestamp, seconds)
		header.Set(k.config.SignatureHeader, LegacySignature(k.secrets[0], at, body))
		return
	}
	signatures := make([]string, 0, len(k.secrets)+len(k.keys))
	for _, key := range k.secrets {
		signatures = append(signatures, Sign(key, id, at, body))
	}
	for _, key := range k.keys {
		signatures = append(signatures, SignEd25519(key, id, at, body))
	}
	if len(signatures) > 0 {
		header.Set(HeaderSignature, strings.Join(signatures, " "))
	}
}

func (k *sink) encode(s *signal.Signal, event string) (http.Header, []byte, error) {
	header := http.Header{}
	switch k.config.Body {
	case "data":
		if s.DataContentType != "" {
			header.Set("Content-Type", s.DataContentType)
		} else if s.Data != nil {
			header.Set("Content-Type", signal.ContentTypeJSON)
		}
		header.Set("Ce-Meshhops", strconv.Itoa(s.Hops()))
		return header, s.Data, nil
	case "standard":
		header.Set("Content-Type", signal.ContentTypeJSON)
		header.Set("Ce-Meshhops", strconv.Itoa(s.Hops()))
		body, err := standardBody(s, event)
		return header, body, err
	}
	return codec.ToHTTP(s, codec.Structured)
}

// standardBody is the payload that Standard Webhooks advises. Data that is not JSON is a
// JSON string: text as it is, other bytes in base64.
func standardBody(s *signal.Signal, event string) ([]byte, error) {
	payload := struct {
		Type      string `json:"type"`
		Timestamp string `json:"timestamp,omitempty"`
		Data      any    `json:"data"`
	}{Type: event}
	if !s.Time.IsZero() {
		payload.Timestamp = s.Time.UTC().Format(time.RFC3339Nano)
	}
	switch {
	case s.Data == nil:
	case s.IsJSON():
		payload.Data = json.RawMessage(s.Data)
	case strings.HasPrefix(s.DataContentType, "text/"):
		payload.Data = string(s.Data)
	default:
		payload.Data = s.Data
	}
	return json.Marshal(payload)
}

// Endpoint is the URL with what may be secret masked.
func (k *sink) Endpoint() string { return k.client.Endpoint() }

// Timeout is the longest one attempt may take.
func (k *sink) Timeout() time.Duration { return k.client.Timeout() }

// Close lets go of idle connections.
func (k *sink) Close() error { return k.client.Close() }

var (
	_ dispatch.Adapter   = (*sink)(nil)
	_ dispatch.Describer = (*sink)(nil)
	_ dispatch.Limiter   = (*sink)(nil)
	_ dispatch.Caller    = SinkConfig{}
)
