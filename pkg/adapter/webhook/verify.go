package webhook

import (
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // some senders sign with nothing better
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/ingress"
)

// A verifier decides whether a request comes from who it says. It is safe for concurrent
// use. Every refusal is [fault.Unauthenticated] and names no secret and no expected
// signature.
type verifier interface {
	verify(r *ingress.Request) error
}

// verifierFunc is a function as a verifier.
type verifierFunc func(r *ingress.Request) error

func (f verifierFunc) verify(r *ingress.Request) error { return f(r) }

// refuse is the error of a request that is not proven authentic.
func refuse(format string, args ...any) error {
	return fault.Newf(fault.Unauthenticated, format, args...)
}

// errMismatch says only that no signature fits: more would help whoever is guessing.
var errMismatch = fault.Hint(refuse("signature does not match the body"),
	"check that the sender and this source hold the same secret, and that nothing between them rewrites the body")

// one returns the single value of a header. None, an empty one and several are refused:
// which of several values counts must not be for a proxy to decide.
func one(h http.Header, name string) (string, error) {
	switch values := h.Values(name); {
	case len(values) == 0 || len(values) == 1 && values[0] == "":
		return "", refuse("no %s header", name)
	case len(values) > 1:
		return "", refuse("%d %s headers, want one", len(values), name)
	default:
		return values[0], nil
	}
}

// fresh refuses a signed time in Unix seconds that is further than window from the time
// of receipt, on either side.
func fresh(seconds string, at time.Time, window time.Duration) error {
	n, err := strconv.ParseInt(seconds, 10, 64)
	if err != nil || n < 0 {
		return refuse("timestamp %.32q is not a number of seconds", seconds)
	}
	switch age := at.Sub(time.Unix(n, 0)); {
	case age > window:
		return fault.Hint(refuse("timestamp is %s old, more than the replay window of %s", age.Round(time.Second), window),
			"a delivery this late is refused so that a recorded request cannot be sent again; check the clocks, or set replay_window")
	case age < -window:
		return fault.Hint(refuse("timestamp is %s in the future, more than the replay window of %s", (-age).Round(time.Second), window),
			"check the clocks of the sender and of this machine")
	}
	return nil
}

// algorithms are the hash functions a signature may use, by name.
var algorithms = map[string]func() hash.Hash{
	"sha1":   sha1.New,
	"sha256": sha256.New,
	"sha512": sha512.New,
}

// encodings decode the text form of a signature, by name.
var encodings = map[string]func(string) ([]byte, error){
	"hex":    hex.DecodeString,
	"base64": decodeBase64,
}

// decodeBase64 reads the standard and the URL alphabet, padded or not.
func decodeBase64(s string) ([]byte, error) {
	for _, enc := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding, base64.RawStdEncoding, base64.RawURLEncoding} {
		if b, err := enc.Strict().DecodeString(s); err == nil {
			return b, nil
		}
	}
	return nil, errors.New("not base64")
}

// maxSignatures bounds what one header can make us compute.
const maxSignatures = 16

// keys are the secrets of one source. Any of them may have signed: that is how a secret
// is rotated without losing a delivery.
type keys [][]byte

// fits reports whether mac is the HMAC of the parts under any key. Every key is tried,
// and each is compared in constant time.
func (k keys) fits(newHash func() hash.Hash, mac []byte, parts ...[]byte) bool {
	ok := 0
	for _, key := range k {
		h := hmac.New(newHash, key)
		for _, p := range parts {
			h.Write(p)
		}
		ok |= subtle.ConstantTimeCompare(h.Sum(nil), mac)
	}
	return ok == 1
}

// equals reports whether text is one of the keys, in time that does not depend on
// either's content or length.
func (k keys) equals(text string) bool {
	got := sha256.Sum256([]byte(text))
	ok := 0
	for _, key := range k {
		want := sha256.Sum256(key)
		ok |= subtle.ConstantTimeCompare(got[:], want[:])
	}
	return ok == 1
}

// digest is a short name for a body: the identity of a delivery whose sender gives none.
func digest(parts ...[]byte) string {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d:", len(p))
		h.Write(p)
	}
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil)[:16])
}

// hexAfter decodes the hex that follows prefix.
func hexAfter(value, prefix string) ([]byte, bool) {
	text, ok := strings.CutPrefix(value, prefix)
	if !ok {
		return nil, false
	}
	mac, err := hex.DecodeString(text)
	return mac, err == nil
}
