package codec

import (
	"bytes"
	"maps"
	"slices"

	"github.com/vmihailenco/msgpack/v5"
	"github.com/vmihailenco/msgpack/v5/msgpcode"

	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

// MarshalMsgpack writes a valid signal as one MessagePack document. The output is the same for
// equal signals.
func MarshalMsgpack(s *signal.Signal) ([]byte, error) {
	return packed(len(s.Data), func(enc *msgpack.Encoder) error { return encodeSignal(enc, s) })
}

// MarshalMsgpackBatch writes valid signals as one MessagePack batch.
func MarshalMsgpackBatch(batch []*signal.Signal) ([]byte, error) {
	return packed(512*len(batch), func(enc *msgpack.Encoder) error {
		err := enc.EncodeArrayLen(len(batch))
		for _, s := range batch {
			if err == nil {
				err = encodeSignal(enc, s)
			}
		}
		return err
	})
}

// packed runs the encoding on a pooled encoder.
func packed(sizeHint int, encode func(*msgpack.Encoder) error) ([]byte, error) {
	var buf bytes.Buffer
	buf.Grow(sizeHint + 512)
	enc := msgpack.GetEncoder()
	defer msgpack.PutEncoder(enc)
	enc.Reset(&buf)
	if err := encode(enc); err != nil {
		return nil, fault.Wrap(fault.Invalid, err)
	}
	return sized(buf.Bytes())
}

func encodeSignal(enc *msgpack.Encoder, s *signal.Signal) error {
	w := packedWriter{enc: enc}
	core := append(coreAttributes(s), attribute{"datacontenttype", s.DataContentType})
	core = slices.DeleteFunc(core, attribute.unset)
	members := len(core) + len(s.Extensions)
	if s.Data != nil {
		members++
	}
	w.check(enc.EncodeMapLen(members))
	for _, a := range core {
		w.name(a.name)
		w.check(enc.EncodeString(a.value))
	}
	for _, name := range slices.Sorted(maps.Keys(s.Extensions)) {
		w.name(name)
		w.extension(s.Extensions[name])
	}
	if s.Data != nil {
		w.name("data")
		w.check(enc.EncodeBytes(s.Data))
	}
	return w.err
}

// packedWriter keeps the first error; there is none as long as it writes to memory.
type packedWriter struct {
	enc *msgpack.Encoder
	err error
}

func (w *packedWriter) check(err error) {
	if w.err == nil {
		w.err = err
	}
}

func (w *packedWriter) name(name string) { w.check(w.enc.EncodeString(name)) }

func (w *packedWriter) extension(value any) {
	switch v := value.(type) {
	case string:
		w.check(w.enc.EncodeString(v))
	case bool:
		w.check(w.enc.EncodeBool(v))
	case int64:
		w.check(w.enc.EncodeInt(v))
	default:
		w.check(w.enc.EncodeNil()) // unset; Validate refuses it
	}
}

// UnmarshalMsgpack reads a signal from one MessagePack document, as strictly as the JSON
// reader. Errors are coded Invalid or TooLarge.
func UnmarshalMsgpack(body []byte) (*signal.Signal, error) {
	var s *signal.Signal
	err := unpacked(body, func(u *unpacker) (err error) {
		s, err = u.signal()
		return err
	})
	return s, err
}

// UnmarshalMsgpackBatch reads the signals of one MessagePack batch, [MaxBatch] at most.
func UnmarshalMsgpackBatch(body []byte) ([]*signal.Signal, error) {
	var batch []*signal.Signal
	err := unpacked(body, func(u *unpacker) error {
		n, err := u.DecodeArrayLen()
		switch {
		case err != nil || n < 0:
			return fault.Newf(fault.Invalid, "want a batch of signals in an array")
		case n > MaxBatch:
			return fault.Newf(fault.TooLarge, "%d signals in a batch, the limit is %d", n, MaxBatch)
		}
		for i := range n {
			s, err := u.signal()
			if err != nil {
				return &signal.BatchError{Index: i, Err: err}
			}
			batch = append(batch, s)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return batch, nil
}

// unpacker is a decoder that knows its place in the body.
type unpacker struct {
	*msgpack.Decoder
	body []byte
	rest *bytes.Reader // read by the decoder without looking ahead
}

// unpacked runs the decoding on a pooled decoder, once the guard has passed the body.
func unpacked(body []byte, decode func(*unpacker) error) error {
	if err := checkSize(body); err != nil {
		return err
	}
	if err := CheckMsgpack(body); err != nil {
		return err
	}
	u := unpacker{Decoder: msgpack.GetDecoder(), body: body, rest: bytes.NewReader(body)}
	defer msgpack.PutDecoder(u.Decoder)
	u.Reset(u.rest)
	err := decode(&u)
	if fault.Is(err, fault.Internal) { // the library's own, which has no code
		return fault.Wrap(fault.Invalid, err)
	}
	return err
}

// skip passes a value and returns its bytes.
func (u *unpacker) skip() ([]byte, error) {
	start := len(u.body) - u.rest.Len()
	err := u.Skip()
	return u.body[start : len(u.body)-u.rest.Len()], err
}

// signal reads one signal.
func (u *unpacker) signal() (*signal.Signal, error) {
	n, err := u.DecodeMapLen()
	if err != nil || n < 0 {
		return nil, fault.Newf(fault.Invalid, "want a signal in a map")
	}
	r := packedReader{unpacker: u}
	for range n {
		if err := r.member(); err != nil {
			return nil, err
		}
	}
	s, err := r.finish()
	switch {
	case err != nil:
		return nil, err
	case r.native != nil:
		err = setNative(s, r.native)
	default:
		err = s.SetBytes(r.bytes)
	}
	if err != nil {
		return nil, err
	}
	return s, nil
}

// packedReader builds a signal from the members of a map.
type packedReader struct {
	builder
	*unpacker
	bytes  []byte // data in a bin
	native []byte // any other data, to be read once the content type is known
}

// member reads one name and its value.
func (r *packedReader) member() error {
	name, err := decodeText(r.Decoder, "")
	if err != nil {
		return fault.Newf(fault.Invalid, "the name of an attribute is not a string")
	}
	if err := r.once(name); err != nil {
		return err
	}
	code, err := r.PeekCode()
	switch {
	case err != nil:
		return err
	case name == "data":
		return r.data(code)
	case code == msgpcode.Nil: // an attribute that is null is not set
		return r.DecodeNil()
	case msgpcode.IsString(code):
		value, err := decodeText(r.Decoder, name)
		if err != nil {
			return err
		}
		return r.setText(name, value)
	case name == "time" && msgpcode.IsExt(code):
		r.s.Time, err = decodeTime(r.Decoder, name)
		return err
	case r.core(name) != nil || name == "time":
		return invalid(name, "want a string")
	}
	return r.extension(name, code)
}

func (r *packedReader) data(code byte) (err error) {
	if msgpcode.IsBin(code) {
		r.bytes, err = r.DecodeBytes()
	} else {
		r.native, err = r.skip()
	}
	return err
}

// extension reads an extension attribute that is not a string.
func (r *packedReader) extension(name string, code byte) error {
	var value any
	var err error
	switch {
	case code == msgpcode.True || code == msgpcode.False:
		value, err = r.DecodeBool()
	case isInteger(code):
		value, err = decodeInteger(r.Decoder, name, code)
	case msgpcode.IsBin(code):
		value, err = r.DecodeBytes()
	case msgpcode.IsExt(code):
		value, err = decodeTime(r.Decoder, name)
	default:
		return invalid(name, "want a string, a whole number or a boolean")
	}
	if err != nil {
		return err
	}
	return r.s.SetExt(name, value)
}
