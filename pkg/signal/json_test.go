package signal_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/internal/signaltest"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

// vectors reads the files of a folder of testdata/cloudevents, and fails when there are none.
func vectors(tb testing.TB, folder string) map[string][]byte {
	tb.Helper()
	files, err := filepath.Glob(filepath.Join("..", "..", "testdata", "cloudevents", folder, "*.json"))
	if err != nil || len(files) == 0 {
		tb.Fatalf("no vectors in %s: %v", folder, err)
	}
	read := make(map[string][]byte, len(files))
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			tb.Fatal(err)
		}
		read[strings.TrimSuffix(filepath.Base(file), ".json")] = text
	}
	return read
}

func mustRead(tb testing.TB, text []byte) *signal.Signal {
	tb.Helper()
	s := new(signal.Signal)
	if err := s.UnmarshalJSON(text); err != nil {
		tb.Fatalf("UnmarshalJSON(%s) = %v", text, err)
	}
	return s
}

func TestJSONVectors(t *testing.T) {
	t.Parallel()
	for name, text := range vectors(t, "valid") {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := mustRead(t, text)
			if err := s.Validate(); err != nil {
				t.Errorf("Validate() = %v", err)
			}
			again := mustRead(t, s.AppendJSON(nil))
			if diff := signaltest.Diff(s, again); diff != "" {
				t.Errorf("changed by a round trip: %s", diff)
			}
			if std := new(signal.Signal); json.Unmarshal(text, std) != nil || signaltest.Diff(s, std) != "" {
				t.Errorf("json.Unmarshal reads it differently: %+v", std)
			}
		})
	}
}

// The name of a refused vector starts with the attribute that is to blame; "document" is not
// one, but stands for the text itself.
func TestJSONRefused(t *testing.T) {
	t.Parallel()
	for name, text := range vectors(t, "refused") {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			before := signal.Signal{ID: "kept", Extensions: map[string]any{"a": "b"}}
			s := before
			err := s.UnmarshalJSON(text)
			if err == nil {
				t.Fatalf("UnmarshalJSON(%.200s) = nil, want an error", text)
			}
			if diff := signaltest.Diff(&before, &s); diff != "" {
				t.Errorf("the signal was changed: %s", diff)
			}
			wantCode := fault.Invalid
			if name == "document-deep" {
				wantCode = fault.TooLarge
			}
			if got := fault.CodeOf(err); got != wantCode {
				t.Errorf("code of %v = %s, want %s", err, got, wantCode)
			}
			blamed := "document"
			if bad := (*signal.AttributeError)(nil); errors.As(err, &bad) {
				blamed = bad.Name
			}
			if want, _, _ := strings.Cut(name, "-"); blamed != want {
				t.Errorf("%v blames %q, want %q", err, blamed, want)
			}
		})
	}
}

func TestJSONMeaning(t *testing.T) {
	t.Parallel()
	valid := vectors(t, "valid")
	tests := []struct {
		vector      string
		contentType string
		data        string // "<nil>" for none
	}{
		{"minimal", "", "<nil>"},
		{"json-string", "", `"just a string"`},
		{"json-null", "application/json", "null"},
		{"json-base64", "application/json", `{"a":1}`},
		{"text", "text/plain", "line one\nline \"two\" €"},
		{"xml", "application/xml", `<much wow="xml"/>`},
		{"bytes", "application/vnd.apache.thrift.binary", "\x00\x01\x02\x03\x04\xff"},
		{"bytes-empty", "application/octet-stream", ""},
		{"bytes-untyped", "application/octet-stream", "\xff"},
		{"attributes-null", "", "<nil>"},
	}
	for _, tt := range tests {
		s := mustRead(t, valid[tt.vector])
		data := string(s.Data)
		if s.Data == nil {
			data = "<nil>"
		}
		if s.DataContentType != tt.contentType || data != tt.data {
			t.Errorf("%s: data = %q of type %q, want %q of type %q", tt.vector, data, s.DataContentType, tt.data, tt.contentType)
		}
	}
	s := mustRead(t, valid["json-object"])
	if v, _ := s.Ext("comexampleothervalue"); v != int64(5) {
		t.Errorf("Ext(comexampleothervalue) = %#v, want int64(5)", v)
	}
	if v, _ := s.Ext("urgent"); v != true {
		t.Errorf("Ext(urgent) = %#v, want true", v)
	}
	at := mustRead(t, valid["time-offset"]).Time
	if got, want := at.Format(time.RFC3339Nano), "2020-12-31T23:59:59.123456789+05:30"; got != want {
		t.Errorf("Time = %s, want %s", got, want)
	}
	if s := mustRead(t, valid["attributes-unicode"]); !strings.HasSuffix(s.ID, "€ smile 😀") || s.Subject != "a/b" {
		t.Errorf("ID, Subject = %q, %q", s.ID, s.Subject)
	}
}

