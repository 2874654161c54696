package delivery

import (
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/signalmesh/signalmesh/pkg/fault"
)

// MaxExcerpt is how many bytes of an error's text and of a response are kept.
const MaxExcerpt = 4 << 10

// An Attempt is one try to deliver.
type Attempt struct {
	Number   int           `json:"number"`             // 1 is the first
	At       time.Time     `json:"at"`                 // when it began
	Took     time.Duration `json:"took_ns"`            // how long it ran
	Node     string        `json:"node,omitempty"`     // where it ran
	Code     fault.Code    `json:"code,omitempty"`     // class of the failure; empty on success
	Status   int           `json:"status,omitempty"`   // the receiver's own code, e.g. of HTTP
	Error    string        `json:"error,omitempty"`    // text of the failure, at most MaxExcerpt
	Response string        `json:"response,omitempty"` // beginning of what the receiver said, at most MaxExcerpt
}

// OK reports whether the attempt succeeded.
func (a Attempt) OK() bool { return a.Code == "" }

// A Responder is an error that knows what the receiver answered. It is found with
// [errors.As] and fills [Attempt.Status] and [Attempt.Response].
type Responder interface {
	error
	Response() (status int, excerpt string)
}

// A Panic is the error of an attempt whose receiver panicked.
type Panic struct {
	Value any    // what was passed to panic
	Stack []byte // of the goroutine, for the log; never part of the text
}

func (p *Panic) Error() string { return fmt.Sprintf("panic: %v", p.Value) }

// newPanic must be called by the deferred function that recovered v.
func newPanic(v any) *Panic { return &Panic{Value: v, Stack: debug.Stack()} }

// describe fills in the outcome of a.
func (a *Attempt) describe(err error) {
	if err == nil {
		return
	}
	a.Code = fault.CodeOf(err)
	a.Error = Excerpt(err.Error())
	var r Responder
	if errors.As(err, &r) {
		status, text := r.Response()
		a.Status, a.Response = status, Excerpt(text)
	}
}

// Excerpt cuts text to [MaxExcerpt] bytes of valid UTF-8, which JSON can carry.
func Excerpt(text string) string {
	if len(text) > MaxExcerpt {
		cut := MaxExcerpt
		for cut > MaxExcerpt-utf8.UTFMax && !utf8.RuneStart(text[cut]) {
			cut--
		}
		text = text[:cut]
	}
	return strings.ToValidUTF8(text, "\uFFFD")
}

// JoinAttempts returns the earlier attempts followed by the later ones, at most [MaxKept]
// of them: the first, and the latest. It shares no memory with either.
func JoinAttempts(earlier, later []Attempt) []Attempt {
	all := append(slices.Clone(earlier), later...)
	if over := len(all) - MaxKept; over > 0 {
		all = slices.Delete(all, 1, 1+over)
	}
	return all
}
