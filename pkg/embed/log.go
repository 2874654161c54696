package embed

import (
	"fmt"
	"log/slog"
	"sync"

	"github.com/nats-io/nats-server/v2/server"
)

// logger hands the server's log lines to slog. Its notices are the banner and the life of
// each stream, which is debug detail of a node. Unlike the stock logger it never exits:
// the first fatal line is kept as the server's error.
type logger struct {
	log *slog.Logger

	mu    sync.Mutex
	fatal error
}

func (l *logger) Noticef(format string, v ...any) { l.log.Debug("nats server", text(format, v)) }
func (l *logger) Debugf(format string, v ...any)  { l.log.Debug("nats server", text(format, v)) }
func (l *logger) Tracef(format string, v ...any)  { l.log.Debug("nats server", text(format, v)) }
func (l *logger) Warnf(format string, v ...any)   { l.log.Warn("nats server", text(format, v)) }
func (l *logger) Errorf(format string, v ...any)  { l.log.Error("nats server", text(format, v)) }

func (l *logger) Fatalf(format string, v ...any) {
	l.log.Error("nats server stopped working", text(format, v))
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fatal == nil {
		l.fatal = fmt.Errorf(format, v...)
	}
}

// err is the first fatal line, or nil.
func (l *logger) err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.fatal
}

func text(format string, v []any) slog.Attr {
	return slog.String("text", fmt.Sprintf(format, v...))
}

var _ server.Logger = (*logger)(nil)
