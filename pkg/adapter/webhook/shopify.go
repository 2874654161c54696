package webhook

import (
	"crypto/sha256"
	"strings"
	"time"

	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/ingress"
)

// shopify is the preset for Shopify.
//
//	id       X-Shopify-Webhook-Id, which stays the same over its retries
//	type     shopify.<topic>, with a dot for the slash: shopify.orders.create
//	source   /shopify/<shop>: /shopify/acme.myshopify.com
//	subject  admin_graphql_api_id (gid://shopify/Order/1), else the id of the object
//	time     X-Shopify-Triggered-At
var shopify = preset{
	json: true,
	id:   func(d *delivery) string { return d.header("X-Shopify-Webhook-Id") },
	typ: func(d *delivery) (string, error) {
		topic := d.header("X-Shopify-Topic")
		if topic == "" {
			return "", fault.Newf(fault.Invalid, "no X-Shopify-Topic header")
		}
		return dotted("shopify", strings.ReplaceAll(topic, "/", ".")), nil
	},
	source:  func(d *delivery) string { return "/shopify" + under("/", d.header("X-Shopify-Shop-Domain")) },
	subject: func(d *delivery) string { return first(d.text("admin_graphql_api_id"), d.text("id")) },
	time:    func(d *delivery) time.Time { return moment(d.header("X-Shopify-Triggered-At")) },
}

// verifyShopify checks X-Shopify-Hmac-Sha256: base64 HMAC of the body.
func verifyShopify(k keys) verifier {
	return verifierFunc(func(r *ingress.Request) error {
		value, err := one(r.Header, "X-Shopify-Hmac-Sha256")
		if err != nil {
			return err
		}
		mac, err := decodeBase64(value)
		if err != nil || !k.fits(sha256.New, mac, r.Body) {
			return errMismatch
		}
		return nil
	})
}
