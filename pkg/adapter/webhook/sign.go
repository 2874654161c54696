package webhook

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"strconv"
	"strings"
	"time"

	"github.com/signalmesh/signalmesh/pkg/fault"
)

// Header names of Standard Webhooks (standardwebhooks.com).
const (
	HeaderID        = "webhook-id"        // stays the same over every attempt of a delivery
	HeaderTimestamp = "webhook-timestamp" // unix seconds of this attempt
	HeaderSignature = "webhook-signature" // "v1,<base64>" and "v1a,<base64>", separated by spaces
)

// Prefixes that say how the text of a key is written.
const (
	prefixSecret  = "whsec_" // base64 of a shared secret
	prefixPrivate = "whsk_"  // base64 of an ed25519 private key, or of its seed
	prefixPublic  = "whpk_"  // base64 of an ed25519 public key
)

// Sign returns the Standard Webhooks signature "v1,<base64>": HMAC-SHA256 with key over
// "id.unixseconds.body". id must not contain a full stop.
func Sign(key []byte, id string, at time.Time, body []byte) string {
	return "v1," + base64.StdEncoding.EncodeToString(HMAC256(key, prefixed(id, at), body))
}

// SignEd25519 returns the asymmetric form "v1a,<base64>" over the same content, which a
// receiver checks with the public key alone.
func SignEd25519(key ed25519.PrivateKey, id string, at time.Time, body []byte) string {
	content := append(prefixed(id, at), body...)
	return "v1a," + base64.StdEncoding.EncodeToString(ed25519.Sign(key, content))
}

// VerifySignature says whether the value of a webhook-signature header holds at least one
// signature of "id.timestamp.body" that one of the keys made. The timestamp is taken as it
// was sent; whether it is recent is for the caller to judge. Comparison takes constant time.
func VerifySignature(header, id, timestamp string, body []byte, secrets [][]byte, keys []ed25519.PublicKey) bool {
	content := append([]byte(id+"."+timestamp+"."), body...)
	for signature := range strings.FieldsSeq(header) {
		version, text, _ := strings.Cut(signature, ",")
		sum, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			continue
		}
		switch version {
		case "v1":
			for _, key := range secrets {
				if hmac.Equal(sum, HMAC256(key, content)) {
					return true
				}
			}
		case "v1a":
			for _, key := range keys {
				if ed25519.Verify(key, content, sum) {
					return true
				}
			}
		}
	}
	return false
}

// LegacySignature is the signature of the system this one descends from: lower-case hex
// HMAC-SHA256 with key over "unixseconds.body", without a prefix.
func LegacySignature(key []byte, at time.Time, body []byte) string {
	return hex.EncodeToString(HMAC256(key, []byte(strconv.FormatInt(at.Unix(), 10)+"."), body))
}

// HMAC256 returns HMAC-SHA256 with key over the parts one after the other.
func HMAC256(key []byte, parts ...[]byte) []byte {
	mac := hmac.New(sha256.New, key)
	for _, p := range parts {
		mac.Write(p)
	}
	return mac.Sum(nil)
}

// Equal compares two texts in a time that does not tell where they differ.
func Equal(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

// ParseSecret turns the text of a shared secret into a key: "whsec_" and base64, or else
// the bytes of the text itself. Errors do not repeat the text.
func ParseSecret(text string) ([]byte, error) {
	encoded, found := strings.CutPrefix(text, prefixSecret)
	if !found {
		encoded = ""
	}
	switch key, err := base64.StdEncoding.DecodeString(encoded); {
	case text == "":
		return nil, fault.Newf(fault.Invalid, "webhook secret is empty")
	case !found:
		return []byte(text), nil
	case err != nil || len(key) == 0:
		return nil, fault.Newf(fault.Invalid, "webhook secret is not base64 after %q", prefixSecret)
	default:
		return key, nil
	}
}

// ParsePrivateKey turns "whsk_" and the base64 of an ed25519 private key (64 bytes) or
// seed (32 bytes) into a key. Errors do not repeat the text.
func ParsePrivateKey(text string) (ed25519.PrivateKey, error) {
	switch key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(text, prefixPrivate)); {
	case err == nil && len(key) == ed25519.SeedSize:
		return ed25519.NewKeyFromSeed(key), nil
	case err == nil && len(key) == ed25519.PrivateKeySize && isPrivateKey(key):
		return ed25519.PrivateKey(key), nil
	}
	return nil, fault.Newf(fault.Invalid, "webhook signing key is not base64 of an ed25519 private key or seed")
}

// isPrivateKey checks that the second half is the public key of the first: signing with
// halves that do not belong together reveals the private one.
func isPrivateKey(key []byte) bool {
	return ed25519.NewKeyFromSeed(key[:ed25519.SeedSize]).Equal(ed25519.PrivateKey(key))
}

// ParsePublicKey turns "whpk_" and the base64 of an ed25519 public key into a key.
func ParsePublicKey(text string) (ed25519.PublicKey, error) {
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(text, prefixPublic))
	if err != nil || len(key) != ed25519.PublicKeySize {
		return nil, fault.Newf(fault.Invalid, "webhook public key is not base64 of an ed25519 public key")
	}
	return ed25519.PublicKey(key), nil
}

func prefixed(id string, at time.Time) []byte {
	return []byte(id + "." + strconv.FormatInt(at.Unix(), 10) + ".")
}
