package codec

import (
	"encoding"
	"strings"

	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

// Limits on what is read, and on what is written, so that it can be read again.
const (
	MaxSize  = 10 << 20 // bytes of one message body
	MaxBatch = 1000     // signals in one batch

	// MaxHeaderSize is the limit on the bytes of all ce- headers of one message together,
	// names and values. Their number is limited by what a signal may have.
	MaxHeaderSize = 256 << 10
)

// Media types of the forms that are one document.
const (
	TypeJSON         = "application/cloudevents+json"
	TypeJSONBatch    = "application/cloudevents-batch+json"
	TypeMsgpack      = "application/cloudevents+msgpack"
	TypeMsgpackBatch = "application/cloudevents-batch+msgpack"
)

// A Mode is a form in which signals are written. Readers take all of them.
type Mode int

// The modes. Structured is the default: it costs the least (ten headers cost more than the
// rest of the way of a signal) and loses nothing.
const (
	Structured Mode = iota // one JSON document
	Binary                 // attributes as headers, the data alone in the body
	Msgpack                // one MessagePack document
)

var modeNames = [...]string{Structured: "structured", Binary: "binary", Msgpack: "msgpack"}

// ParseMode reads the name of a mode: structured (or json), binary, msgpack.
func ParseMode(name string) (Mode, error) {
	if name == "json" {
		return Structured, nil
	}
	for m, n := range modeNames {
		if n == name {
			return Mode(m), nil
		}
	}
	return 0, fault.Newf(fault.Invalid, "encoding %.32q: want one of %s", name, strings.Join(modeNames[:], ", "))
}

// String returns the name of the mode.
func (m Mode) String() string {
	if m < 0 || int(m) >= len(modeNames) {
		return "unknown"
	}
	return modeNames[m]
}

// MarshalText returns the name of the mode.
func (m Mode) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText reads the name of a mode, as [ParseMode] does.
func (m *Mode) UnmarshalText(text []byte) error {
	parsed, err := ParseMode(string(text))
	if err == nil {
		*m = parsed
	}
	return err
}

// document is a form in which signals are one document.
type document int

const (
	notDocument document = iota
	oneJSON
	batchJSON
	oneMsgpack
	batchMsgpack
	unknownDocument
)

// documentOf tells the form by the content type, whatever its case and parameters. A missing
// suffix means JSON.
func documentOf(contentType string) document {
	mt, _, _ := strings.Cut(contentType, ";")
	mt = strings.ToLower(strings.TrimSpace(mt))
	switch mt {
	case TypeJSON, "application/cloudevents":
		return oneJSON
	case TypeJSONBatch, "application/cloudevents-batch":
		return batchJSON
	case TypeMsgpack:
		return oneMsgpack
	case TypeMsgpackBatch:
		return batchMsgpack
	}
	if strings.HasPrefix(mt, "application/cloudevents") {
		return unknownDocument
	}
	return notDocument
}

// unmarshal reads the signals of a document.
func unmarshal(form document, body []byte) ([]*signal.Signal, error) {
	switch form {
	case batchJSON:
		return signal.UnmarshalJSONBatch(body, MaxBatch)
	case batchMsgpack:
		return UnmarshalMsgpackBatch(body)
	default:
		s, err := unmarshalOne(form, body)
		if err != nil {
			return nil, err
		}
		return []*signal.Signal{s}, nil
	}
}

// unmarshalOne reads the signal of a document that is not a batch.
func unmarshalOne(form document, body []byte) (*signal.Signal, error) {
	switch form {
	case oneJSON:
		s := new(signal.Signal)
		if err := s.UnmarshalJSON(body); err != nil {
			return nil, err
		}
		return s, nil
	case oneMsgpack:
		return UnmarshalMsgpack(body)
	case batchJSON, batchMsgpack:
		return nil, fault.Newf(fault.Invalid, "a batch, where one signal is expected")
	default:
		return nil, fault.Newf(fault.Invalid, "unknown CloudEvents format, want json or msgpack")
	}
}

// checkSize refuses bodies over [MaxSize].
func checkSize(body []byte) error {
	if len(body) > MaxSize {
		return fault.Newf(fault.TooLarge, "the message has %d bytes, the limit is %d", len(body), MaxSize)
	}
	return nil
}

// sized returns a written body if it can be read again.
func sized(body []byte) ([]byte, error) {
	if err := checkSize(body); err != nil {
		return nil, err
	}
	return body, nil
}

var (
	_ encoding.TextMarshaler   = Mode(0)
	_ encoding.TextUnmarshaler = (*Mode)(nil)
)
