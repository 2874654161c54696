package webhook_test

import (
	"errors"
	"net/http"
	"testing"

	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/ingress"
)

// FuzzVerify: whatever stands in the headers, nothing comes in that was not signed.
func FuzzVerify(f *testing.F) {
	f.Add("t=1795435200,v1=00,v1=", "1795435200", []byte(`{"type":"a"}`))
	f.Add("sha256=00", "", []byte(`{}`))
	f.Add("v0=00", "-1", []byte("payload=%7B%7D"))
	f.Add("v1,AA== v1a,AA== v1,", "99999999999999999999", []byte{})
	receivers := openAll(f)
	f.Fuzz(func(t *testing.T, signature, stamp string, body []byte) {
		for verify := range signers {
			r := &ingress.Request{Header: http.Header{}, Body: body, At: at}
			for _, name := range []string{
				"X-Hub-Signature-256", "Stripe-Signature", "X-Slack-Signature", "X-Shopify-Hmac-Sha256",
				"X-Gitlab-Token", "Webhook-Signature", "X-Signature",
			} {
				r.Header.Set(name, signature)
			}
			for _, name := range []string{"X-Slack-Request-Timestamp", "Webhook-Timestamp", "Webhook-Id"} {
				r.Header.Set(name, stamp)
			}
			res, err := receivers[verify].Receive(t.Context(), r)
			if !fault.Is(err, fault.Unauthenticated) || len(res.Signals) > 0 || res.Reply != nil {
				t.Errorf("%s: Receive = %d signals, %v, want unauthenticated", verify, len(res.Signals), err)
			}
		}
	})
}

// FuzzBody: an authentic body becomes valid signals, or is refused as what it is.
func FuzzBody(f *testing.F) {
	f.Add("application/json", "push", []byte(`{"action":"a","repository":{"full_name":"o/r"},"sender":{"login":1}}`))
	f.Add("application/x-www-form-urlencoded", "push", []byte("payload=%7B%7D"))
	f.Add("application/x-www-form-urlencoded", "", []byte("command=/x&text=%zz"))
	f.Add("application/cloudevents+json", "a", []byte(`{"specversion":"1.0","id":"1","source":"/","type":"a"}`))
	f.Add("text/plain; a=", "\x00", []byte("\xff"))
	receivers := openAll(f)
	f.Fuzz(func(t *testing.T, contentType, event string, body []byte) {
		for verify, sign := range signers {
			r := sign(body, at)
			r.Header.Set("Content-Type", contentType)
			r.Header.Set("X-GitHub-Event", event)
			r.Header.Set("X-Shopify-Topic", event)
			res, err := receivers[verify].Receive(t.Context(), r)
			if _, ok := errors.AsType[*ingress.Unmappable](err); err != nil && !ok && !fault.Is(err, fault.Invalid) && !fault.Is(err, fault.TooLarge) {
				t.Errorf("%s: Receive = %v (%s)", verify, err, fault.CodeOf(err))
			}
			for _, s := range res.Signals {
				if err := s.Validate(); err != nil {
					t.Errorf("%s: Receive gave an invalid signal: %v", verify, err)
				}
			}
		}
	})
}

func openAll(f *testing.F) map[string]ingress.Receiver {
	f.Helper()
	all := map[string]ingress.Receiver{}
	for verify := range signers {
		all[verify] = openVerify(f, verify)
	}
	return all
}
