package codec_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/vmihailenco/msgpack/v5"
	"pgregory.net/rapid"

	"github.com/signalmesh/signalmesh/pkg/codec"
	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/internal/signaltest"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

// pack writes names and values in turn as one map, natively.
func pack(tb testing.TB, members ...any) []byte {
	tb.Helper()
	var buf bytes.Buffer
	enc := msgpack.NewEncoder(&buf)
	err := errors.Join(enc.EncodeMapLen(len(members)/2), enc.EncodeMulti(members...))
	if err != nil {
		tb.Fatal(err)
	}
	return buf.Bytes()
}

func event(members ...any) []any {
	return append([]any{"specversion", "1.0", "id", "1", "source", "/s", "type", "t"}, members...)
}

func TestMsgpackRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := signaltest.Signals().Draw(t, "signal")
		body, err := codec.MarshalMsgpack(s)
		if err != nil {
			t.Fatal(err)
		}
		got, err := codec.UnmarshalMsgpack(body)
		if err != nil {
			t.Fatalf("UnmarshalMsgpack(%x) = %v", body, err)
		}
		if diff := signaltest.Diff(s, got); diff != "" {
			t.Fatalf("changed by a round trip: %s", diff)
		}
		if again, err := codec.MarshalMsgpack(got); err != nil || !bytes.Equal(body, again) {
			t.Fatalf("written twice: %x, %x, %v", body, again, err)
		}
	})
}

func TestMsgpackVectors(t *testing.T) {
	t.Parallel()
	for _, text := range vectors(t, "valid") {
		s := new(signal.Signal)
		if err := s.UnmarshalJSON(text); err != nil {
			t.Fatal(err)
		}
		body, err := codec.MarshalMsgpack(s)
		if err != nil {
			t.Fatal(err)
		}
		got, err := codec.UnmarshalMsgpack(body)
		if err != nil {
			t.Fatalf("UnmarshalMsgpack of %s = %v", text, err)
		}
		if diff := signaltest.Diff(s, got); diff != "" {
			t.Errorf("%s: %s", text, diff)
		}
	}
}

// Data that is not in a bin is native, and means the same in JSON.
func TestMsgpackNativeData(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	var ordered bytes.Buffer
	enc := msgpack.NewEncoder(&ordered)
	if err := errors.Join(enc.EncodeMapLen(2), enc.EncodeMulti("z", []any{1, -1, "€", nil, true}, "a", map[string]any{})); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		data any
		want string
	}{
		{"map in its order", msgpack.RawMessage(ordered.Bytes()), `{"z":[1,-1,"€",null,true],"a":{}}`},
		{"string", "just text", `"just text"`},
		{"string of digits", "123", `"123"`},
		{"nil", nil, "null"},
		{"largest", uint64(math.MaxUint64), "18446744073709551615"},
		{"smallest", int64(math.MinInt64), "-9223372036854775808"},
		{"double", 1.5, "1.5"},
		{"float", float32(0.1), "0.1"},
		{"bytes inside", []any{[]byte{1, 2}}, `["AQI="]`},
		{"timestamp inside", []any{at}, `["2026-01-02T03:04:05Z"]`},
	}
	for _, tt := range tests {
		for _, contentType := range []string{"application/json", ""} {
			members := event("data", tt.data)
			if contentType != "" {
				members = append(members, "datacontenttype", contentType)
			}
			s, err := codec.UnmarshalMsgpack(pack(t, members...))
			if err != nil || string(s.Data) != tt.want {
				t.Errorf("%s: %+v, %v; want data %s", tt.name, s, err, tt.want)
			} else if err := s.Validate(); err != nil {
				t.Errorf("%s: Validate() = %v", tt.name, err)
			}
		}
	}
}

func TestMsgpackMeaning(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	s, err := codec.UnmarshalMsgpack(pack(t, event(
		"time", at, "subject", nil, "num", 7, "wide", int64(-7), "flag", false, "bin", []byte{1}, "when", at,
		"datacontenttype", "text/plain", "data", "text")...))
	if err != nil {
		t.Fatal(err)
	}
	want := &signal.Signal{
		ID: "1", Source: "/s", Type: "t", Time: at, DataContentType: "text/plain", Data: []byte("text"),
		Extensions: map[string]any{
			"num": int64(7), "wide": int64(-7), "flag": false, "bin": "AQ==", "when": "2026-01-02T03:04:05.000000006Z",
		},
	}
	if diff := signaltest.Diff(want, s); diff != "" {
		t.Error(diff)
	}
	s, err = codec.UnmarshalMsgpack(pack(t, event("data", []byte("\xff"))...))
	if err != nil || s.DataContentType != "application/octet-stream" {
		t.Errorf("untyped bytes = %+v, %v; want application/octet-stream", s, err)
	}
	s, err = codec.UnmarshalMsgpack(pack(t, event("datacontenttype", "image/png", "data", nil)...))
	if err != nil || s.Data != nil {
		t.Errorf("nil that is not JSON = %+v, %v; want no data", s, err)
	}
}

