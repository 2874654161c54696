package signal

import (
	"time"
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
