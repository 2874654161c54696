// Package console is the adapter "console": it shows signals to whoever looks at the
// standard output of the node.
//
// Promises: a few lines for each signal, never mixed with those of another; control
// characters in a signal are shown, not sent to the terminal.
package console

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/signalmesh/signalmesh/pkg/dispatch"
	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

func init() { dispatch.Register("console", open) }

// Config are the options of the adapter.
type Config struct {
	IncludeData bool `json:"include_data" default:"true" doc:"whether the data of the signal is shown"`
}

// sink writes blocks of lines.
type sink struct {
	out    io.Writer
	config Config
}

// writing serializes all consoles of the process: they share its standard output.
var writing sync.Mutex

func open(_ context.Context, c Config, env dispatch.Env) (dispatch.Adapter, error) {
	return &sink{env.Out(), c}, nil
}

// Deliver writes the block with one call.
func (k *sink) Deliver(_ context.Context, s *signal.Signal) error {
	block := k.block(s)
	writing.Lock()
	defer writing.Unlock()
	if _, err := io.WriteString(k.out, block); err != nil {
		return fault.Newf(fault.Unavailable, "write to the console: %w", err)
	}
	return nil
}

func (k *sink) block(s *signal.Signal) string {
	var b strings.Builder
	b.WriteString("[" + time.Now().UTC().Format(time.RFC3339Nano) + "] SIGNAL DISPATCHED\n")
	lines := [][2]string{{"id", s.ID}, {"type", s.Type}, {"source", s.Source}}
	if s.Subject != "" {
		lines = append(lines, [2]string{"subject", s.Subject})
	}
	if k.config.IncludeData {
		lines = append(lines, [2]string{"data", text(s)})
	}
	for _, line := range lines {
		b.WriteString(line[0] + "=" + visible(line[1]) + "\n")
	}
	b.WriteString("\n")
	return b.String()
}

// text is the data for people: JSON indented, text as it is, other bytes in base64.
func text(s *signal.Signal) string {
	var indented bytes.Buffer
	switch {
	case s.Data == nil:
		return ""
	case s.IsJSON() && json.Indent(&indented, s.Data, "", "  ") == nil:
		return indented.String()
	case utf8.Valid(s.Data):
		return string(s.Data)
	}
	return base64.StdEncoding.EncodeToString(s.Data)
}

// visible replaces what would move the cursor or change the terminal.
func visible(text string) string {
	return strings.Map(func(r rune) rune {
		if r != '\n' && r != '\t' && (unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r)) {
			return '\uFFFD'
		}
		return r
	}, text)
}

var _ dispatch.Adapter = (*sink)(nil)