func TestMsgpackRefuses(t *testing.T) {
	t.Parallel()
	var many []any
	for i := range 80 {
		many = append(many, "x"+strings.Repeat("y", i%40)+strings.Repeat("z", i/40), "v")
	}
	tests := []struct {
		name   string
		body   []byte
		code   fault.Code
		blamed string
	}{
		{"not a map", []byte{0x93, 1, 2, 3}, fault.Invalid, ""},
		{"nil", []byte{0xc0}, fault.Invalid, ""},
		{"empty map", []byte{0x80}, fault.Invalid, "specversion"},
		{"number as a name", pack(t, event(7, "x")...), fault.Invalid, ""},
		{"bytes as a name", pack(t, event([]byte("foo"), "x")...), fault.Invalid, ""},
		{"no id", pack(t, "specversion", "1.0", "source", "/s", "type", "t"), fault.Invalid, "id"},
		{"number as an id", pack(t, "specversion", "1.0", "id", 1, "source", "/s", "type", "t"), fault.Invalid, "id"},
		{"other version", pack(t, event("specversion", "1.0")...), fault.Invalid, "specversion"},
		{"repeated extension", pack(t, event("foo", "a", "foo", nil)...), fault.Invalid, "foo"},
		{"repeated data", pack(t, event("data", 1, "data", 1)...), fault.Invalid, "data"},
		{"fraction", pack(t, event("foo", 1.5)...), fault.Invalid, "foo"},
		{"map as an extension", pack(t, event("foo", map[string]any{})...), fault.Invalid, "foo"},
		{"huge number", pack(t, event("foo", uint64(math.MaxUint64))...), fault.Invalid, "foo"},
		{"upper case", pack(t, event("Foo", "x")...), fault.Invalid, "Foo"},
		{"not UTF-8", pack(t, event("foo", "\xff")...), fault.Invalid, "foo"},
		{"bad time", pack(t, event("time", "now")...), fault.Invalid, "time"},
		{"number as a time", pack(t, event("time", 12)...), fault.Invalid, "time"},
		{"map as text", pack(t, event("datacontenttype", "text/plain", "data", map[string]any{})...), fault.Invalid, "data"},
		{"bin that is not JSON", pack(t, event("datacontenttype", "application/json", "data", []byte("{"))...), fault.Invalid, "data"},
		{"not a number", pack(t, event("data", math.NaN())...), fault.Invalid, "data"},
		{"number as a key", pack(t, event("data", map[int]int{1: 2})...), fault.Invalid, "data"},
		{"unknown extension type", pack(t, event("data", msgpack.RawMessage{0xd4, 0x05, 0x00})...), fault.Invalid, "data"},
		{"odd timestamp", pack(t, event("data", msgpack.RawMessage{0xd4, 0xff, 0x00})...), fault.Invalid, "data"},
		{"too many", pack(t, event(many...)...), fault.TooLarge, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s, err := codec.UnmarshalMsgpack(tt.body)
			if err == nil || s != nil {
				t.Fatalf("UnmarshalMsgpack(%x) = %+v, %v; want only an error", tt.body, s, err)
			}
			if got := fault.CodeOf(err); got != tt.code {
				t.Errorf("code of %v = %s, want %s", err, got, tt.code)
			}
			blamed := ""
			if bad := (*signal.AttributeError)(nil); errors.As(err, &bad) {
				blamed = bad.Name
			}
			if blamed != tt.blamed {
				t.Errorf("%v blames %q, want %q", err, blamed, tt.blamed)
			}
		})
	}
}

// hostile are the inputs that end a process which decodes them without looking first.
var hostile = map[string][]byte{
	"array of 2^32-1":        {0xdd, 0xff, 0xff, 0xff, 0xff},
	"map of 2^32-1":          {0xdf, 0xff, 0xff, 0xff, 0xff},
	"array of 2^32-1 inside": append([]byte{0x81, 0xa4}, append([]byte("data"), 0xdd, 0xff, 0xff, 0xff, 0xff)...),
	"bin of 2^32-1":          {0xc6, 0xff, 0xff, 0xff, 0xff},
	"str of 2^32-1":          {0xdb, 0xff, 0xff, 0xff, 0xff},
	"ext of 2^32-1":          {0xc9, 0xff, 0xff, 0xff, 0xff, 0x00},
	"3 MB of nested arrays":  bytes.Repeat([]byte{0x91}, 3<<20),
	"nested maps":            bytes.Repeat([]byte{0x81, 0xa1, 'a'}, 1<<20),
}

