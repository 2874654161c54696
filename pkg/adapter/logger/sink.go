// Package logger is the adapter "logger": it writes a line to the log of the node for each
// signal.
//
// Promises: one record per delivery, at the level asked for; plain records are one
// sentence, "SIGNAL: order.created from /shop with data={...}", structured ones carry
// id, type, source, subject and data as attributes; data beyond max_data is cut.
package logger

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"unicode/utf8"

	"github.com/signalmesh/signalmesh/pkg/dispatch"
	"github.com/signalmesh/signalmesh/pkg/internal/plug"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

func init() { dispatch.Register("logger", open) }

// Config are the options of the adapter.
type Config struct {
	Level       string    `json:"level" default:"info" enum:"debug|info|warn|warning|error" doc:"level of the record; warn and warning are the same"`
	Structured  bool      `json:"structured" doc:"attributes instead of a sentence"`
	IncludeData bool      `json:"include_data" default:"true" doc:"whether the data of the signal is part of the record"`
	MaxData     plug.Size `json:"max_data" default:"4KiB" doc:"how much of the data is shown"`
}

// sink writes records.
type sink struct {
	log    *slog.Logger
	level  slog.Level
	config Config
}

var levels = map[string]slog.Level{
	"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "warning": slog.LevelWarn, "error": slog.LevelError,
}

func open(_ context.Context, c Config, env dispatch.Env) (dispatch.Adapter, error) {
	return &sink{log: env.Logger(), level: levels[c.Level], config: c}, nil
}

// Deliver writes the record.
func (k *sink) Deliver(ctx context.Context, s *signal.Signal) error {
	switch {
	case !k.log.Enabled(ctx, k.level):
	case k.config.Structured:
		k.log.LogAttrs(ctx, k.level, "signal dispatched", k.attributes(s)...)
	default:
		k.log.Log(ctx, k.level, k.sentence(s)) //nolint:sloglint // the sentence is what was asked for
	}
	return nil
}

func (k *sink) attributes(s *signal.Signal) []slog.Attr {
	attrs := []slog.Attr{
		slog.String("event", "signal_dispatched"), slog.String("id", s.ID),
		slog.String("type", s.Type), slog.String("source", s.Source),
	}
	if s.Subject != "" {
		attrs = append(attrs, slog.String("subject", s.Subject))
	}
	if !k.config.IncludeData || s.Data == nil {
		return attrs
	}
	if s.IsJSON() && len(s.Data) <= int(k.config.MaxData) {
		return append(attrs, slog.Any("data", document(s.Data)))
	}
	return append(attrs, slog.String("data", k.data(s)))
}

func (k *sink) sentence(s *signal.Signal) string {
	text := fmt.Sprintf("SIGNAL: %s from %s", s.Type, s.Source)
	if k.config.IncludeData && s.Data != nil {
		text += " with data=" + k.data(s)
	}
	return text
}

// data is the text of the data, cut where it is longer than may be shown.
func (k *sink) data(s *signal.Signal) string {
	text := string(s.Data)
	if !utf8.ValidString(text) {
		text = base64.StdEncoding.EncodeToString(s.Data)
	}
	if len(text) > int(k.config.MaxData) {
		text = strings.ToValidUTF8(text[:k.config.MaxData], "") + "..."
	}
	return text
}

// document is JSON text that handlers for JSON show as JSON and others as text.
type document []byte

// MarshalJSON returns the text itself.
func (d document) MarshalJSON() ([]byte, error) { return d, nil }

// MarshalText returns the text itself.
func (d document) MarshalText() ([]byte, error) { return d, nil }

var (
	_ dispatch.Adapter = (*sink)(nil)
	_ json.Marshaler   = document(nil)
)
