package mesh

import (
	"log/slog"

	"github.com/signalmesh/signalmesh/pkg/subject"
)

// A JoinOption changes [Join].
type JoinOption interface{ applyJoin(*joinConfig) }

// A ServeOption changes [ServeNamed] and [ServeReply].
type ServeOption interface{ applyServe(*serveConfig) }

// Option fits both.
type Option interface {
	JoinOption
	ServeOption
}

type joinConfig struct {
	space    subject.Space
	log      *slog.Logger
	replicas int
}

type serveConfig struct {
	space       subject.Space
	log         *slog.Logger
	concurrency int
}

// WithSpace puts it under another prefix than "sig".
func WithSpace(space subject.Space) Option { return spaceOption{space} }

type spaceOption struct{ space subject.Space }

func (o spaceOption) applyJoin(c *joinConfig)   { c.space = o.space }
func (o spaceOption) applyServe(c *serveConfig) { c.space = o.space }

// WithLogger logs to log what nobody is there to return an error to; slog.Default
// otherwise.
func WithLogger(log *slog.Logger) Option { return logOption{log} }

type logOption struct{ log *slog.Logger }

func (o logOption) applyJoin(c *joinConfig)   { c.log = o.log }
func (o logOption) applyServe(c *serveConfig) { c.log = o.log }

// Replicas is the number of copies of the bucket of nodes if it has to be made; 1 by
// default.
type Replicas int

func (n Replicas) applyJoin(c *joinConfig) { c.replicas = int(n) }

// Concurrency is how many calls one process runs at a time; 64 by default. Further calls
// wait their turn, and their callers may give up meanwhile.
type Concurrency int

func (n Concurrency) applyServe(c *serveConfig) { c.concurrency = max(int(n), 1) }
