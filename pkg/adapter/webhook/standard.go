package webhook

import (
	"crypto/ed25519"
	"fmt"
	"strings"
	"time"

	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/ingress"
)

// standard is the preset for senders that follow Standard Webhooks.
//
//	id       webhook-id, which stays the same over retries
//	type     <name of this source>[.<type in the body>]: billing.invoice.paid
//	source   /hooks/<name of this source>
//	subject  none
//	time     timestamp in the body
//
// A CloudEvent (binary or structured) is taken as it is, unless a mapping says otherwise.
var standard = preset{
	id: func(d *delivery) string {
		id, _, _ := standardHeaders(d.request)
		return d.header(id)
	},
	typ:    namedType,
	source: namedSource,
	time:   func(d *delivery) time.Time { return moment(d.text("timestamp")) },
	events: true,
}

// standardHeaders returns the names the sender uses: those of Standard Webhooks, or the
// older ones of Svix, which mean the same.
func standardHeaders(r *ingress.Request) (id, at, signature string) {
	if r.Header.Get(HeaderID) == "" && r.Header.Get("svix-id") != "" {
		return "svix-id", "svix-timestamp", "svix-signature"
	}
	return HeaderID, HeaderTimestamp, HeaderSignature
}

// verifyStandard checks Standard Webhooks signatures over "<id>.<timestamp>.<body>":
// v1 (HMAC-SHA256) with shared secrets and v1a (Ed25519) with public keys.
func verifyStandard(secrets keys, public []ed25519.PublicKey, window time.Duration) verifier {
	return verifierFunc(func(r *ingress.Request) error {
		idHeader, atHeader, signatureHeader := standardHeaders(r)
		id, err := one(r.Header, idHeader)
		if err != nil {
			return err
		}
		at, err := one(r.Header, atHeader)
		if err != nil {
			return err
		}
		signatures, err := one(r.Header, signatureHeader)
		switch {
		case err != nil:
			return err
		case strings.Count(signatures, ",") > maxSignatures:
			return refuse("more than %d signatures", maxSignatures)
		case !VerifySignature(signatures, id, at, r.Body, secrets, public):
			return errMismatch
		}
		return fresh(at, r.At, window)
	})
}

// standardKeys sorts secrets into shared ones (whsec_) and public keys (whpk_). A bare
// text is taken both as it is and, as the reference libraries do, as base64.
func standardKeys(texts []string) (secrets keys, public []ed25519.PublicKey, err error) {
	for i, text := range texts {
		switch {
		case strings.HasPrefix(text, prefixPrivate):
			return nil, nil, fault.Newf(fault.Invalid, "secret %d is a private key; a receiver wants the public one, %s...", i+1, prefixPublic)
		case strings.HasPrefix(text, prefixPublic):
			key, err := ParsePublicKey(text)
			if err != nil {
				return nil, nil, fmt.Errorf("secret %d: %w", i+1, err)
			}
			public = append(public, key)
			continue
		}
		key, err := ParseSecret(text)
		if err != nil {
			return nil, nil, fmt.Errorf("secret %d: %w", i+1, err)
		}
		secrets = append(secrets, key)
		if raw, err := decodeBase64(text); err == nil && len(raw) > 0 {
			secrets = append(secrets, raw)
		}
	}
	return secrets, public, nil
}
