package signal_test

import (
	"encoding/json"
	"errors"
	"math"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/internal/signaltest"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

func mustNew(tb testing.TB, typ string, data any, opts ...signal.Option) *signal.Signal {
	tb.Helper()
	s, err := signal.New(typ, data, opts...)
	if err != nil {
		tb.Fatalf("New(%s) = %v", typ, err)
	}
	return s
}

func TestNewDefaults(t *testing.T) {
	t.Parallel()
	before := time.Now()
	s := mustNew(t, "order.created", nil)
	if _, err := signal.ParseID(s.ID); err != nil {
		t.Errorf("ID = %q: %v", s.ID, err)
	}
	if s.Source != "/signal.test" {
		t.Errorf("Source = %q, want /signal.test", s.Source)
	}
	if s.Time.Before(before) || s.Time.After(time.Now()) || s.Time.Location() != time.UTC {
		t.Errorf("Time = %v, want now in UTC", s.Time)
	}
	if s.Data != nil || s.DataContentType != "" {
		t.Errorf("data = %q of type %q, want none", s.Data, s.DataContentType)
	}
}

func TestNewData(t *testing.T) {
	t.Parallel()
	type order struct {
		ID string `json:"id"`
	}
	text := signal.ContentType("text/plain")
	tests := []struct {
		name        string
		data        any
		opts        []signal.Option
		want        string
		contentType string
	}{
		{"struct", order{"o-1"}, nil, `{"id":"o-1"}`, "application/json"},
		{"string", "hi", nil, `"hi"`, "application/json"},
		{"number", 1.5, nil, "1.5", "application/json"},
		{"nil pointer", (*order)(nil), nil, "null", "application/json"},
		{"raw", json.RawMessage(` {"n": 1e400} `), nil, `{"n": 1e400}`, "application/json"},
		{"bytes", []byte{0, 1}, nil, "\x00\x01", "application/octet-stream"},
		{"no bytes", []byte{}, nil, "", "application/octet-stream"},
		{"bytes of JSON", []byte("[1]\n"), []signal.Option{signal.ContentType("application/json")}, "[1]", "application/json"},
		{"own JSON type", order{"o"}, []signal.Option{signal.ContentType("application/x+json")}, `{"id":"o"}`, "application/x+json"},
		{"text", "hi", []signal.Option{text}, "hi", "text/plain"},
		{"bytes of text", []byte("hi"), []signal.Option{text}, "hi", "text/plain"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := mustNew(t, "a.b", tt.data, tt.opts...)
			if string(s.Data) != tt.want || s.DataContentType != tt.contentType || s.Data == nil {
				t.Errorf("data = %q of type %q, want %q of type %q", s.Data, s.DataContentType, tt.want, tt.contentType)
			}
		})
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		typ  string
		data any
		opts []signal.Option
		want []string // parts of the message
		code fault.Code
	}{
		{"no type", "", nil, nil, []string{`"type": required`}, fault.Invalid},
		{"empty segment", "a..b", nil, nil, []string{"empty segment"}, fault.Invalid},
		{"ends in a dot", "a.", nil, nil, []string{"empty segment"}, fault.Invalid},
		{"control character", "a.b\x7f", nil, nil, []string{"U+007F at byte 3"}, fault.Invalid},
		{"long type", strings.Repeat("a.", 130) + "a", nil, nil, []string{"longer than 256"}, fault.TooLarge},
		{"long segment", strings.Repeat("a", 65), nil, nil, []string{"longer than 64"}, fault.TooLarge},
		{"deep type", strings.Repeat("a.", 16) + "a", nil, nil, []string{"more than 16 segments"}, fault.TooLarge},
		{"broken JSON", "a", json.RawMessage("{"), nil, []string{`"data"`, "byte 1"}, fault.Invalid},
		{"empty JSON", "a", json.RawMessage{}, nil, []string{`"data"`}, fault.Invalid},
		{"bytes that are not JSON", "a", []byte("x"), []signal.Option{signal.ContentType("application/json")}, []string{`"data"`}, fault.Invalid},
		{"not marshalable", "a", make(chan int), nil, []string{"chan int"}, fault.Invalid},
		{"struct as text", "a", struct{}{}, []signal.Option{signal.ContentType("text/plain")}, []string{"text/plain"}, fault.Invalid},
		{"core name", "a", nil, []signal.Option{signal.Ext("data", "x")}, []string{"core attribute"}, fault.Invalid},
		{"upper case", "a", nil, []signal.Option{signal.Ext("fooBar", "x")}, []string{"lower-case"}, fault.Invalid},
		{"fraction", "a", nil, []signal.Option{signal.Ext("foo", 1.5)}, []string{"float64"}, fault.Invalid},
		{"large number", "a", nil, []signal.Option{signal.Ext("foo", int64(math.MaxInt32)+1)}, []string{"32 bits"}, fault.Invalid},
		{"no trace", "a", nil, []signal.Option{signal.Trace("junk", "")}, []string{"traceparent"}, fault.Invalid},
		{"year", "a", nil, []signal.Option{signal.At(time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC))}, []string{"year 10000"}, fault.Invalid},
		{"content type", "a", nil, []signal.Option{signal.ContentType("text/pläin")}, []string{"datacontenttype"}, fault.Invalid},
		{"not UTF-8", "a", nil, []signal.Option{signal.About("\xff")}, []string{`"subject": not UTF-8 at byte 0`}, fault.Invalid},
		{"noncharacter", "a", nil, []signal.Option{signal.About("x\uffff")}, []string{"U+FFFF"}, fault.Invalid},
		{"long subject", "a", nil, []signal.Option{signal.About(strings.Repeat("x", 1<<14+1))}, []string{"longer than 16384"}, fault.TooLarge},
		{
			"everything at once", "a..b", nil,
			[]signal.Option{signal.WithID(""), signal.From("a\nb"), signal.Ext("Foo", 1)},
			[]string{`"id": required`, `"source": control character U+000A`, "empty segment", `"Foo"`},
			fault.Invalid,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s, err := signal.New(tt.typ, tt.data, tt.opts...)
			if err == nil || s != nil {
				t.Fatalf("New = %v, %v; want only an error", s, err)
			}
			for _, part := range tt.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("error = %v, want %q in it", err, part)
				}
			}
			if got := fault.CodeOf(err); got != tt.code {
				t.Errorf("code = %s, want %s", got, tt.code)
			}
		})
	}
}

