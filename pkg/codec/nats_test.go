package codec_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/signalmesh/signalmesh/pkg/codec"
	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/internal/signaltest"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

var modes = []codec.Mode{codec.Structured, codec.Binary, codec.Msgpack}

func TestNATSRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := signaltest.Signals().Draw(t, "signal")
		mode := rapid.SampledFrom(modes).Draw(t, "mode")
		header, body, err := codec.ToNATS(s, mode)
		if err != nil {
			t.Fatalf("ToNATS = %v", err)
		}
		got, err := codec.FromNATS(header, body)
		if err != nil {
			t.Fatalf("FromNATS(%v, %q) = %v", header, body, err)
		}
		if diff := signaltest.Diff(s, got); diff != "" {
			t.Fatalf("changed on the way as %v: %s", header, diff)
		}
	})
}

func TestNATSTricky(t *testing.T) {
	t.Parallel()
	for _, mode := range modes {
		s := tricky(t)
		header, body, err := codec.ToNATS(s, mode)
		if err != nil {
			t.Fatal(err)
		}
		if _, binary := header["ce-id"]; binary {
			t.Errorf("%v: sent in binary mode, though the SDK would not decode it", mode)
		}
		got, err := codec.FromNATS(header, body)
		if err != nil {
			t.Fatal(err)
		}
		if diff := signaltest.Diff(s, got); diff != "" {
			t.Errorf("%v: %s", mode, diff)
		}
	}
}

