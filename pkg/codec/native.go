package codec

import (
	"bytes"
	"encoding/json"
	"math"
	"time"
	"unicode/utf8"

	"github.com/vmihailenco/msgpack/v5"
	"github.com/vmihailenco/msgpack/v5/msgpcode"

	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

// setNative sets data that is a native MessagePack value: under a JSON content type it becomes
// the JSON text that says the same, otherwise it has to be a string.
func setNative(s *signal.Signal, raw []byte) error {
	dec := msgpack.GetDecoder()
	defer msgpack.PutDecoder(dec)
	dec.Reset(bytes.NewReader(raw))
	if !s.IsJSON() {
		if raw[0] == msgpcode.Nil {
			return nil
		}
		text, err := decodeText(dec, "data")
		if err != nil {
			return err
		}
		s.Data = []byte(text)
		return nil
	}
	text, err := appendNative(make([]byte, 0, 2*len(raw)), dec)
	if err == nil {
		err = checkSize(text)
	}
	if err != nil {
		return err
	}
	s.Data = text
	return nil
}

// appendNative appends one native value as JSON. It recurses no deeper than the guard allows.
func appendNative(dst []byte, dec *msgpack.Decoder) ([]byte, error) {
	code, err := dec.PeekCode()
	if err != nil {
		return nil, err
	}
	switch {
	case isArray(code):
		return appendArray(dst, dec)
	case isMap(code):
		return appendMap(dst, dec)
	}
	value, err := decodeScalar(dec, code)
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(value) // refuses numbers that JSON does not have
	if err != nil {
		return nil, invalid("data", "%v", err)
	}
	return append(dst, text...), nil
}

func appendArray(dst []byte, dec *msgpack.Decoder) ([]byte, error) {
	n, err := dec.DecodeArrayLen()
	if err != nil {
		return nil, err
	}
	dst = append(dst, '[')
	for i := range n {
		if i > 0 {
			dst = append(dst, ',')
		}
		if dst, err = appendNative(dst, dec); err != nil {
			return nil, err
		}
	}
	return append(dst, ']'), nil
}

func appendMap(dst []byte, dec *msgpack.Decoder) ([]byte, error) {
	n, err := dec.DecodeMapLen()
	if err != nil {
		return nil, err
	}
	dst = append(dst, '{')
	for i := range n {
		if i > 0 {
			dst = append(dst, ',')
		}
		key, err := decodeText(dec, "data")
		if err != nil {
			return nil, err
		}
		text, err := json.Marshal(key)
		if err != nil {
			return nil, err
		}
		dst = append(append(dst, text...), ':')
		if dst, err = appendNative(dst, dec); err != nil {
			return nil, err
		}
	}
	return append(dst, '}'), nil
}

// decodeScalar reads a value that holds no others, as the Go value that encoding/json writes
// the way we want it.
func decodeScalar(dec *msgpack.Decoder, code byte) (any, error) {
	switch {
	case code == msgpcode.Nil:
		return nil, dec.DecodeNil()
	case code == msgpcode.True || code == msgpcode.False:
		return dec.DecodeBool()
	case code == msgpcode.Uint64:
		return dec.DecodeUint64()
	case isInteger(code):
		return dec.DecodeInt64()
	case code == msgpcode.Float:
		return dec.DecodeFloat32()
	case code == msgpcode.Double:
		return dec.DecodeFloat64()
	case msgpcode.IsString(code):
		return decodeText(dec, "data")
	case msgpcode.IsBin(code):
		return dec.DecodeBytes() // base64 in JSON
	case msgpcode.IsExt(code):
		return decodeTime(dec, "data")
	}
	return nil, fault.Newf(fault.Invalid, "unknown MessagePack code %#x", code)
}

// decodeText reads a string, which the library would also take from a bin or from nil.
func decodeText(dec *msgpack.Decoder, what string) (string, error) {
	code, err := dec.PeekCode()
	if err != nil {
		return "", err
	}
	if !msgpcode.IsString(code) {
		return "", invalid(what, "want a string")
	}
	text, err := dec.DecodeString()
	if err == nil && !utf8.ValidString(text) {
		return "", invalid(what, "not UTF-8")
	}
	return text, err
}

// decodeTime reads a timestamp, the one extension type that is understood.
func decodeTime(dec *msgpack.Decoder, what string) (time.Time, error) {
	t, err := dec.DecodeTime()
	if err != nil {
		return time.Time{}, invalid(what, "an extension type other than a timestamp")
	}
	return t.UTC(), nil
}

func decodeInteger(dec *msgpack.Decoder, what string, code byte) (int64, error) {
	if code == msgpcode.Uint64 {
		n, err := dec.DecodeUint64()
		if err == nil && n > math.MaxInt64 {
			return 0, invalid(what, "not a whole number in range")
		}
		return int64(n), err
	}
	return dec.DecodeInt64()
}

func isInteger(code byte) bool {
	return msgpcode.IsFixedNum(code) || code >= msgpcode.Uint8 && code <= msgpcode.Int64
}

func isArray(code byte) bool {
	return msgpcode.IsFixedArray(code) || code == msgpcode.Array16 || code == msgpcode.Array32
}

func isMap(code byte) bool {
	return msgpcode.IsFixedMap(code) || code == msgpcode.Map16 || code == msgpcode.Map32
}