func TestValidateKeepsValuesOut(t *testing.T) {
	t.Parallel()
	s := mustNew(t, "a", nil, signal.Ext("token", "fine"))
	s.Extensions["token"] = "hunter2\n"
	s.Extensions["worse"] = 3.5
	s.Data, s.DataContentType = []byte("hunter2"), ""
	err := s.Validate()
	if err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("Validate() = %v, want an error without the values", err)
	}
	var bad *signal.AttributeError
	if !errors.As(err, &bad) {
		t.Errorf("Validate() = %T, want an AttributeError in it", err)
	}
}

func TestValidateDoesNotAllocate(t *testing.T) {
	s := mustNew(t, "order.created", map[string]int{"a": 1}, signal.About("o-1"), signal.Ext("foo", "bar"))
	if n := testing.AllocsPerRun(100, func() { _ = s.Validate() }); n != 0 {
		t.Errorf("Validate of a valid signal allocates %v times, want 0", n)
	}
}

func TestClone(t *testing.T) {
	t.Parallel()
	s := mustNew(t, "a", []byte("xyz"), signal.Ext("foo", "bar"))
	c := s.Clone()
	if diff := signaltest.Diff(s, c); diff != "" {
		t.Errorf("Clone differs: %s", diff)
	}
	c.Data[0] = '!'
	if err := c.SetExt("foo", nil); err != nil {
		t.Fatal(err)
	}
	if string(s.Data) != "xyz" || s.ExtString("foo") != "bar" {
		t.Errorf("changing the clone changed the signal: %q, %q", s.Data, s.ExtString("foo"))
	}
	if c := mustNew(t, "a", nil).Clone(); c.Data != nil {
		t.Errorf("Data of a clone without data = %v, want nil", c.Data)
	}
}

func TestIsJSON(t *testing.T) {
	t.Parallel()
	for contentType, want := range map[string]bool{
		"": true, "application/json": true, "Application/JSON; charset=utf-8": true, "text/json": true,
		"application/vnd.github.v3+json": true, "application/x+JSON ;a=b": true,
		"application/jsonl": false, "text/plain": false, "application/json-seq": false, "json": false, "x; a=+json": false,
	} {
		if got := (&signal.Signal{DataContentType: contentType}).IsJSON(); got != want {
			t.Errorf("IsJSON of %q = %v, want %v", contentType, got, want)
		}
	}
}

