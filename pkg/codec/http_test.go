package codec_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/signalmesh/signalmesh/pkg/codec"
	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/internal/signaltest"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

func TestHTTPRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := signaltest.Signals().Draw(t, "signal")
		mode := rapid.SampledFrom(modes).Draw(t, "mode")
		header, body, err := codec.ToHTTP(s, mode)
		if err != nil {
			t.Fatalf("ToHTTP = %v", err)
		}
		got, err := codec.FromHTTP(header, body)
		if err != nil || len(got) != 1 {
			t.Fatalf("FromHTTP(%v, %q) = %d signals, %v", header, body, len(got), err)
		}
		want := s
		if header.Get("Ce-Specversion") != "" {
			want = asBinary(s)
		}
		if diff := signaltest.Diff(want, got[0]); diff != "" {
			t.Fatalf("changed on the way as %v: %s", header, diff)
		}
	})
}

// asBinary is what HTTP binary mode makes of a signal: extensions as text, the content type
// spelled out.
func asBinary(s *signal.Signal) *signal.Signal {
	b := s.Clone()
	for name := range b.Extensions {
		b.Extensions[name] = s.ExtString(name)
	}
	if b.Data != nil && b.DataContentType == "" {
		b.DataContentType = signal.ContentTypeJSON
	}
	return b
}

func TestBatchRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		batch := rapid.SliceOfN(signaltest.Signals(), 0, 5).Draw(t, "batch")
		mode := rapid.SampledFrom([]codec.Mode{codec.Structured, codec.Msgpack}).Draw(t, "mode")
		contentType, body, err := codec.EncodeBatch(batch, mode)
		if err != nil {
			t.Fatal(err)
		}
		got, err := codec.FromHTTP(http.Header{"Content-Type": {contentType}}, body)
		if err != nil || len(got) != len(batch) {
			t.Fatalf("FromHTTP(%q) = %d signals, %v; want %d", body, len(got), err, len(batch))
		}
		for i := range batch {
			if diff := signaltest.Diff(batch[i], got[i]); diff != "" {
				t.Fatalf("signal %d: %s", i, diff)
			}
		}
	})
}

func TestBatchLimits(t *testing.T) {
	t.Parallel()
	s := &signal.Signal{ID: "1", Source: "/s", Type: "t"}
	batch := make([]*signal.Signal, codec.MaxBatch+1)
	for i := range batch {
		batch[i] = s
	}
	for _, mode := range []codec.Mode{codec.Structured, codec.Msgpack} {
		if _, _, err := codec.EncodeBatch(batch, mode); !fault.Is(err, fault.TooLarge) {
			t.Errorf("EncodeBatch(%v) = %v, want code too_large", mode, err)
		}
	}
	packed, err := codec.MarshalMsgpackBatch(batch)
	if err != nil {
		t.Fatal(err)
	}
	for contentType, body := range map[string][]byte{
		codec.TypeJSONBatch:    signal.AppendJSONBatch(nil, batch),
		codec.TypeMsgpackBatch: packed,
	} {
		if _, err := codec.FromHTTP(http.Header{"Content-Type": {contentType}}, body); !fault.Is(err, fault.TooLarge) {
			t.Errorf("FromHTTP(%s) = %v, want code too_large", contentType, err)
		}
	}
	if _, _, err := codec.EncodeBatch(batch[:1], codec.Binary); !fault.Is(err, fault.Invalid) {
		t.Errorf("EncodeBatch(binary) = %v, want code invalid", err)
	}
	var bad *signal.BatchError
	if _, err := codec.FromHTTP(http.Header{"Content-Type": {codec.TypeMsgpackBatch}}, []byte{0x91, 0x80}); !errors.As(err, &bad) || bad.Index != 0 {
		t.Errorf("FromHTTP of a bad batch = %v, want a BatchError", err)
	}
}

func TestToHTTPBinaryHeader(t *testing.T) {
	t.Parallel()
	s := &signal.Signal{
		ID: "1", Source: "/s", Type: "t", Subject: `Euro € 😀 "100%"`,
		Extensions: map[string]any{"traceparent": "00-x", "retries": int64(3), "urgent": true}, Data: []byte("{}"),
	}
	got, body, err := codec.ToHTTP(s, codec.Binary)
	if err != nil {
		t.Fatal(err)
	}
	want := http.Header{
		"Ce-Specversion": {"1.0"}, "Ce-Id": {"1"}, "Ce-Source": {"/s"}, "Ce-Type": {"t"},
		"Ce-Subject":     {"Euro%20%E2%82%AC%20%F0%9F%98%80%20%22100%25%22"},
		"Ce-Traceparent": {"00-x"}, "Ce-Retries": {"3"}, "Ce-Urgent": {"true"}, "Content-Type": {"application/json"},
	}
	if diff := cmp.Diff(want, got); diff != "" || string(body) != "{}" {
		t.Errorf("body %q, header %s", body, diff)
	}
}

