package signal

import (
	"encoding/base64"
	"math"
	"net/url"
	"reflect"
	"strconv"
	"time"
)

// Names of the extension attributes the mesh reads or writes. All but the last three are
// registered or documented CloudEvents extensions.
const (
	ExtTraceParent    = "traceparent"        // W3C trace context of the span that made the signal
	ExtTraceState     = "tracestate"         // W3C vendor state that goes with it
	ExtCorrelation    = "correlationid"      // shared by all signals of one conversation
	ExtCausation      = "causationid"        // id of the signal that caused this one
	ExtPartitionKey   = "partitionkey"       // signals with one key keep their order
	ExtExpiry         = "expirytime"         // RFC 3339 time after which the signal is of no use
	ExtDataRef        = "dataref"            // where the data is, when it is not inside
	ExtClassification = "dataclassification" // how confidential the data is
	ExtDispatch       = "dispatch"           // targets carried by the signal itself
	ExtReplay         = "replayid"           // the replay that sent the signal again
	ExtHops           = "meshhops"           // how many times the mesh has turned one signal into the next
)

// Ext returns the extension attribute: a string, a bool or an int64.
func (s *Signal) Ext(name string) (any, bool) {
	v, ok := s.Extensions[name]
	return v, ok
}

// ExtString returns the extension attribute in its canonical text form, or "".
func (s *Signal) ExtString(name string) string {
	switch v := s.Extensions[name].(type) {
	case string:
		return v
	case bool:
		return strconv.FormatBool(v)
	case int64:
		return strconv.FormatInt(v, 10)
	}
	return ""
}

// SetExt sets an extension attribute. It takes strings, bools and whole numbers in the range
// of CloudEvents integers (32 bits, signed), and turns times, URLs and []byte into their
// canonical text (RFC 3339, the URL, base64). A nil value removes the attribute. It must not
// be called on a signal that was published or is being handled.
func (s *Signal) SetExt(name string, value any) error {
	if err := checkExtName(name); err != nil {
		return err
	}
	if value == nil {
		delete(s.Extensions, name)
		return nil
	}
	v, err := extValue(name, value)
	if err != nil {
		return err
	}
	if err := checkExtValue(name, v); err != nil {
		return err
	}
	if s.Extensions == nil {
		s.Extensions = make(map[string]any, 4)
	}
	s.Extensions[name] = v
	return nil
}

// extValue converts a Go value to one of the three kinds that extensions are kept in.
func extValue(name string, value any) (any, error) {
	switch v := value.(type) {
	case string, bool, int64:
		return v, nil
	case ID:
		return v.String(), nil
	case time.Time:
		return FormatTime(v), nil
	case *url.URL:
		return v.String(), nil
	case []byte:
		return base64.StdEncoding.EncodeToString(v), nil
	}
	switch v := reflect.ValueOf(value); {
	case v.Kind() == reflect.String:
		return v.String(), nil
	case v.Kind() == reflect.Bool:
		return v.Bool(), nil
	case v.CanInt():
		return v.Int(), nil
	case v.CanUint() && v.Uint() <= math.MaxInt32:
		return int64(v.Uint()), nil
	}
	return nil, violation(name, "a Go %T is not an extension value (string, bool or 32-bit integer)", value)
}

// Correlation returns the id that all signals of the conversation share, or "".
func (s *Signal) Correlation() string { return s.ExtString(ExtCorrelation) }

// Causation returns the id of the signal that caused this one, or "".
func (s *Signal) Causation() string { return s.ExtString(ExtCausation) }

// Conversation returns what the signal is grouped by: its subject, else its correlation id,
// else "".
func (s *Signal) Conversation() string {
	if s.Subject != "" {
		return s.Subject
	}
	return s.Correlation()
}

// Hops returns how many signals the mesh made, one from the other, to arrive at this one: 0
// for a signal from outside. A value that is not a count is 0.
func (s *Signal) Hops() int {
	switch v := s.Extensions[ExtHops].(type) {
	case int64:
		return int(min(max(v, 0), math.MaxInt32))
	case string: // binary mode carries every attribute as text
		if n, err := strconv.ParseUint(v, 10, 31); err == nil {
			return int(n)
		}
	}
	return 0
}

// Expiry returns the time after which the signal is of no use, if it has one that can be read.
func (s *Signal) Expiry() (time.Time, bool) {
	text := s.ExtString(ExtExpiry)
	if text == "" {
		return time.Time{}, false
	}
	t, err := ParseTime(ExtExpiry, text)
	return t, err == nil
}

// follow makes s an effect of the cause in every respect that is not set already.
func (s *Signal) follow(cause *Signal) {
	correlation := cause.Correlation()
	if correlation == "" {
		correlation = cause.ID
	}
	s.setDefault(ExtCausation, cause.ID)
	s.setDefault(ExtCorrelation, correlation)
	s.setDefault(ExtHops, int64(min(cause.Hops()+1, math.MaxInt32)))
	if _, ok := s.Extensions[ExtTraceParent]; ok {
		return
	}
	if parent, ok := parseTraceParent(cause.TraceParent()); ok {
		s.setDefault(ExtTraceParent, parent.child())
		if state := cause.ExtString(ExtTraceState); state != "" {
			s.setDefault(ExtTraceState, state)
		}
	}
}

func (s *Signal) setDefault(name string, value any) {
	if _, ok := s.Extensions[name]; ok {
		return
	}
	if s.Extensions == nil {
		s.Extensions = make(map[string]any, 6)
	}
	s.Extensions[name] = value
}
