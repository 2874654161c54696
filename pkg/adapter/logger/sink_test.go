package logger_test

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"strings"
	"testing"

	"go.uber.org/goleak"

	_ "github.com/signalmesh/signalmesh/pkg/adapter/logger"
	"github.com/signalmesh/signalmesh/pkg/dispatch"
	"github.com/signalmesh/signalmesh/pkg/dispatch/dispatchtest"
	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConformance(t *testing.T) {
	dispatchtest.Run(t, func(*testing.T) *dispatchtest.Subject {
		return &dispatchtest.Subject{Adapter: "logger", Options: `{"structured":true}`}
	}, dispatchtest.Features{})
}

// record delivers one signal and returns what was logged.
func record(t *testing.T, options string, data any, opts ...signal.Option) string {
	t.Helper()
	var out bytes.Buffer
	log := slog.New(slog.NewJSONHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))
	a, err := dispatch.Open(t.Context(), "logger", []byte(options), dispatch.Env{Log: log})
	if err != nil {
		t.Fatalf("Open(%s) = %v", options, err)
	}
	s, err := signal.New("order.created", data, append(opts, signal.From("/shop"), signal.WithID("1"))...)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Deliver(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	return strings.TrimSuffix(out.String(), "\n")
}

func TestRecords(t *testing.T) {
	t.Parallel()
	order := json.RawMessage(`{"cents": 42}`)
	tests := []struct {
		options string
		data    any
		opts    []signal.Option
		want    string
	}{
		{`{}`, order, nil, `{"level":"INFO","msg":"SIGNAL: order.created from /shop with data={\"cents\": 42}"}`},
		{`{"level":"warn"}`, nil, nil, `{"level":"WARN","msg":"SIGNAL: order.created from /shop"}`},
		{`{"level":"warning","include_data":false}`, order, nil, `{"level":"WARN","msg":"SIGNAL: order.created from /shop"}`},
		{`{"level":"error","max_data":5}`, "ünicode", []signal.Option{signal.ContentType("text/plain")}, `{"level":"ERROR","msg":"SIGNAL: order.created from /shop with data=ünic..."}`},
		{`{"level":"debug"}`, []byte{0xff, 0}, nil, `{"level":"DEBUG","msg":"SIGNAL: order.created from /shop with data=/wA="}`},
		{
			`{"structured":true}`, order,
			[]signal.Option{signal.About("o-1")},
			`{"level":"INFO","msg":"signal dispatched","event":"signal_dispatched","id":"1","type":"order.created","source":"/shop","subject":"o-1","data":{"cents":42}}`,
		},
		{
			`{"structured":true,"max_data":4}`, order, nil,
			`{"level":"INFO","msg":"signal dispatched","event":"signal_dispatched","id":"1","type":"order.created","source":"/shop","data":"{\"ce..."}`,
		},
		{
			`{"structured":true,"include_data":false}`, order, nil,
			`{"level":"INFO","msg":"signal dispatched","event":"signal_dispatched","id":"1","type":"order.created","source":"/shop"}`,
		},
	}
	for _, tt := range tests {
		if got := record(t, tt.options, tt.data, tt.opts...); got != tt.want {
			t.Errorf("%s logs\n%s, want\n%s", tt.options, got, tt.want)
		}
	}
}

func TestTextHandler(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	a, err := dispatch.Open(t.Context(), "logger", []byte(`{"structured":true}`), dispatch.Env{Log: slog.New(slog.NewTextHandler(&out, nil))})
	if err != nil {
		t.Fatal(err)
	}
	s, err := signal.New("order.created", map[string]int{"cents": 42})
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Deliver(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	if got := out.String(); !strings.Contains(got, `data="{\"cents\":42}"`) {
		t.Errorf("text log = %s, want the data as text", got)
	}
}

func TestOptions(t *testing.T) {
	t.Parallel()
	for _, options := range []string{`{"level":"loud"}`, `{"structured":"yes"}`, `{"include_data":1}`} {
		if err := dispatch.Check("logger", []byte(options)); !fault.Is(err, fault.Invalid) {
			t.Errorf("Check(%s) = %v, want Invalid", options, err)
		}
	}
}