// Which form a signal travels in: binary only on request or for data that is not JSON, and only
// where nothing is lost by it.
func TestToNATSForm(t *testing.T) {
	t.Parallel()
	base := signal.Signal{ID: "1", Source: "/s", Type: "t.x", Data: []byte("{}")}
	bytes := func(s *signal.Signal) { s.DataContentType, s.Data = "image/png", []byte("\x89PNG") }
	ext := func(name string, v any) func(*signal.Signal) {
		return func(s *signal.Signal) { s.Extensions = map[string]any{name: v} }
	}
	tests := []struct {
		name   string
		mode   codec.Mode
		change []func(*signal.Signal)
		want   string
	}{
		{"json", codec.Structured, nil, "json"},
		{"json as binary", codec.Binary, nil, "binary"},
		{"msgpack", codec.Msgpack, nil, "msgpack"},
		{"bytes", codec.Structured, []func(*signal.Signal){bytes}, "binary"},
		{"bytes as msgpack", codec.Msgpack, []func(*signal.Signal){bytes}, "msgpack"},
		{"no data", codec.Structured, []func(*signal.Signal){func(s *signal.Signal) { s.Data = nil }}, "json"},
		{"no data as binary", codec.Binary, []func(*signal.Signal){func(s *signal.Signal) { s.Data = nil }}, "binary"},
		{"no bytes", codec.Structured, []func(*signal.Signal){func(s *signal.Signal) { s.DataContentType, s.Data = "image/png", nil }}, "json"},
		{"zero bytes", codec.Structured, []func(*signal.Signal){func(s *signal.Signal) { s.DataContentType, s.Data = "image/png", []byte{} }}, "binary"},
		{"space", codec.Binary, []func(*signal.Signal){func(s *signal.Signal) { s.Subject = "a b" }}, "json"},
		{"content type with a space", codec.Structured, []func(*signal.Signal){bytes, func(s *signal.Signal) { s.DataContentType = "text/plain; charset=x" }}, "json"},
		{"text extension", codec.Binary, []func(*signal.Signal){ext("foo", "bar")}, "binary"},
		{"empty extension", codec.Binary, []func(*signal.Signal){ext("foo", "")}, "json"},
		{"number extension", codec.Binary, []func(*signal.Signal){ext("foo", int64(1))}, "json"},
		{"boolean extension", codec.Binary, []func(*signal.Signal){ext("foo", true)}, "json"},
		{"hops", codec.Structured, []func(*signal.Signal){bytes, ext(signal.ExtHops, int64(2))}, "binary"},
		{"hops as text", codec.Structured, []func(*signal.Signal){bytes, ext(signal.ExtHops, "2")}, "json"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := base
			for _, change := range tt.change {
				change(&s)
			}
			header, body, err := codec.ToNATS(&s, tt.mode)
			if err != nil {
				t.Fatal(err)
			}
			form := map[string]string{codec.TypeJSON: "json", codec.TypeMsgpack: "msgpack"}[strings.Join(header["Content-Type"], "")]
			if header["ce-specversion"] != nil {
				form = "binary"
			}
			if form != tt.want {
				t.Errorf("header = %v, want the form %s", header, tt.want)
			}
			got, err := codec.FromNATS(header, body)
			if err != nil {
				t.Fatal(err)
			}
			if diff := signaltest.Diff(&s, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestToNATSHeader(t *testing.T) {
	t.Parallel()
	s := &signal.Signal{
		ID: "1", Source: "/s", Type: "t", Subject: "o", DataContentType: "text/plain", DataSchema: "s:1",
		Extensions: map[string]any{"foo": "bar"}, Data: []byte("x"),
	}
	got, body, err := codec.ToNATS(s, codec.Binary)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][]string{
		"ce-specversion": {"1.0"}, "ce-id": {"1"}, "ce-source": {"/s"}, "ce-type": {"t"}, "ce-subject": {"o"},
		"ce-datacontenttype": {"text/plain"}, "ce-dataschema": {"s:1"}, "ce-foo": {"bar"},
	}
	if diff := cmp.Diff(want, got); diff != "" || string(body) != "x" {
		t.Errorf("body %q, header %s", body, diff)
	}
}

// One attribute value in a header, as conforming writers and as the Go SDK write it.
func TestHeaderValues(t *testing.T) {
	t.Parallel()
	tests := []struct{ raw, want string }{
		{"plain", "plain"},
		{"a%20b", "a b"},
		{"Euro%20%E2%82%AC%20%F0%9F%98%80", "Euro € 😀"}, // the binding's own example
		{"%41%25", "A%"},
		{"%2525", "%25"}, // one round only
		{"%e2%82%ac", "€"},
		{`"quoted%20string"`, "quoted string"},
		{`"with \"quotes\" and \\"`, `with "quotes" and \`},
		{`""`, ""},
		// What only a writer that does not encode can have written is taken as it is.
		{`quote " 100% €`, `quote " 100% €`},
		{"100%", "100%"},
		{"100%zz", "100%zz"},
		{"%4", "%4"},
		{"a b%20c", "a b%20c"},
		{"日本%20語", "日本%20語"},
		{`"a" and "b"`, `"a" and "b"`},
		{`"ends escaped\"`, `"ends escaped\"`},
		{`"`, `"`},
	}
	for _, tt := range tests {
		s, err := codec.FromNATS(header(map[string]string{"ce-subject": tt.raw}), nil)
		if err != nil || s.Subject != tt.want {
			t.Errorf("subject %q reads as %+v, %v; want %q", tt.raw, s, err, tt.want)
		}
	}
	for _, raw := range []string{"%FF", "%C3%28", "\xff", "%ED%A0%80", `"%FF"`} {
		var bad *signal.AttributeError
		if s, err := codec.FromNATS(header(map[string]string{"ce-subject": raw}), nil); !errors.As(err, &bad) || bad.Name != "subject" {
			t.Errorf("subject %q reads as %+v, %v; want an AttributeError", raw, s, err)
		}
	}
}

func TestFromNATSForms(t *testing.T) {
	t.Parallel()
	const doc = `{"specversion":"1.0","id":"1","source":"/s","type":"t","data":"x"}`
	packed, err := codec.MarshalMsgpack(&signal.Signal{ID: "1", Source: "/s", Type: "t", Data: []byte(`"x"`)})
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name   string
		header map[string][]string
		body   string
	}{
		{"no header, as the SDK sends it", nil, doc},
		{"some header", map[string][]string{"X-Team": {"ops"}}, doc},
		{"content type", map[string][]string{"Content-Type": {"application/cloudevents+json"}}, doc},
		{"in any case, with parameters", map[string][]string{"content-TYPE": {"Application/CloudEvents+JSON; charset=UTF-8"}}, doc},
		{"without a suffix", map[string][]string{"content-type": {"application/cloudevents"}}, doc},
		{"another content type", map[string][]string{"Content-Type": {"application/json"}}, doc},
		{"msgpack", map[string][]string{"Content-Type": {codec.TypeMsgpack}}, string(packed)},
		{"binary", header(nil), `"x"`},
		{"binary in any case", map[string][]string{"Ce-Specversion": {"1.0"}, "CE-ID": {"1"}, "ce-Source": {"/s"}, "ce-type": {"t"}}, `"x"`},
		{"binary of a later patch", header(map[string]string{"ce-specversion": "1.0.2"}), `"x"`},
		{"document despite ce headers", map[string][]string{"Content-Type": {codec.TypeJSON}, "ce-specversion": {"1.0"}, "ce-id": {"other"}}, doc},
	}
	for _, tt := range tests {
		s, err := codec.FromNATS(tt.header, []byte(tt.body))
		if err != nil || s.ID != "1" || string(s.Data) != `"x"` {
			t.Errorf("%s: %+v, %v", tt.name, s, err)
		}
	}
	s, err := codec.FromNATS(header(map[string]string{"content-type": "text/plain"}), []byte("x"))
	if err != nil || s.DataContentType != "text/plain" {
		t.Errorf("content-type beside ce headers = %+v, %v; want it to be the data's", s, err)
	}
	s, err = codec.FromNATS(header(map[string]string{"Content-Type": "text/x", "ce-datacontenttype": "text/plain"}), []byte("x"))
	if err != nil || s.DataContentType != "text/plain" {
		t.Errorf("ce-datacontenttype = %+v, %v; want it to win", s, err)
	}
	s, err = codec.FromNATS(header(nil), []byte("\xff\x00"))
	if err != nil || s.DataContentType != "application/octet-stream" {
		t.Errorf("untyped bytes = %+v, %v; want application/octet-stream", s, err)
	}
}

func TestFromNATSRefuses(t *testing.T) {
	t.Parallel()
	many := header(nil)
	for i := range signal.MaxExtensions + 10 {
		many[fmt.Sprintf("ce-x%d", i)] = []string{"v"}
	}
	heavy := header(nil)
	for i := range 20 {
		heavy[fmt.Sprintf("ce-x%d", i)] = []string{strings.Repeat("v", 15<<10)}
	}
	twice := header(nil)
	twice["Ce-Id"] = []string{"1"}
	double := header(nil)
	double["ce-id"] = []string{"1", "2"}
	tests := []struct {
		name   string
		header map[string][]string
		body   string
		code   fault.Code
		blamed string
	}{
		{"nothing", nil, "", fault.Invalid, ""},
		{"plain text", nil, "hello", fault.Invalid, ""},
		{"no id", header(map[string]string{"ce-id": ""}), "", fault.Invalid, "id"},
		{"empty quoted id", header(map[string]string{"ce-id": `""`}), "", fault.Invalid, "id"},
		{"old version", header(map[string]string{"ce-specversion": "0.3"}), "", fault.Invalid, "specversion"},
		{"bad time", header(map[string]string{"ce-time": "now"}), "", fault.Invalid, "time"},
		{"bad name", header(map[string]string{"ce-foo_bar": "x"}), "", fault.Invalid, "foo_bar"},
		{"data as a header", header(map[string]string{"ce-data": "x"}), "", fault.Invalid, "data"},
		{"control character", header(map[string]string{"ce-foo": "a%0Ab"}), "", fault.Invalid, "foo"},
		{"twice in two cases", twice, "", fault.Invalid, "id"},
		{"two values", double, "", fault.Invalid, "id"},
		{"broken JSON data", header(map[string]string{"ce-datacontenttype": "application/json"}), "{", fault.Invalid, "data"},
		{"batch", map[string][]string{"Content-Type": {codec.TypeJSONBatch}}, "[]", fault.Invalid, ""},
		{"unknown format", map[string][]string{"Content-Type": {"application/cloudevents+avro"}}, "{}", fault.Invalid, ""},
		{"msgpack that is not", map[string][]string{"Content-Type": {codec.TypeMsgpack}}, "{}", fault.Invalid, ""},
		{"too many", many, "", fault.TooLarge, ""},
		{"too heavy", heavy, "", fault.TooLarge, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s, err := codec.FromNATS(tt.header, []byte(tt.body))
			if err == nil || s != nil {
				t.Fatalf("FromNATS = %+v, %v; want only an error", s, err)
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

// Nats- headers change what the server does. They neither come in nor go out.
func TestReservedHeadersStayOutside(t *testing.T) {
	t.Parallel()
	reserved := map[string]string{"Nats-Msg-Id": "x", "nats-ttl": "1s", "Nats-Expected-Last-Sequence": "7", "Nats-Rollup": "all"}
	for _, h := range []map[string][]string{
		header(reserved),
		{"Nats-Msg-Id": {"x"}, "Nats-Rollup": {"all"}, "Content-Type": {codec.TypeJSON}},
	} {
		s, err := codec.FromNATS(h, []byte(`{"specversion":"1.0","id":"1","source":"/s","type":"t"}`))
		if err != nil || len(s.Extensions) != 0 {
			t.Fatalf("FromNATS = %+v, %v; want no extensions", s, err)
		}
		for _, mode := range modes {
			out, _, err := codec.ToNATS(s, mode)
			if err != nil {
				t.Fatal(err)
			}
			for name := range out {
				if strings.HasPrefix(strings.ToLower(name), "nats-") {
					t.Errorf("%v: the header %s got through", mode, name)
				}
			}
		}
	}
	if s, err := codec.FromNATS(header(map[string]string{"ce-nats-rollup": "all"}), nil); err == nil {
		t.Errorf("ce-nats-rollup = %+v, want an error", s)
	}
}
