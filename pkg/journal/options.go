package journal

import (
	"log/slog"

	"github.com/signalmesh/signalmesh/pkg/provision"
	"github.com/signalmesh/signalmesh/pkg/subject"
)

// An Option of [Open].
type Option interface{ open(*settings) }

type settings struct {
	space     subject.Space
	bus       string
	replicas  int
	provision bool
	log       *slog.Logger
}

func newSettings(opts []Option) settings {
	s := settings{bus: provision.DefaultBus, provision: true, log: slog.New(slog.DiscardHandler)}
	for _, o := range opts {
		o.open(&s)
	}
	return s
}

type option func(*settings)

func (o option) open(s *settings) { o(s) }

// For names the bus whose journal is opened; "default" if it is not given.
func For(bus string) Option { return option(func(s *settings) { s.bus = bus }) }

// WithSpace sets the prefix of all names; "sig" if it is not given.
func WithSpace(sp subject.Space) Option { return option(func(s *settings) { s.space = sp }) }

// Replicas is how many servers keep the journal, if Open creates it; 1 if it is not given.
func Replicas(n int) Option { return option(func(s *settings) { s.replicas = n }) }

// WithoutProvision makes Open fail with the code fault.NotFound when the journal does not
// exist, where it would create it.
func WithoutProvision() Option { return option(func(s *settings) { s.provision = false }) }

// WithLogger sets where the recorder reports what it can't return to anyone; by default
// nowhere.
func WithLogger(l *slog.Logger) Option { return option(func(s *settings) { s.log = l }) }

// query is what lookups can be told.
type query struct {
	source string
	chosen bool // a source was given; it may be ""
	limit  int
	after  Cursor
}

// A LookupOption narrows a question about one id.
type LookupOption interface{ lookup(*query) }

// A PageOption cuts a long answer into pages.
type PageOption interface{ page(*query) }

// A TraceOption bounds a trace.
type TraceOption interface{ trace(*query) }

// SourceOption chooses among signals of the same id.
type SourceOption string

// FromSource asks for the signal with this source. CloudEvents identifies a signal by source
// and id together; without it an id that several sources use is an [*AmbiguousError].
func FromSource(source string) SourceOption { return SourceOption(source) }

func (o SourceOption) lookup(q *query) { q.source, q.chosen = string(o), true }
func (o SourceOption) trace(q *query)  { o.lookup(q) }

// LimitOption bounds how many signals an answer holds.
type LimitOption int

// Limit bounds how many signals an answer holds. Pages hold 100 and traces have no bound if
// it is not given, or not positive.
func Limit(n int) LimitOption { return LimitOption(n) }

func (o LimitOption) page(q *query)  { q.limit = int(o) }
func (o LimitOption) trace(q *query) { q.limit = int(o) }

// A Cursor is where the next page begins; "" is the first. It means nothing but that, and
// stays valid while the journal is written to.
type Cursor string

// After continues behind the page that returned the cursor.
func After(c Cursor) CursorOption { return CursorOption(c) }

// CursorOption is where a page begins.
type CursorOption Cursor

func (o CursorOption) page(q *query) { q.after = Cursor(o) }

var (
	_ LookupOption = SourceOption("")
	_ TraceOption  = SourceOption("")
	_ PageOption   = LimitOption(0)
	_ TraceOption  = LimitOption(0)
	_ PageOption   = CursorOption("")
)
