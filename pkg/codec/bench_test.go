package codec_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"

	"github.com/signalmesh/signalmesh/pkg/codec"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

// benchSignal has ten attributes and data of about the size.
func benchSignal(tb testing.TB, size int) *signal.Signal {
	tb.Helper()
	type line struct {
		SKU   string  `json:"sku"`
		Count int     `json:"count"`
		Price float64 `json:"price"`
	}
	var lines []line
	for len(lines)*50 < size {
		lines = append(lines, line{"sku-" + strings.Repeat("x", 10), len(lines), 12.5})
	}
	s, err := signal.New("order.created.v1", lines, signal.From("/shop/eu-central"), signal.About("order-1001"),
		signal.Schema("https://example.com/schemas/order.json"), signal.Correlate("conversation-1"), signal.At(time.Now().UTC()))
	if err != nil {
		tb.Fatal(err)
	}
	s.EnsureTrace()
	return s
}

func sdkEvent(tb testing.TB, s *signal.Signal) cloudevents.Event {
	tb.Helper()
	var e cloudevents.Event
	if err := json.Unmarshal(s.AppendJSON(nil), &e); err != nil {
		tb.Fatal(err)
	}
	return e
}

var sizes = map[string]int{"256B": 256, "4KiB": 4096}

func BenchmarkEncode(b *testing.B) {
	for name, size := range sizes {
		s := benchSignal(b, size)
		event := sdkEvent(b, s)
		run := func(what string, encode func() error) {
			b.Run(what+"/"+name, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if err := encode(); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
		buf := make([]byte, 0, 16<<10)
		run("json", func() error { _, err := s.MarshalJSON(); return err })
		run("json-append", func() error { buf = s.AppendJSON(buf[:0]); return nil })
		run("json-sdk", func() error { _, err := json.Marshal(&event); return err })
		run("msgpack", func() error { _, err := codec.MarshalMsgpack(s); return err })
		run("nats-structured", func() error { _, _, err := codec.ToNATS(s, codec.Structured); return err })
		run("nats-binary", func() error { _, _, err := codec.ToNATS(s, codec.Binary); return err })
		run("http-binary", func() error { _, _, err := codec.ToHTTP(s, codec.Binary); return err })
		run("validate", s.Validate)
	}
}

func BenchmarkDecode(b *testing.B) {
	for name, size := range sizes {
		s := benchSignal(b, size)
		text := s.AppendJSON(nil)
		packed, err := codec.MarshalMsgpack(s)
		if err != nil {
			b.Fatal(err)
		}
		header, body, err := codec.ToNATS(s, codec.Binary)
		if err != nil {
			b.Fatal(err)
		}
		run := func(what string, bytes int, decode func() error) {
			b.Run(what+"/"+name, func(b *testing.B) {
				b.ReportAllocs()
				b.SetBytes(int64(bytes))
				for b.Loop() {
					if err := decode(); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
		run("json", len(text), func() error { return new(signal.Signal).UnmarshalJSON(text) })
		run("json-sdk", len(text), func() error { return json.Unmarshal(text, new(cloudevents.Event)) })
		run("json-valid", len(s.Data), func() error { return signal.ValidJSON(s.Data) })
		run("msgpack", len(packed), func() error { _, err := codec.UnmarshalMsgpack(packed); return err })
		run("msgpack-guard", len(packed), func() error { return codec.CheckMsgpack(packed) })
		run("nats-binary", len(body), func() error { _, err := codec.FromNATS(header, body); return err })
	}
}