func TestDecode(t *testing.T) {
	t.Parallel()
	s := mustNew(t, "a", map[string]any{"n": 7})
	var into struct{ N int }
	if err := s.Decode(&into); err != nil || into.N != 7 {
		t.Errorf("Decode into a struct = %+v, %v", into, err)
	}
	var raw []byte
	if err := s.Decode(&raw); err != nil || string(raw) != `{"n":7}` {
		t.Errorf("Decode into []byte = %s, %v", raw, err)
	}
	if raw[0] = '!'; s.Data[0] == '!' {
		t.Error("Decode into []byte shares memory with the signal")
	}
	if err := s.Decode(new(int)); !fault.Is(err, fault.Invalid) {
		t.Errorf("Decode into int = %v, want code invalid", err)
	}
	var text string
	if err := mustNew(t, "a", "hi", signal.ContentType("text/plain")).Decode(&text); err != nil || text != "hi" {
		t.Errorf("Decode of text = %q, %v", text, err)
	}
	for name, s := range map[string]*signal.Signal{"no data": mustNew(t, "a", nil), "bytes": mustNew(t, "a", []byte("{}"))} {
		if err := s.Decode(&into); !fault.Is(err, fault.Invalid) {
			t.Errorf("Decode of %s = %v, want code invalid", name, err)
		}
	}
}

func TestSetExt(t *testing.T) {
	t.Parallel()
	type color string
	link, err := url.Parse("https://example.com/a?b=c")
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		in   any
		want any
		text string
	}{
		{"x", "x", "x"},
		{"", "", ""},
		{true, true, "true"},
		{7, int64(7), "7"},
		{int8(-7), int64(-7), "-7"},
		{uint64(7), int64(7), "7"},
		{int64(math.MinInt32), int64(math.MinInt32), "-2147483648"},
		{color("red"), "red", "red"},
		{[]byte{1, 2}, "AQI=", "AQI="},
		{link, "https://example.com/a?b=c", "https://example.com/a?b=c"},
		{time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC), "2026-01-02T03:04:05.000000006Z", "2026-01-02T03:04:05.000000006Z"},
		{signal.MustParseID("01a2087d-f837-7000-be3b-718ece536398"), "01a2087d-f837-7000-be3b-718ece536398", "01a2087d-f837-7000-be3b-718ece536398"},
	}
	for _, tt := range tests {
		s := new(signal.Signal)
		if err := s.SetExt("foo", tt.in); err != nil {
			t.Errorf("SetExt(%v) = %v", tt.in, err)
			continue
		}
		if got, ok := s.Ext("foo"); !ok || got != tt.want {
			t.Errorf("Ext after SetExt(%v) = %#v, want %#v", tt.in, got, tt.want)
		}
		if got := s.ExtString("foo"); got != tt.text {
			t.Errorf("ExtString after SetExt(%v) = %q, want %q", tt.in, got, tt.text)
		}
	}
	s := new(signal.Signal)
	for _, bad := range []any{1.0, []string{"a"}, struct{}{}, uint64(math.MaxUint64), "a\nb"} {
		if err := s.SetExt("foo", bad); !fault.Is(err, fault.Invalid) {
			t.Errorf("SetExt(%v) = %v, want code invalid", bad, err)
		}
	}
	for _, name := range []string{"", "id", "data_base64", "specversion", "a-b", "ä"} {
		if err := s.SetExt(name, "x"); !fault.Is(err, fault.Invalid) {
			t.Errorf("SetExt(%q) = %v, want code invalid", name, err)
		}
	}
	if _, ok := s.Ext("foo"); ok || len(s.Extensions) != 0 {
		t.Errorf("a refused SetExt left %v", s.Extensions)
	}
}

func TestOptions(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 1, 2, 3, 4, 5, 6, time.FixedZone("", 3600))
	s := mustNew(t, "a", nil, signal.From("/x"), signal.From("/shop"), signal.About("o"), signal.WithID("id-1"), signal.At(at),
		signal.Schema("s:1"), signal.Ext("foo", 1), signal.Correlate("c"), signal.Expires(at))
	want := &signal.Signal{
		ID: "id-1", Source: "/shop", Type: "a", Subject: "o", Time: at, DataSchema: "s:1",
		Extensions: map[string]any{"foo": int64(1), "correlationid": "c", "expirytime": "2026-01-02T03:04:05.000000006+01:00"},
	}
	if diff := cmp.Diff(want, s); diff != "" {
		t.Errorf("New with options: %s", diff)
	}
	if got, ok := s.Expiry(); !ok || !got.Equal(at) {
		t.Errorf("Expiry() = %v, %v, want %v", got, ok, at)
	}
	if s := mustNew(t, "a", nil, signal.At(time.Time{})); !s.Time.IsZero() {
		t.Errorf("Time = %v, want none", s.Time)
	}
}

func TestConversation(t *testing.T) {
	t.Parallel()
	for want, s := range map[string]*signal.Signal{
		"":  mustNew(t, "a", nil),
		"c": mustNew(t, "a", nil, signal.Correlate("c")),
		"o": mustNew(t, "a", nil, signal.Correlate("c"), signal.About("o")),
	} {
		if got := s.Conversation(); got != want {
			t.Errorf("Conversation() = %q, want %q", got, want)
		}
	}
}
