// Package secret keeps secrets out of files, logs and error texts.
//
// Promises:
//
//   - Configuration holds a [Ref], where a secret is, never the secret: "env:NAME" or
//     "file:/path".
//   - A text that is not a reference is refused without being repeated, because it may
//     be the secret itself, pasted in the wrong place. Printing such a Ref, with any
//     verb, shows "[redacted]".
//   - [Redact] and [URL] clean texts that came from elsewhere before they are shown.
//
// Everything here is safe for concurrent use.
package secret

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/signalmesh/signalmesh/pkg/fault"
)

// Redacted is what stands where a secret was.
const Redacted = "[redacted]"

// MaxSize is the most bytes that a file referred to may hold.
const MaxSize = 64 << 10

// A Ref says where a secret is: "env:NAME" or "file:/path". The zero Ref means none.
//
// A Ref made by conversion may hold anything; [Ref.Validate] tells, and no method shows
// the text of one that is not a reference.
type Ref string

// Parse checks text and returns it as a Ref. The empty text is the zero Ref. An error has
// code Invalid and does not contain text.
func Parse(text string) (Ref, error) {
	r := Ref(text)
	return r, r.Validate()
}

// Validate reports whether r is zero or a well-formed reference. What it refers to is not
// looked at.
func (r Ref) Validate() error {
	scheme, name, found := strings.Cut(string(r), ":")
	switch {
	case r == "":
		return nil
	case found && scheme == "env":
		if name == "" || strings.ContainsAny(name, "=\x00 \t\r\n") {
			return invalid(errors.New("env: must be followed by the name of an environment variable"))
		}
		return nil
	case found && scheme == "file":
		if !filepath.IsAbs(name) || strings.Contains(name, "\x00") {
			return invalid(errors.New("file: must be followed by an absolute path"))
		}
		return nil
	}
	return invalid(errors.New("not a secret reference (the value is not shown)"))
}

func invalid(err error) error {
	return fault.Hint(fault.Wrap(fault.Invalid, err),
		"name the place of the secret, env:NAME or file:/path, not the secret")
}

// Resolve reads the secret. One trailing newline of a file is dropped. Nothing is cached:
// a file that changed gives the new secret.
//
// Errors: Invalid for a malformed or zero reference and for an empty secret, NotFound for
// an unset variable or a missing file, Denied for a file that may not be read, TooLarge
// for a file over [MaxSize].
func (r Ref) Resolve() (string, error) {
	if err := r.Validate(); err != nil {
		return "", err
	}
	scheme, name, _ := strings.Cut(string(r), ":")
	var value string
	switch scheme {
	case "env":
		v, ok := os.LookupEnv(name)
		if !ok {
			return "", fault.Newf(fault.NotFound, "secret %s: the environment variable is not set", r)
		}
		value = v
	case "file":
		v, err := readFile(name)
		if err != nil {
			return "", fmt.Errorf("secret %s: %w", r, err)
		}
		value = v
	default:
		return "", fault.Newf(fault.Invalid, "no secret reference is given")
	}
	if value == "" {
		return "", fault.Newf(fault.Invalid, "secret %s: the value is empty", r)
	}
	return value, nil
}

func readFile(name string) (string, error) {
	f, err := os.Open(name)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return "", fault.Newf(fault.NotFound, "no such file")
	case errors.Is(err, os.ErrPermission):
		return "", fault.Newf(fault.Denied, "the file may not be read")
	case err != nil:
		return "", err
	}
	defer func() { _ = f.Close() }() // opened for reading: nothing is lost
	b, err := io.ReadAll(io.LimitReader(f, MaxSize+1))
	if err != nil {
		return "", err
	}
	if len(b) > MaxSize {
		return "", fault.Newf(fault.TooLarge, "the file holds more than %d bytes", MaxSize)
	}
	return strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), "\r"), nil
}

// IsZero reports whether r refers to nothing.
func (r Ref) IsZero() bool { return r == "" }

// String returns the reference, or "[redacted]" when r is not one.
func (r Ref) String() string {
	if r.Validate() != nil {
		return Redacted
	}
	return string(r)
}

// GoString is [Ref.String], quoted, for %#v.
func (r Ref) GoString() string { return fmt.Sprintf("secret.Ref(%q)", r.String()) }

// Format writes [Ref.String] for every verb, so that no format shows a misplaced secret.
func (r Ref) Format(f fmt.State, verb rune) {
	switch {
	case verb == 'q':
		_, _ = fmt.Fprintf(f, "%q", r.String())
	case verb == 'v' && f.Flag('#'):
		_, _ = io.WriteString(f, r.GoString())
	default:
		_, _ = io.WriteString(f, r.String())
	}
}

// MarshalText returns the reference; a text that is not one is an error.
func (r Ref) MarshalText() ([]byte, error) {
	if err := r.Validate(); err != nil {
		return nil, err
	}
	return []byte(r), nil
}

// UnmarshalText is [Parse].
func (r *Ref) UnmarshalText(text []byte) error {
	ref, err := Parse(string(text))
	if err != nil {
		return err
	}
	*r = ref
	return nil
}

var (
	_ fmt.Formatter  = Ref("")
	_ fmt.GoStringer = Ref("")
)