// A signal whose data is itself a CloudEvent cannot travel in binary mode: its content type
// would say that the whole message is one.
func TestToHTTPBinaryOfCloudEvent(t *testing.T) {
	t.Parallel()
	inner := (&signal.Signal{ID: "inner", Source: "/s", Type: "t"}).AppendJSON(nil)
	s := &signal.Signal{ID: "outer", Source: "/s", Type: "t", DataContentType: codec.TypeJSON, Data: inner}
	for _, mode := range modes {
		header, body, err := codec.ToHTTP(s, mode)
		if err != nil {
			t.Fatal(err)
		}
		got, err := codec.FromHTTP(header, body)
		if err != nil || len(got) != 1 || got[0].ID != "outer" {
			t.Errorf("%v: %+v, %v; want the outer signal", mode, got, err)
		}
	}
}

// Sources and schemas are URIs, which have escapes of their own.
func TestURIHeaders(t *testing.T) {
	t.Parallel()
	tests := []struct{ raw, want string }{
		{"/plain", "/plain"},
		{"/a%2520b", "/a%20b"},           // as conforming writers write /a%20b
		{"/a%20b", "/a%20b"},             // as the Go SDK writes it
		{"/w%C3%B6rter", "/w%C3%B6rter"}, // as the Go SDK writes it
		{"/a%252Fb%2525", "/a%2Fb%25"},   // conforming again
		{"/100%25", "/100%25"},           // the SDK: what it would stand for is no URI
		{"/100%", "/100%"},               // no URI, but nothing is lost
		{"/a%2Fb%2525", "/a%2Fb%2525"},   // not all escapes are %25
		{`"/a%2520b"`, "/a%20b"},         // quoted
		{"/ä b", "/ä b"},                 // no URI, but nothing is lost
	}
	for _, tt := range tests {
		for _, name := range []string{"ce-source", "ce-dataschema"} {
			s, err := codec.FromNATS(header(map[string]string{name: tt.raw}), nil)
			if err != nil {
				t.Errorf("%s %q = %v", name, tt.raw, err)
				continue
			}
			if got := map[string]string{"ce-source": s.Source, "ce-dataschema": s.DataSchema}[name]; got != tt.want {
				t.Errorf("%s %q reads as %q, want %q", name, tt.raw, got, tt.want)
			}
		}
	}
	if _, err := codec.FromNATS(header(map[string]string{"ce-source": "/\xff"}), nil); !fault.Is(err, fault.Invalid) {
		t.Errorf("a source that is not UTF-8 = %v, want code invalid", err)
	}
}

func TestFromHTTPRefuses(t *testing.T) {
	t.Parallel()
	binary := func(changes ...string) http.Header {
		h := http.Header{}
		for name, values := range header(nil) {
			h.Set(name, values[0])
		}
		for i := 0; i < len(changes); i += 2 {
			h.Add(changes[i], changes[i+1])
		}
		return h
	}
	of := func(contentType string) http.Header { return http.Header{"Content-Type": {contentType}} }
	tests := []struct {
		name   string
		header http.Header
		body   string
		blamed string
	}{
		{"nothing", nil, "", ""},
		{"plain JSON", of("application/json"), `{"specversion":"1.0"}`, ""},
		{"two ids", binary("ce-id", "2"), "", "id"},
		{"content type given twice over", binary("ce-datacontenttype", "text/plain", "Content-Type", "text/x"), "x", "datacontenttype"},
		{"data that is not JSON", binary("Content-Type", "application/json"), "x", "data"},
		{"unknown format", of("application/cloudevents+xml"), "<x/>", ""},
		{"bad document", of(codec.TypeJSON), `{"specversion":"1.0","id":7}`, "id"},
		{"document as a batch", of(codec.TypeJSONBatch), `{}`, ""},
		{"batch as a document", of(codec.TypeJSON), `[]`, ""},
		{"bad batch", of(codec.TypeJSONBatch), `[{"specversion":"2.0","id":"1","source":"/s","type":"t"}]`, "specversion"},
		{"msgpack map as a batch", of(codec.TypeMsgpackBatch), "\x80", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := codec.FromHTTP(tt.header, []byte(tt.body))
			if !fault.Is(err, fault.Invalid) || got != nil {
				t.Fatalf("FromHTTP = %v, %v; want only an error coded invalid", got, err)
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
	got, err := codec.FromHTTP(of(codec.TypeJSONBatch+"; charset=utf-8"), []byte("[]"))
	if err != nil || len(got) != 0 {
		t.Errorf("an empty batch = %v, %v", got, err)
	}
	got, err = codec.FromHTTP(binary("CE-DataContentType", "text/plain", "X-Other", strings.Repeat("x", 9)), []byte("x"))
	if err != nil || got[0].DataContentType != "text/plain" || len(got[0].Extensions) != 0 {
		t.Errorf("a misplaced content type = %v, %v", got, err)
	}
}