func TestAppendJSON(t *testing.T) {
	t.Parallel()
	s := &signal.Signal{
		ID: "1", Source: "/s", Type: "t.x", Subject: "tab\tand\x01<€>\xff",
		Time:       time.Date(1900, 1, 1, 0, 0, 0, 0, time.FixedZone("LMT", 53*60+28)),
		Extensions: map[string]any{"b": true, "a": int64(-3), "c": `"`},
		Data:       []byte(`{ "z": 1,  "a": 2 }`),
	}
	const want = `{"specversion":"1.0","id":"1","source":"/s","type":"t.x","subject":"tab\tand\u0001<€>` + "\ufffd" + `",` +
		`"time":"1899-12-31T23:06:32Z","a":-3,"b":true,"c":"\"","data":{ "z": 1,  "a": 2 }}`
	if got := string(s.AppendJSON([]byte("<"))); got != "<"+want {
		t.Errorf("AppendJSON:\n%s, want\n<%s", got, want)
	}
	if got, err := json.Marshal(*s); err != nil || !json.Valid(got) || bytes.Contains(got, []byte("  ")) {
		t.Errorf("json.Marshal of a value = %s, %v", got, err)
	}
	s.Data = []byte("{broken")
	if _, err := json.Marshal(s); err == nil {
		t.Errorf("json.Marshal of broken data = nil, want an error")
	}
}

func TestJSONRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := signaltest.Signals().Draw(t, "signal")
		if err := s.Validate(); err != nil {
			t.Fatalf("Validate() = %v", err)
		}
		text := s.AppendJSON(nil)
		got := new(signal.Signal)
		if err := got.UnmarshalJSON(text); err != nil {
			t.Fatalf("UnmarshalJSON(%s) = %v", text, err)
		}
		if diff := signaltest.Diff(s, got); diff != "" {
			t.Fatalf("changed by a round trip: %s", diff)
		}
		if again := got.AppendJSON(nil); !bytes.Equal(text, again) {
			t.Fatalf("written twice:\n%s\n%s", text, again)
		}
	})
}

func TestBatch(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		batch := rapid.SliceOfN(signaltest.Signals(), 0, 4).Draw(t, "batch")
		text := signal.AppendJSONBatch(nil, batch)
		got, err := signal.UnmarshalJSONBatch(text, 4)
		if err != nil || len(got) != len(batch) {
			t.Fatalf("UnmarshalJSONBatch(%s) = %d signals, %v", text, len(got), err)
		}
		for i := range batch {
			if diff := signaltest.Diff(batch[i], got[i]); diff != "" {
				t.Fatalf("signal %d: %s", i, diff)
			}
		}
		if _, err := signal.UnmarshalJSONBatch(text, len(batch)-1); len(batch) > 0 && !fault.Is(err, fault.TooLarge) {
			t.Fatalf("over the limit: %v, want code too_large", err)
		}
	})
}

func TestBatchRefused(t *testing.T) {
	t.Parallel()
	const one = `{"specversion":"1.0","id":"1","source":"/s","type":"t"}`
	for _, text := range []string{"", "[", "{}", one, "[" + one, "[" + one + ",]", "[" + one + "] x", "[1]", "[null]", "[[]]"} {
		if _, err := signal.UnmarshalJSONBatch([]byte(text), 10); !fault.Is(err, fault.Invalid) {
			t.Errorf("UnmarshalJSONBatch(%s) = %v, want code invalid", text, err)
		}
	}
	_, err := signal.UnmarshalJSONBatch([]byte(" [ "+one+" , {} ] "), 10)
	var bad *signal.BatchError
	if !errors.As(err, &bad) || bad.Index != 1 {
		t.Errorf("error = %v, want a BatchError for signal 1", err)
	}
	if got, err := signal.UnmarshalJSONBatch([]byte(" [ ] "), 0); err != nil || len(got) != 0 {
		t.Errorf("UnmarshalJSONBatch([]) = %v, %v", got, err)
	}
}

