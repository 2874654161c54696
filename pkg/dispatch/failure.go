package dispatch

import (
	"strings"
	"unicode/utf8"

	"github.com/signalmesh/signalmesh/pkg/secret"
)

// MaxExcerpt is how many bytes of a response a [Failure] keeps.
const MaxExcerpt = 4 << 10

// A Failure is a failed attempt to which the target answered.
type Failure struct {
	Status  int    // in the target's own terms, an HTTP status for example; 0 when it has none
	Excerpt string // the beginning of the response, secrets redacted; at most MaxExcerpt bytes
	Err     error  // what went wrong, with its code and advice
}

// Fail returns err as a [Failure] that carries the status and the beginning of the
// response. Every occurrence of a secret in the response is redacted first. A nil err
// stays nil.
func Fail(err error, status int, response []byte, secrets ...string) error {
	if err == nil {
		return nil
	}
	return &Failure{Status: status, Excerpt: Excerpt(response, secrets...), Err: err}
}

// Excerpt returns the beginning of text, at most [MaxExcerpt] bytes, as valid UTF-8 and
// with every occurrence of a secret redacted.
func Excerpt(text []byte, secrets ...string) string {
	clean := strings.ToValidUTF8(secret.Redact(string(text), secrets...), "\uFFFD")
	if len(clean) <= MaxExcerpt {
		return clean
	}
	end := MaxExcerpt
	for !utf8.RuneStart(clean[end]) {
		end--
	}
	return clean[:end]
}

// Error is the text of the cause; the response is not part of it.
func (f *Failure) Error() string { return f.Err.Error() }

// Unwrap returns the cause.
func (f *Failure) Unwrap() error { return f.Err }

// Response returns the status and the beginning of the response, for the record of the
// attempt.
func (f *Failure) Response() (status int, excerpt string) { return f.Status, f.Excerpt }

var _ error = (*Failure)(nil)
