package mesh

import (
	"cmp"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"github.com/signalmesh/signalmesh/pkg/codec"
	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

// The headers by which a named target and its caller understand each other. A request is a
// signal in any encoding; it may say how long its caller waits. A reply says how it went,
// and may carry a signal.
//
// A process that isn't written with this package may leave all of them out: a plain reply
// is a success, and the error headers of NATS micro services are understood.
const (
	HeaderTimeout    = "mesh-timeout"     // request: how long the caller waits, "4.5s"
	HeaderStatus     = "mesh-status"      // reply: "ok", or a fault code
	HeaderError      = "mesh-error"       // reply: what went wrong
	HeaderPermanent  = "mesh-permanent"   // reply: "true" when trying again can't help
	HeaderRetryAfter = "mesh-retry-after" // reply: not sooner than this, "2s"
)

const statusOK = "ok"

// maxError bounds the text of an error in a header.
const maxError = 1024

// reply writes the outcome of a handler.
func reply(s *signal.Signal, err error) *nats.Msg {
	m := &nats.Msg{Header: nats.Header{}}
	if err == nil && s != nil {
		if err = s.Validate(); err == nil {
			header, body, encErr := codec.ToNATS(s, codec.Structured)
			m.Header, m.Data, err = nats.Header(header), body, encErr
		}
	}
	if err == nil {
		m.Header.Set(HeaderStatus, statusOK)
		return m
	}
	m = &nats.Msg{Header: nats.Header{}}
	m.Header.Set(HeaderStatus, string(fault.CodeOf(err)))
	m.Header.Set(HeaderError, headerText(err.Error()))
	if fault.IsPermanent(err) {
		m.Header.Set(HeaderPermanent, "true")
	}
	if d, ok := fault.Delay(err); ok {
		m.Header.Set(HeaderRetryAfter, d.String())
	}
	return m
}

// headerText is text on one line, within bounds.
func headerText(text string) string {
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, "?"))
	if len(text) <= maxError {
		return text
	}
	cut := maxError
	for !utf8.RuneStart(text[cut]) {
		cut--
	}
	return text[:cut] + "..."
}

// outcome reads a reply: the error that the handler returned, or its signal.
func outcome(m *nats.Msg) (*signal.Signal, error) {
	switch status := m.Header.Get(HeaderStatus); {
	case status == "" && m.Header.Get(micro.ErrorCodeHeader) != "":
		return nil, microError(m)
	case status != "" && status != statusOK:
		return nil, remoteError(fault.Code(status), m)
	case !looksLikeSignal(m) && (status == "" || len(m.Data) == 0):
		return nil, nil
	}
	s, err := codec.FromNATS(m.Header, m.Data)
	if err != nil {
		return nil, fault.Permanent(fault.Newf(fault.Invalid, "its reply: %w", err))
	}
	return s, nil
}

// looksLikeSignal spares a plain answer, "+OK", from being read as one.
func looksLikeSignal(m *nats.Msg) bool {
	return m.Header.Get("ce-specversion") != "" ||
		strings.HasPrefix(strings.ToLower(m.Header.Get("Content-Type")), "application/cloudevents")
}

func remoteError(code fault.Code, m *nats.Msg) error {
	switch code {
	case fault.Invalid, fault.Unauthenticated, fault.Denied, fault.NotFound, fault.Conflict,
		fault.TooLarge, fault.Exhausted, fault.Unavailable, fault.Internal:
	default: // of a later version
		code = fault.Internal
	}
	err := fault.Newf(code, "%s", cmp.Or(m.Header.Get(HeaderError), string(code)))
	if m.Header.Get(HeaderPermanent) == "true" {
		return fault.Permanent(err)
	}
	if d, perr := time.ParseDuration(m.Header.Get(HeaderRetryAfter)); perr == nil {
		return fault.RetryAfter(d, err)
	}
	return err
}

// microError reads the error of a NATS micro service, whose codes look like HTTP's.
func microError(m *nats.Msg) error {
	status, _ := strconv.Atoi(m.Header.Get(micro.ErrorCodeHeader)) // 0 for what is no number
	code := map[int]fault.Code{
		401: fault.Unauthenticated, 403: fault.Denied, 404: fault.NotFound, 408: fault.Unavailable,
		409: fault.Conflict, 413: fault.TooLarge, 425: fault.Unavailable, 429: fault.Exhausted,
	}[status]
	switch {
	case code == "" && status >= 400 && status < 500:
		code = fault.Invalid
	case code == "" && status >= 500:
		code = fault.Unavailable
	case code == "":
		code = fault.Internal
	}
	err := fault.Newf(code, "%s", cmp.Or(m.Header.Get(micro.ErrorHeader), "micro service error"))
	if status >= 400 && status < 500 && code != fault.Unavailable && code != fault.Exhausted {
		return fault.Permanent(err)
	}
	return err
}
