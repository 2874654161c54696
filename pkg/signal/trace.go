package signal

import (
	"crypto/rand"
	"encoding/hex"
)

// traceParent is a W3C trace context: which trace, which span, and whether it is recorded.
type traceParent struct {
	trace [16]byte
	span  [8]byte
	flags byte
}

const traceParentLen = len("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")

// parseTraceParent reads the text form. Later versions may append fields, which are ignored,
// as W3C Trace Context asks; a trace or span of zeros is no trace.
func parseTraceParent(text string) (p traceParent, ok bool) {
	if len(text) < traceParentLen || text[2] != '-' || text[35] != '-' || text[52] != '-' {
		return p, false
	}
	version, flags := [1]byte{}, [1]byte{}
	if !lowerHex(version[:], text[:2]) || !lowerHex(p.trace[:], text[3:35]) ||
		!lowerHex(p.span[:], text[36:52]) || !lowerHex(flags[:], text[53:55]) {
		return p, false
	}
	if version[0] == 0xff || p.trace == [16]byte{} || p.span == [8]byte{} {
		return p, false
	}
	if len(text) > traceParentLen && (version[0] == 0 || text[traceParentLen] != '-') {
		return p, false
	}
	p.flags = flags[0]
	return p, true
}

// lowerHex decodes text into dst, refusing the upper-case digits that W3C forbids.
func lowerHex(dst []byte, text string) bool {
	for i := range len(text) {
		if c := text[i]; c >= 'A' && c <= 'F' {
			return false
		}
	}
	_, err := hex.Decode(dst, []byte(text))
	return err == nil
}

// child returns the text of a new span in the same trace.
func (p traceParent) child() string {
	p.span = newSpan()
	return p.String()
}

// String gives the version 00 text form.
func (p traceParent) String() string {
	b := make([]byte, 0, traceParentLen)
	b = append(b, "00-"...)
	b = hex.AppendEncode(b, p.trace[:])
	b = append(b, '-')
	b = hex.AppendEncode(b, p.span[:])
	b = append(b, '-')
	return string(hex.AppendEncode(b, []byte{p.flags}))
}

func newSpan() (span [8]byte) {
	for span == [8]byte{} {
		_, _ = rand.Read(span[:]) // never fails; see crypto/rand
	}
	return span
}

// TraceParent returns the W3C trace context of the signal as it stands, or "".
func (s *Signal) TraceParent() string { return s.ExtString(ExtTraceParent) }

// EnsureTrace starts a fresh, recorded trace unless the signal carries one that can be read.
// It must not be called on a signal that was published or is being handled.
func (s *Signal) EnsureTrace() {
	if _, ok := parseTraceParent(s.TraceParent()); ok {
		return
	}
	p := traceParent{span: newSpan(), flags: 1}
	for p.trace == [16]byte{} {
		_, _ = rand.Read(p.trace[:])
	}
	if s.Extensions == nil {
		s.Extensions = make(map[string]any, 4)
	}
	s.Extensions[ExtTraceParent] = p.String()
	delete(s.Extensions, ExtTraceState) // it belonged to the context that could not be read
}
