package codec_test

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"testing"

	"github.com/signalmesh/signalmesh/pkg/codec"
	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

// vectors reads the files of a folder of testdata/cloudevents, and fails when there are none.
func vectors(tb testing.TB, folder string) [][]byte {
	tb.Helper()
	files, err := filepath.Glob(filepath.Join("..", "..", "testdata", "cloudevents", folder, "*.json"))
	if err != nil || len(files) == 0 {
		tb.Fatalf("no vectors in %s: %v", folder, err)
	}
	read := make([][]byte, len(files))
	for i, file := range files {
		if read[i], err = os.ReadFile(file); err != nil {
			tb.Fatal(err)
		}
	}
	return read
}

// tricky is a signal whose attributes hold everything that has to be quoted somewhere.
func tricky(tb testing.TB) *signal.Signal {
	tb.Helper()
	s, err := signal.New(`com.github/push "v1" 100%.€`, json.RawMessage(`{"n": 1e400, "a": "ä\u0000"}`),
		signal.From(`/wörter/a b?q=100%25&r="x"`),
		signal.About(`quote " percent 100% %41 euro € smile 😀 \ back`),
		signal.WithID(`id with "quotes" and 50%`),
		signal.Ext("foo", ` leading, and trailing `),
		signal.Ext("bar", `"quoted"`),
		signal.Ext("baz", "日本語"))
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// header is a complete binary-mode header with some values changed; "" removes one.
func header(changes map[string]string) map[string][]string {
	all := map[string]string{"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/s", "ce-type": "t"}
	maps.Copy(all, changes)
	h := map[string][]string{}
	for name, value := range all {
		if value != "" {
			h[name] = []string{value}
		}
	}
	return h
}

func TestMode(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]codec.Mode{
		"structured": codec.Structured, "json": codec.Structured, "binary": codec.Binary, "msgpack": codec.Msgpack,
	} {
		var m codec.Mode = 99
		if err := m.UnmarshalText([]byte(name)); err != nil || m != want {
			t.Errorf("UnmarshalText(%s) = %v, %v", name, m, err)
		}
		if text, err := m.MarshalText(); err != nil || name != "json" && string(text) != name {
			t.Errorf("MarshalText of %s = %s, %v", name, text, err)
		}
	}
	m := codec.Binary
	if err := m.UnmarshalText([]byte("xml")); !fault.Is(err, fault.Invalid) || m != codec.Binary {
		t.Errorf("UnmarshalText(xml) = %v, mode %v", err, m)
	}
	if got := codec.Mode(99).String(); got != "unknown" {
		t.Errorf("Mode(99) = %s, want unknown", got)
	}
}

func TestSizeLimit(t *testing.T) {
	t.Parallel()
	huge := &signal.Signal{ID: "1", Source: "/s", Type: "t", DataContentType: "image/png", Data: make([]byte, codec.MaxSize+1)}
	for _, mode := range []codec.Mode{codec.Structured, codec.Binary, codec.Msgpack} {
		if _, _, err := codec.ToNATS(huge, mode); !fault.Is(err, fault.TooLarge) {
			t.Errorf("ToNATS(%v) = %v, want code too_large", mode, err)
		}
		if _, _, err := codec.ToHTTP(huge, mode); !fault.Is(err, fault.TooLarge) {
			t.Errorf("ToHTTP(%v) = %v, want code too_large", mode, err)
		}
	}
	if _, _, err := codec.EncodeBatch([]*signal.Signal{huge}, codec.Structured); !fault.Is(err, fault.TooLarge) {
		t.Errorf("EncodeBatch = %v, want code too_large", err)
	}
	if _, err := codec.FromNATS(nil, huge.Data); !fault.Is(err, fault.TooLarge) {
		t.Errorf("FromNATS = %v, want code too_large", err)
	}
	if _, err := codec.FromHTTP(nil, huge.Data); !fault.Is(err, fault.TooLarge) {
		t.Errorf("FromHTTP = %v, want code too_large", err)
	}
	if _, err := codec.UnmarshalMsgpack(huge.Data); !fault.Is(err, fault.TooLarge) {
		t.Errorf("UnmarshalMsgpack = %v, want code too_large", err)
	}
}
