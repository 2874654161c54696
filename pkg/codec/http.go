package codec

import (
	"net/http"

	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

const httpContentType = "Content-Type"

// ToHTTP writes a valid signal as the headers and the body of an HTTP request or response, in
// the mode that is asked for. In binary mode attribute values are percent-encoded as the
// binding demands. Two kinds of signals would not arrive as they are and are structured instead:
// those whose data is itself a CloudEvent, and those whose source or schema is no URI, since a
// reader takes the escapes in there for the URI's own. The body may share memory with the signal's data.
func ToHTTP(s *signal.Signal, mode Mode) (http.Header, []byte, error) {
	switch {
	case mode == Binary && fitsBinaryHTTP(s):
		body, err := sized(s.Data)
		return binaryHTTP(s), body, err
	case mode == Msgpack:
		body, err := MarshalMsgpack(s)
		return http.Header{httpContentType: {TypeMsgpack}}, body, err
	}
	body, err := marshalJSON(s)
	return http.Header{httpContentType: {TypeJSON}}, body, err
}

func fitsBinaryHTTP(s *signal.Signal) bool {
	return documentOf(s.DataContentType) == notDocument && inURI(s.Source) && inURI(s.DataSchema)
}

func binaryHTTP(s *signal.Signal) http.Header {
	header := make(http.Header, 8+len(s.Extensions))
	eachHeader(s, func(name, value string) { header.Set(headerPrefix+name, encodeValue(value)) })
	if ct := contentTypeOf(s); ct != "" {
		header.Set(httpContentType, ct)
	}
	return header
}

// contentTypeOf returns the content type of the data, spelled out: CloudEvents asks for that
// when a signal moves to a form in which none does not mean JSON.
func contentTypeOf(s *signal.Signal) string {
	if s.DataContentType == "" && s.Data != nil {
		return signal.ContentTypeJSON
	}
	return s.DataContentType
}

// EncodeBatch writes valid signals as one batch and returns its content type. Binary mode has
// no batches and is an error; so are more than [MaxBatch] signals.
func EncodeBatch(batch []*signal.Signal, mode Mode) (contentType string, body []byte, err error) {
	if len(batch) > MaxBatch {
		return "", nil, fault.Newf(fault.TooLarge, "%d signals in a batch, the limit is %d", len(batch), MaxBatch)
	}
	switch mode {
	case Structured:
		body, err = sized(signal.AppendJSONBatch(nil, batch))
		return TypeJSONBatch, body, err
	case Msgpack:
		body, err = MarshalMsgpackBatch(batch)
		return TypeMsgpackBatch, body, err
	default:
		return "", nil, fault.Newf(fault.Invalid, "%s mode has no batches", mode)
	}
}

// FromHTTP reads the signals of an HTTP request or response: a batch or one document by its
// content type, else binary mode by its ce-specversion header. Anything else is an error coded
// Invalid. An empty batch is no signals and no error. The signals may share memory with the
// body.
func FromHTTP(header http.Header, body []byte) ([]*signal.Signal, error) {
	if err := checkSize(body); err != nil {
		return nil, err
	}
	contentType := header.Get(httpContentType)
	if form := documentOf(contentType); form != notDocument {
		return unmarshal(form, body)
	}
	if header.Get("Ce-Specversion") == "" {
		return nil, fault.Newf(fault.Invalid, "not a CloudEvent: neither a ce-specversion header nor a content type of %s", TypeJSON)
	}
	b, err := readHeaders(header)
	if err != nil {
		return nil, err
	}
	if ct := b.s.DataContentType; ct != "" && contentType != "" && ct != contentType {
		return nil, invalid("datacontenttype", "differs from the Content-Type header, which is where it belongs")
	}
	if contentType != "" {
		b.s.DataContentType = contentType
	}
	s, err := b.withBody(body)
	if err != nil {
		return nil, err
	}
	return []*signal.Signal{s}, nil
}