func TestJSONLimits(t *testing.T) {
	t.Parallel()
	nested := func(n int) []byte {
		return []byte(strings.Repeat("[", n) + strings.Repeat("]", n))
	}
	if err := signal.ValidJSON(nested(signal.MaxDepth)); err != nil {
		t.Errorf("ValidJSON at the depth limit = %v", err)
	}
	if err := signal.ValidJSON(nested(signal.MaxDepth + 1)); !fault.Is(err, fault.TooLarge) {
		t.Errorf("ValidJSON over the depth limit = %v, want code too_large", err)
	}
	deepest := &signal.Signal{ID: "1", Source: "/s", Type: "t", Data: nested(signal.MaxDepth)}
	if err := deepest.Validate(); err != nil {
		t.Errorf("Validate() = %v", err)
	}
	mustRead(t, deepest.AppendJSON(nil)) // what is valid can be read
	many := &signal.Signal{ID: "1", Source: "/s", Type: "t", Extensions: map[string]any{}}
	for i := range signal.MaxExtensions + 1 {
		many.Extensions["x"+strings.Repeat("y", i%40)+strings.Repeat("z", i/40)] = true
	}
	if err := many.Validate(); !fault.Is(err, fault.TooLarge) {
		t.Errorf("Validate() of too many extensions = %v, want code too_large", err)
	}
	if err := new(signal.Signal).UnmarshalJSON(many.AppendJSON(nil)); !fault.Is(err, fault.TooLarge) {
		t.Errorf("UnmarshalJSON of too many extensions = %v, want code too_large", err)
	}
}

// depth counts how deep the arrays and objects of valid JSON are nested.
func depth(text []byte) (deepest int) {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	for level := 0; ; {
		token, err := dec.Token()
		if err == io.EOF {
			return deepest
		}
		switch token {
		case json.Delim('{'), json.Delim('['):
			level++
			deepest = max(deepest, level)
		case json.Delim('}'), json.Delim(']'):
			level--
		}
	}
}

// The scanner refuses exactly what encoding/json refuses, and what is not UTF-8.
func FuzzValidJSON(f *testing.F) {
	for _, folder := range []string{"valid", "refused"} {
		for _, text := range vectors(f, folder) {
			f.Add(text)
		}
	}
	for _, text := range []string{"0", "-", "-0", "1.", "1e", "1e+", ".5", "+1", "tru", "nulll", `"\u12g4"`, `"\`, "\"\x7f\"", "[1 2]", `{"a" 1}`, "\"1234567\x001234567\""} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		want := json.Valid(text) && utf8.Valid(text)
		want = want && depth(text) <= signal.MaxDepth
		if err := signal.ValidJSON(text); (err == nil) != want {
			t.Errorf("ValidJSON(%q) = %v, want valid %v", text, err, want)
		}
	})
}

// The reader is checked against encoding/json: it reads nothing that has no CloudEvent in it,
// and reads it the same way.
func FuzzUnmarshalJSON(f *testing.F) {
	for _, folder := range []string{"valid", "refused"} {
		for _, text := range vectors(f, folder) {
			f.Add(text)
		}
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		s := new(signal.Signal)
		if err := s.UnmarshalJSON(text); err != nil {
			if code := fault.CodeOf(err); code != fault.Invalid && code != fault.TooLarge {
				t.Errorf("UnmarshalJSON(%q) = %v, coded %s", text, err, code)
			}
			return
		}
		var members map[string]json.RawMessage
		if err := json.Unmarshal(text, &members); err != nil {
			t.Fatalf("read %q, but encoding/json says %v", text, err)
		}
		for name, want := range map[string]string{
			"id": s.ID, "source": s.Source, "type": s.Type, "subject": s.Subject,
			"datacontenttype": s.DataContentType, "dataschema": s.DataSchema,
		} {
			var got string
			if raw, ok := members[name]; ok && json.Unmarshal(raw, &got) != nil || got != want && name != "datacontenttype" {
				t.Errorf("%s of %q = %q, but encoding/json says %q", name, text, want, got)
			}
		}
		if raw, ok := members["data"]; ok && s.IsJSON() && string(raw) != string(s.Data) && members["data_base64"] == nil {
			t.Errorf("data of %q = %q, but encoding/json says %q", text, s.Data, raw)
		}
		if s.Validate() != nil {
			return
		}
		if diff := signaltest.Diff(s, mustRead(t, s.AppendJSON(nil))); diff != "" {
			t.Errorf("%q changed by a round trip: %s", text, diff)
		}
	})
}