func TestHostileMsgpack(t *testing.T) {
	t.Parallel()
	for name, body := range hostile {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if err := codec.CheckMsgpack(body); err == nil {
				t.Error("CheckMsgpack = nil, want an error")
			}
			if _, err := codec.UnmarshalMsgpack(body); err == nil {
				t.Error("UnmarshalMsgpack = nil, want an error")
			}
			if _, err := codec.UnmarshalMsgpackBatch(body); err == nil {
				t.Error("UnmarshalMsgpackBatch = nil, want an error")
			}
			for _, contentType := range []string{codec.TypeMsgpack, codec.TypeMsgpackBatch} {
				h := map[string][]string{"Content-Type": {contentType}}
				if _, err := codec.FromHTTP(h, body); err == nil {
					t.Errorf("FromHTTP(%s) = nil, want an error", contentType)
				}
				if _, err := codec.FromNATS(h, body); err == nil {
					t.Errorf("FromNATS(%s) = nil, want an error", contentType)
				}
			}
		})
	}
}

func TestCheckMsgpack(t *testing.T) {
	t.Parallel()
	nested := func(n int) string { return strings.Repeat("91", n) + "c0" }
	tests := []struct {
		hex  string
		want fault.Code
	}{
		{"c0", ""},
		{"c2", ""},
		{"c3", ""},
		{"00", ""},
		{"7f", ""},
		{"e0", ""},
		{"ff", ""},
		{"80", ""},
		{"90", ""},
		{"a0", ""},
		{"a161", ""},
		{"c400", ""},
		{"c40161", ""},
		{"c5000161", ""},
		{"c60000000161", ""},
		{"c70105aa", ""},
		{"c8000105aa", ""},
		{"c90000000105aa", ""},
		{"c70005", ""},
		{"ca00000000", ""},
		{"cb0000000000000000", ""},
		{"cc00", ""},
		{"cd0000", ""},
		{"ce00000000", ""},
		{"cf0000000000000000", ""},
		{"d000", ""},
		{"d10000", ""},
		{"d200000000", ""},
		{"d30000000000000000", ""},
		{"d40500", ""},
		{"d5050000", ""},
		{"d60500000000", ""},
		{"d7050000000000000000", ""},
		{"d805" + strings.Repeat("00", 16), ""},
		{"d90161", ""},
		{"da000161", ""},
		{"db0000000161", ""},
		{"dc0001c0", ""},
		{"dd00000001c0", ""},
		{"de0001c0c0", ""},
		{"df00000001c0c0", ""},
		{"dc0000", ""},
		{"df00000000", ""},
		{"9391c09280a16182c0c001c2", ""},
		{nested(64), ""},
		{nested(65), fault.TooLarge},
		{"", fault.Invalid},
		{"c1", fault.Invalid},
		{"c0c0", fault.Invalid},
		{"91", fault.Invalid},
		{"81c0", fault.Invalid},
		{"a2", fault.Invalid},
		{"a261", fault.Invalid},
		{"c4", fault.Invalid},
		{"c401", fault.Invalid},
		{"c500", fault.Invalid},
		{"c70105", fault.Invalid},
		{"c701", fault.Invalid},
		{"ca000000", fault.Invalid},
		{"d405", fault.Invalid},
		{"d9", fault.Invalid},
		{"dc00", fault.Invalid},
		{"dc0002c0", fault.Invalid},
		{"92c0c1", fault.Invalid},
		{"90c0", fault.Invalid},
		{"8190c0c0", fault.Invalid},
	}
	for _, tt := range tests {
		b, err := hex.DecodeString(tt.hex)
		if err != nil {
			t.Fatal(err)
		}
		if err := codec.CheckMsgpack(b); fault.CodeOf(err) != tt.want {
			t.Errorf("CheckMsgpack(%.40s) = %v, want code %q", tt.hex, err, tt.want)
		}
	}
}

func TestCheckMsgpackDoesNotAllocate(t *testing.T) {
	body := pack(t, event("data", map[string]any{"a": []any{1, "b"}})...)
	if n := testing.AllocsPerRun(100, func() { _ = codec.CheckMsgpack(body) }); n != 0 {
		t.Errorf("CheckMsgpack allocates %v times, want 0", n)
	}
}

// What the guard lets pass, the library decodes; what it refuses as malformed, the library
// cannot decode either.
func TestCheckMsgpackAgreesWithTheLibrary(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var value any
		if err := json.Unmarshal([]byte(signaltest.JSON(4).Draw(t, "value")), &value); err != nil {
			return // a number no float64 holds
		}
		body, err := msgpack.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		if err := codec.CheckMsgpack(body); err != nil {
			t.Fatalf("CheckMsgpack(%x) = %v", body, err)
		}
		cut := rapid.IntRange(0, len(body)-1).Draw(t, "cut")
		if err := codec.CheckMsgpack(body[:cut]); err == nil {
			t.Fatalf("CheckMsgpack(%x) of a cut value = nil", body[:cut])
		}
	})
}
