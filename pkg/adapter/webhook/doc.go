// Package webhook sends webhooks and receives them: the adapter "webhook" delivers signals
// as signed requests, the source "webhook" turns the signed requests of others into signals.
//
// Promises of the adapter:
//
//   - Requests are signed as Standard Webhooks asks, with every secret in use at once, so
//     that receivers can change from one to the next (v1, HMAC-SHA256), and with ed25519
//     keys where they are given (v1a). The older hexadecimal signature is there too.
//   - webhook-id is the idempotency key and stays the same over the attempts of a delivery;
//     webhook-timestamp is the time of the attempt.
//   - Statuses, Retry-After, redirects, addresses and secrets are treated as the adapter
//     "http" does.
//
// Promises of the source: nothing comes out of it that its signature does not prove, and
// the same delivery always gives the same signals.
package webhook
