package signal

import (
	"encoding/base64"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// MarshalJSON returns the signal in the CloudEvents JSON format; see [Signal.AppendJSON].
// Reached through json.Marshal the data is compacted and HTML-escaped on the way, as that
// function does with everything; called directly it is not touched.
func (s Signal) MarshalJSON() ([]byte, error) {
	return s.AppendJSON(make([]byte, 0, s.sizeJSON())), nil
}

// AppendJSON appends the signal in the CloudEvents JSON format and returns the extended
// buffer. JSON data is written as it is, textual data that is UTF-8 as a string, other data
// as data_base64; data comes last, extensions before it by name. The output is the same for
// equal signals. The signal must be valid: broken JSON data would be written as it is.
func (s *Signal) AppendJSON(dst []byte) []byte {
	dst = append(dst, `{"specversion":"`+SpecVersion+`","id":`...)
	dst = appendQuoted(dst, s.ID)
	dst = append(dst, `,"source":`...)
	dst = appendQuoted(dst, s.Source)
	dst = append(dst, `,"type":`...)
	dst = appendQuoted(dst, s.Type)
	dst = appendMember(dst, `,"subject":`, s.Subject)
	if !s.Time.IsZero() {
		dst = append(dst, `,"time":"`...)
		dst = append(appendTime(dst, s.Time), '"')
	}
	dst = appendMember(dst, `,"datacontenttype":`, s.DataContentType)
	dst = appendMember(dst, `,"dataschema":`, s.DataSchema)
	if len(s.Extensions) > 0 {
		dst = s.appendExtensions(dst)
	}
	return append(s.appendData(dst), '}')
}

// appendMember appends an optional attribute. The prefix is its comma, name and colon.
func appendMember(dst []byte, prefix, value string) []byte {
	if value == "" {
		return dst
	}
	return appendQuoted(append(dst, prefix...), value)
}

func (s *Signal) appendExtensions(dst []byte) []byte {
	var few [12]string // on the stack, for all but unusual signals
	names := few[:0]
	for name := range s.Extensions {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		dst = append(dst, ',')
		dst = appendQuoted(dst, name)
		dst = append(dst, ':')
		switch v := s.Extensions[name].(type) {
		case string:
			dst = appendQuoted(dst, v)
		case bool:
			dst = strconv.AppendBool(dst, v)
		case int64:
			dst = strconv.AppendInt(dst, v, 10)
		default:
			dst = append(dst, "null"...) // unset; Validate refuses it
		}
	}
	return dst
}

func (s *Signal) appendData(dst []byte) []byte {
	switch {
	case s.Data == nil:
		return dst
	case s.IsJSON():
		if len(s.Data) == 0 {
			return dst // no JSON value is empty
		}
		dst = append(dst, `,"data":`...)
		return append(dst, s.Data...)
	case isText(s.DataContentType) && utf8.Valid(s.Data):
		dst = append(dst, `,"data":`...)
		return appendQuoted(dst, s.Data)
	}
	dst = append(dst, `,"data_base64":"`...)
	dst = base64.StdEncoding.AppendEncode(dst, s.Data)
	return append(dst, '"')
}

// sizeJSON estimates the JSON text from above, unless much of it needs escaping.
func (s *Signal) sizeJSON() int {
	n := 192 + len(s.ID) + len(s.Source) + len(s.Type) + len(s.Subject) +
		len(time.RFC3339Nano) + len(s.DataContentType) + len(s.DataSchema)
	for name, value := range s.Extensions {
		n += len(name) + 26
		if v, ok := value.(string); ok {
			n += len(v) + len(v)/8
		}
	}
	if s.IsJSON() {
		return n + len(s.Data)
	}
	return n + len(s.Data)*4/3 + 4
}

// mediaType is a content type without its parameters.
func mediaType(contentType string) string {
	mt, _, _ := strings.Cut(contentType, ";")
	return strings.TrimSpace(mt)
}

func isJSONType(contentType string) bool {
	if contentType == "" || contentType == ContentTypeJSON {
		return true
	}
	mt := mediaType(contentType)
	return strings.EqualFold(mt, ContentTypeJSON) || strings.EqualFold(mt, "text/json") || hasSuffixFold(mt, "+json")
}

// isText tells the media types whose data is readable as a string.
func isText(contentType string) bool {
	mt := mediaType(contentType)
	return len(mt) > 5 && strings.EqualFold(mt[:5], "text/") ||
		strings.EqualFold(mt, "application/xml") || hasSuffixFold(mt, "+xml")
}

func hasSuffixFold(s, suffix string) bool {
	return len(s) >= len(suffix) && strings.EqualFold(s[len(s)-len(suffix):], suffix)
}

var _ json.Marshaler = Signal{}
