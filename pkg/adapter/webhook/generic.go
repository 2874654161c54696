package webhook

import (
	"hash"
	"strings"
	"time"

	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/ingress"
)

// generic is the preset for everybody else, signed with an HMAC or, when asked for, not at
// all.
//
//	id       the header named by id_header, else a hash of the body: then two deliveries
//	         of the very same body count as a repeat
//	type     <name of this source>[.<type in the body>]: shop.order.created
//	source   /hooks/<name of this source>
//	subject  none
//
// A CloudEvent (binary or structured) is taken as it is, unless a mapping says otherwise.
var generic = preset{
	typ:    namedType,
	source: namedSource,
	events: true,
}

func namedType(d *delivery) (string, error) { return dotted(d.name, d.text("type")), nil }

func namedSource(d *delivery) string { return "/hooks/" + d.name }

// hmacVerifier checks a signature of any sender that signs with an HMAC over the body, or
// over a text that also holds a timestamp and an id.
type hmacVerifier struct {
	keys    keys
	newHash func() hash.Hash
	decode  func(string) ([]byte, error)
	header  string // holds the signature
	prefix  string // stands before it, "sha256="
	at      string // header of the signed time, "" for none
	id      string // header of the delivery's id, "" for none
	signed  string // what is signed, with {timestamp}, {id} and {body}
	window  time.Duration
}

// newHMAC completes and checks the options of the generic verifier.
func newHMAC(c SourceConfig, k keys) (*hmacVerifier, error) {
	v := &hmacVerifier{
		keys:    k,
		newHash: algorithms[orDefault(c.Algorithm, "sha256")],
		decode:  encodings[orDefault(c.Encoding, "hex")],
		header:  orDefault(c.Header, "X-Signature"),
		prefix:  c.Prefix,
		at:      c.TimestampHeader,
		id:      c.IDHeader,
		signed:  c.Signed,
		window:  c.window(),
	}
	if v.signed == "" {
		v.signed = "{body}"
		if v.at != "" {
			v.signed = "{timestamp}.{body}"
		}
	}
	return v, v.check(c)
}

// check refuses options that would leave something unsigned that is then relied on.
func (v *hmacVerifier) check(c SourceConfig) error {
	switch {
	case v.newHash == nil:
		return fault.Newf(fault.Invalid, "algorithm %q is none of sha1, sha256, sha512", c.Algorithm)
	case v.decode == nil:
		return fault.Newf(fault.Invalid, "encoding %q is none of hex, base64", c.Encoding)
	case strings.Count(v.signed, "{body}") != 1:
		return fault.Newf(fault.Invalid, "signed %q must hold {body} once: what is not signed is not proven", v.signed)
	case v.at != "" && !strings.Contains(v.signed, "{timestamp}"):
		return fault.Newf(fault.Invalid, "signed %q must hold {timestamp}: a time that is not signed proves nothing", v.signed)
	case v.at == "" && strings.Contains(v.signed, "{timestamp}"):
		return fault.Newf(fault.Invalid, "signed %q holds {timestamp}, but timestamp_header is not given", v.signed)
	case v.id == "" && strings.Contains(v.signed, "{id}"):
		return fault.Newf(fault.Invalid, "signed %q holds {id}, but id_header is not given", v.signed)
	case v.at == "" && c.ReplayWindow != 0:
		return fault.Newf(fault.Invalid, "replay_window needs timestamp_header: nothing else says how old a request is")
	}
	return nil
}

func (v *hmacVerifier) verify(r *ingress.Request) error {
	value, err := one(r.Header, v.header)
	if err != nil {
		return err
	}
	var at, id string
	if v.at != "" {
		if at, err = one(r.Header, v.at); err != nil {
			return err
		}
	}
	if strings.Contains(v.signed, "{id}") {
		if id, err = one(r.Header, v.id); err != nil {
			return err
		}
	}
	text, ok := strings.CutPrefix(value, v.prefix)
	mac, err := v.decode(text)
	head, tail, _ := strings.Cut(v.signed, "{body}")
	fill := strings.NewReplacer("{timestamp}", at, "{id}", id)
	if !ok || err != nil || !v.keys.fits(v.newHash, mac, []byte(fill.Replace(head)), r.Body, []byte(fill.Replace(tail))) {
		return errMismatch
	}
	if v.at == "" {
		return nil
	}
	return fresh(at, r.At, v.window)
}

func orDefault(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}
