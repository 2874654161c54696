package webhook

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"
	"time"

	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/ingress"
)

// stripe is the preset for Stripe, snapshot and thin events alike.
//
//	id       the event's own, evt_...
//	type     stripe.<type>: stripe.payment_intent.succeeded
//	source   /stripe/<account> for events of connected accounts, else /stripe
//	subject  the id of the object that changed: pi_..., cus_...
//	time     when Stripe created the event
var stripe = preset{
	json: true,
	id:   func(d *delivery) string { return d.text("id") },
	typ: func(d *delivery) (string, error) {
		typ := d.text("type")
		if typ == "" {
			return "", fault.Newf(fault.Invalid, "body has no type")
		}
		return dotted("stripe", typ), nil
	},
	source: func(d *delivery) string { return "/stripe" + under("/", first(d.text("account"), d.text("context"))) },
	subject: func(d *delivery) string {
		return first(d.text("data", "object", "id"), d.text("related_object", "id"))
	},
	time: func(d *delivery) time.Time { return moment(d.text("created")) },
}

// moment reads Unix seconds or RFC 3339; anything else is the zero time.
func moment(text string) time.Time {
	if n, err := strconv.ParseInt(text, 10, 64); err == nil && n > 0 {
		return time.Unix(n, 0).UTC()
	}
	t, _ := time.Parse(time.RFC3339, text) // the zero time when it is neither
	return t.UTC()
}

// verifyStripe checks Stripe-Signature: t=<seconds>,v1=<hex>[,v1=<hex>...], where each
// v1 is an HMAC of "<t>.<body>"; several stand there while a secret is rolled.
func verifyStripe(k keys, window time.Duration) verifier {
	return verifierFunc(func(r *ingress.Request) error {
		value, err := one(r.Header, "Stripe-Signature")
		if err != nil {
			return err
		}
		at, macs, err := parseStripe(value)
		if err != nil {
			return err
		}
		for _, mac := range macs {
			if k.fits(sha256.New, mac, []byte(at), []byte("."), r.Body) {
				return fresh(at, r.At, window)
			}
		}
		return errMismatch
	})
}

// parseStripe splits a Stripe-Signature. Schemes other than v1 are for other readers.
func parseStripe(value string) (at string, macs [][]byte, err error) {
	for part := range strings.SplitSeq(value, ",") {
		key, v, _ := strings.Cut(strings.TrimSpace(part), "=")
		switch key {
		case "t":
			if at != "" {
				return "", nil, refuse("Stripe-Signature names its time twice")
			}
			at = v
		case "v1":
			if mac, err := hex.DecodeString(v); err == nil && len(macs) < maxSignatures {
				macs = append(macs, mac)
			}
		}
	}
	if at == "" || len(macs) == 0 {
		return "", nil, refuse("Stripe-Signature is not t=...,v1=...")
	}
	return at, macs, nil
}
