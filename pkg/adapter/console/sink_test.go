package console_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"go.uber.org/goleak"

	_ "github.com/signalmesh/signalmesh/pkg/adapter/console"
	"github.com/signalmesh/signalmesh/pkg/dispatch"
	"github.com/signalmesh/signalmesh/pkg/dispatch/dispatchtest"
	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConformance(t *testing.T) {
	dispatchtest.Run(t, func(*testing.T) *dispatchtest.Subject {
		return &dispatchtest.Subject{Adapter: "console", Options: `{}`, Env: dispatch.Env{Stdout: io.Discard}}
	}, dispatchtest.Features{})
}

// show delivers one signal and returns what is shown below the first line.
func show(t *testing.T, options string, data any, opts ...signal.Option) string {
	t.Helper()
	var out bytes.Buffer
	a, err := dispatch.Open(t.Context(), "console", []byte(options), dispatch.Env{Stdout: &out})
	if err != nil {
		t.Fatal(err)
	}
	s, err := signal.New("order.created", data, append(opts, signal.From("/shop"), signal.WithID("1"))...)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Deliver(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	first, rest, _ := strings.Cut(out.String(), "\n")
	if !strings.HasPrefix(first, "[20") || !strings.HasSuffix(first, "] SIGNAL DISPATCHED") {
		t.Errorf("first line = %q", first)
	}
	return rest
}

func TestBlocks(t *testing.T) {
	t.Parallel()
	text := signal.ContentType("text/plain")
	tests := []struct {
		options string
		data    any
		opts    []signal.Option
		want    string
	}{
		{`{}`, map[string]int{"cents": 42}, []signal.Option{signal.About("o-1")}, "id=1\ntype=order.created\nsource=/shop\nsubject=o-1\ndata={\n  \"cents\": 42\n}\n\n"},
		{`{}`, nil, nil, "id=1\ntype=order.created\nsource=/shop\ndata=\n\n"},
		{`{"include_data":false}`, 1, nil, "id=1\ntype=order.created\nsource=/shop\n\n"},
		{`{}`, "a\x1b[31mred\r\u202eb", []signal.Option{text}, "id=1\ntype=order.created\nsource=/shop\ndata=a\uFFFD[31mred\uFFFD\uFFFDb\n\n"},
		{`{}`, []byte{0xff}, nil, "id=1\ntype=order.created\nsource=/shop\ndata=/w==\n\n"},
	}
	for _, tt := range tests {
		if got := show(t, tt.options, tt.data, tt.opts...); got != tt.want {
			t.Errorf("%s shows %q, want %q", tt.options, got, tt.want)
		}
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("gone") }

func TestBrokenOutput(t *testing.T) {
	t.Parallel()
	a, err := dispatch.Open(t.Context(), "console", nil, dispatch.Env{Stdout: broken{}})
	if err != nil {
		t.Fatal(err)
	}
	s, err := signal.New("a", nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Deliver(t.Context(), s); !fault.Is(err, fault.Unavailable) || fault.IsPermanent(err) {
		t.Errorf("Deliver() = %v, want a temporary Unavailable", err)
	}
}
