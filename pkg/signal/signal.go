package signal

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"time"

	"github.com/signalmesh/signalmesh/pkg/fault"
)

// SpecVersion is the CloudEvents version that is written. "1.0.2" is accepted as an
// alias when reading.
const SpecVersion = "1.0"

// ContentTypeJSON is the media type of JSON data, and the default when none is given.
const ContentTypeJSON = "application/json"

// A Signal is one CloudEvents 1.0 event. The pair (Source, ID) identifies it.
//
// A signal is a plain value: it may be read by any number of goroutines, and must not be
// changed once it was published or handed to a handler; use [Signal.Clone] first.
type Signal struct {
	ID      string    // unique within Source; UUIDv7 by default
	Source  string    // URI-reference of the producer, "/shop"
	Type    string    // dot-separated words, "order.created"; what routing looks at
	Subject string    // what the signal is about within Source; optional
	Time    time.Time // when it happened; the zero time means not given

	DataContentType string // media type of Data; "" means application/json
	DataSchema      string // URI of the schema of Data; optional

	// Data is the payload as it travels: the JSON text when the content type is JSON, the
	// bytes themselves otherwise. nil means the signal has no data.
	Data []byte

	// Extensions are the CloudEvents extension attributes. A value is a string, a bool or
	// an int64; names are lower-case ASCII letters and digits and never a core attribute.
	Extensions map[string]any
}

// Clone returns a copy that shares nothing with s.
func (s *Signal) Clone() *Signal {
	c := *s
	c.Data = bytes.Clone(s.Data)
	c.Extensions = maps.Clone(s.Extensions)
	return &c
}

// IsJSON reports whether the data is JSON text, going by the content type: application/json,
// text/json, anything ending in "+json", or none at all.
func (s *Signal) IsJSON() bool { return isJSONType(s.DataContentType) }

// Decode stores the data in the value that into points to. A *[]byte gets a copy of the data
// as it is, a *string the text of data that is not JSON, and anything else is filled by
// json.Unmarshal. No data, data of another content type, and data that does not fit are
// errors coded Invalid.
func (s *Signal) Decode(into any) error {
	if s.Data == nil {
		return violation("data", "the signal has none")
	}
	if raw, ok := into.(*[]byte); ok {
		*raw = bytes.Clone(s.Data)
		return nil
	}
	if !s.IsJSON() {
		text, ok := into.(*string)
		if !ok {
			return violation("data", "cannot decode %.64q into a Go %T", s.DataContentType, into)
		}
		*text = string(s.Data)
		return nil
	}
	if err := json.Unmarshal(s.Data, into); err != nil {
		return fault.Wrap(fault.Invalid, fmt.Errorf("data: %w", err))
	}
	return nil
}

// SetBytes sets data that was received as plain bytes under the content type that is set.
// The error, coded Invalid or TooLarge, says that the bytes are not the JSON they claim to be.
// Bytes without a content type that are not JSON get application/octet-stream, since no
// content type means JSON. Of JSON, the space around the value is left out. The slice is kept;
// nil is no data.
func (s *Signal) SetBytes(data []byte) error {
	s.Data = data
	if !s.IsJSON() {
		return nil
	}
	err := s.checkData()
	switch {
	case err == nil:
		s.Data = trimJSON(data)
	case s.DataContentType == "":
		s.DataContentType = contentTypeBytes
		return nil
	}
	return err
}

// trimJSON cuts off the space around a JSON value, which no form of a signal can keep.
func trimJSON(text []byte) []byte { return bytes.Trim(text, " \t\r\n") }
