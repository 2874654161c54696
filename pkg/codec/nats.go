package codec

import (
	"strings"

	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

// natsContentType is the header that tells structured mode from binary mode on NATS. NATS keeps
// the case of header names; this is how it is written.
const natsContentType = "Content-Type"

// ToNATS writes a valid signal as a NATS message. Structured takes binary mode for data that
// is not JSON, which would have to be base64 in JSON. Binary mode, whoever asked for it, is
// used only where it loses nothing: where attributes hold nothing but printable ASCII without
// spaces, quotes and percent signs (the Go SDK does not decode what would have to be encoded),
// and extensions are strings. Otherwise the message is structured.
//
// The header is the caller's to add to. The body may share memory with the signal's data.
func ToNATS(s *signal.Signal, mode Mode) (header map[string][]string, body []byte, err error) {
	switch {
	case mode == Msgpack:
		if body, err = MarshalMsgpack(s); err != nil {
			return nil, nil, err
		}
		return natsHeader(TypeMsgpack), body, nil
	case mode == Binary || !s.IsJSON():
		if fitsBinary(s) {
			body, err = sized(s.Data)
			return binaryNATS(s), body, err
		}
	}
	if body, err = marshalJSON(s); err != nil {
		return nil, nil, err
	}
	return natsHeader(TypeJSON), body, nil
}

func natsHeader(contentType string) map[string][]string {
	return map[string][]string{natsContentType: {contentType}}
}

func binaryNATS(s *signal.Signal) map[string][]string {
	header := make(map[string][]string, 8+len(s.Extensions))
	eachHeader(s, func(name, value string) { header[headerPrefix+name] = []string{value} })
	if ct := s.DataContentType; ct != "" {
		header[headerPrefix+"datacontenttype"] = []string{ct}
	}
	return header
}

// fitsBinary reports whether binary mode gives the very same signal back.
func fitsBinary(s *signal.Signal) bool {
	if s.Data == nil && !s.IsJSON() {
		return false // would be read as zero bytes of data
	}
	fits := s.DataContentType == "" || allPlain(s.DataContentType)
	eachHeader(s, func(_, value string) { fits = fits && allPlain(value) })
	for name, value := range s.Extensions {
		switch v := value.(type) {
		case string:
			_, isCount := hopCount(name, v)
			fits = fits && !isCount
		case int64:
			fits = fits && name == signal.ExtHops && v >= 0
		default:
			fits = false
		}
	}
	return fits
}

// FromNATS reads a signal from a NATS message of any form. A content type of CloudEvents, in
// any case, means one document; a ce-specversion header means binary mode; a message with
// neither is taken for JSON, which is how the Go SDK sends it. The signal may share memory
// with the body.
func FromNATS(header map[string][]string, body []byte) (*signal.Signal, error) {
	if err := checkSize(body); err != nil {
		return nil, err
	}
	contentType, binary := natsForm(header)
	if form := documentOf(contentType); form != notDocument {
		return unmarshalOne(form, body)
	}
	if !binary {
		s, err := unmarshalOne(oneJSON, body)
		return s, fault.Hint(err, "neither a ce-specversion nor a CloudEvents Content-Type header: taken for a CloudEvent in JSON")
	}
	b, err := readHeaders(header)
	if err != nil {
		return nil, err
	}
	if b.s.DataContentType == "" {
		b.s.DataContentType = contentType // where the Go SDK looks for it
	}
	return b.withBody(body)
}

// natsForm looks for what tells the form: the content type of the message, and whether there
// is a specversion.
func natsForm(header map[string][]string) (contentType string, binary bool) {
	for key, values := range header {
		switch {
		case len(values) == 0:
		case strings.EqualFold(key, natsContentType):
			if documentOf(contentType) == notDocument {
				contentType = values[0]
			}
		case strings.EqualFold(key, headerPrefix+"specversion"):
			binary = true
		}
	}
	return contentType, binary
}

func marshalJSON(s *signal.Signal) ([]byte, error) {
	body, err := s.MarshalJSON()
	if err != nil {
		return nil, err
	}
	return sized(body)
}
