package agent_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/signalmesh/signalmesh/pkg/agent"
	"github.com/signalmesh/signalmesh/pkg/bus"
	"github.com/signalmesh/signalmesh/pkg/delivery"
	"github.com/signalmesh/signalmesh/pkg/dispatch"
	"github.com/signalmesh/signalmesh/pkg/internal/plug"
	"github.com/signalmesh/signalmesh/pkg/journal"
	"github.com/signalmesh/signalmesh/pkg/route"
	"github.com/signalmesh/signalmesh/pkg/secret"
	"github.com/signalmesh/signalmesh/pkg/signal"
	"github.com/signalmesh/signalmesh/pkg/testkit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// options are those of the adapter "probe", which does what the test tells it to.
type options struct {
	ID     string     `json:"id" required:"true"`
	Note   string     `json:"note"`
	Secret secret.Ref `json:"secret"`
}

// The routes of the tests are checked against the default registry, and opened from the one
// of the test.
func init() {
	dispatch.Register("probe", func(context.Context, options, dispatch.Env) (dispatch.Adapter, error) {
		return nil, errors.New("opened from the default registry")
	})
}

// A world is a bus with its journal, and the targets that agents of it deliver to.
type world struct {
	testing.TB
	bus      *bus.Bus
	journal  *journal.Journal
	registry *dispatch.Registry
	logged   *logged

	mu     sync.Mutex
	probes map[string]*probe
}

func newWorld(tb testing.TB) *world {
	tb.Helper()
	w := &world{TB: tb, bus: testkit.Bus(tb), registry: new(dispatch.Registry), logged: newLogged(), probes: make(map[string]*probe)}
	dispatch.RegisterIn(w.registry, "probe", w.open)
	w.journal = w.openJournal(w.bus)
	return w
}

func (w *world) openJournal(b *bus.Bus) *journal.Journal {
	w.Helper()
	j, err := journal.Open(w.Context(), b.Conn())
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(j.Close)
	return j
}

// An actor is an agent that runs, on a connection of its own.
type actor struct {
	*agent.Agent
	conn *nats.Conn
	end  context.CancelFunc
	done chan struct{}
	err  error
}

// run starts an agent with routes in YAML. It is stopped with the test at the latest.
func (w *world) run(routes string, change ...func(*agent.Config)) *actor {
	w.Helper()
	a := w.prepare(routes, change...)
	a.start(w)
	return a
}

// prepare is run without starting.
func (w *world) prepare(routes string, change ...func(*agent.Config)) *actor {
	w.Helper()
	b := testkit.Bus(w.TB)
	cfg := agent.Config{
		Bus: b, Journal: w.openJournal(b), Registry: w.registry, Node: "n1", Log: slog.New(w.logged),
		AckWait: time.Minute, Drain: 100 * time.Millisecond,
	}
	for _, f := range change {
		f(&cfg)
	}
	a := &actor{Agent: agent.New(cfg), conn: b.Conn(), done: make(chan struct{}), end: func() {}}
	w.swap(a, routes)
	return a
}

func (a *actor) start(w *world) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(w.Context()))
	a.end = cancel
	go func() {
		defer close(a.done)
		a.err = a.Run(ctx)
	}()
	w.Cleanup(func() { a.stop() })
}

// stop ends the agent and returns what Run returned.
func (a *actor) stop() error {
	a.end()
	<-a.done
	return a.err
}

// swap puts routes in force and wants no error.
func (w *world) swap(a *actor, routes string) {
	w.Helper()
	if err := a.Swap(w.Context(), w.routes(routes)); err != nil {
		w.Fatal(err)
	}
}

// routes reads routes from YAML.
func (w *world) routes(text string) []route.Route {
	w.Helper()
	n, err := plug.Parse([]byte(text), "routes.yaml")
	if err != nil {
		w.Fatal(err)
	}
	specs, err := route.ParseAll(n)
	if err != nil {
		w.Fatal(err)
	}
	routes := make([]route.Route, len(specs))
	for i, s := range specs {
		routes[i] = route.Route{Spec: s, Revision: uint64(i) + 1}
	}
	return routes
}

// publish puts a signal on the bus.
func (w *world) publish(typ string, data any, opts ...signal.Option) *signal.Signal {
	w.Helper()
	s, err := signal.New(typ, data, append([]signal.Option{signal.From("/test")}, opts...)...)
	if err != nil {
		w.Fatal(err)
	}
	if err := w.bus.Publish(w.Context(), s); err != nil {
		w.Fatal(err)
	}
	return s
}

// eventually waits for a condition that nothing tells of.
func (w *world) eventually(what string, ok func() bool) {
	w.Helper()
	over := time.NewTimer(testkit.Patience)
	defer over.Stop()
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	for !ok() {
		select {
		case <-look.C:
		case <-over.C:
			w.Fatalf("not within %s: %s; logged:\n%s", testkit.Patience, what, w.logged)
		}
	}
}

// consumer is what the engine knows of the agents' progress; nil before there was any agent.
func (w *world) consumer() *jetstream.ConsumerInfo {
	c, err := w.bus.JetStream().Consumer(w.Context(), w.bus.Space().Stream(w.bus.Name()), agent.Consumer)
	if err != nil {
		return nil
	}
	return c.CachedInfo()
}

// unsettled says how many signals, from the first one on that no agent has settled, there
// are; -1 before there was any agent.
func (w *world) unsettled() int {
	w.Helper()
	c := w.consumer()
	if c == nil {
		return -1
	}
	last, err := w.bus.Last(w.Context())
	if err != nil {
		w.Fatal(err)
	}
	return int(last - c.AckFloor.Stream)
}

// requests says how many requests wait in the stream, and how many of them are due.
func (w *world) requests() (all, due int) {
	w.Helper()
	sp := w.bus.Space()
	st, err := w.bus.JetStream().Stream(w.Context(), sp.LaterStream(w.bus.Name()))
	if err != nil {
		w.Fatal(err)
	}
	info, err := st.Info(w.Context(), jetstream.WithSubjectFilter(sp.AllLater(w.bus.Name())))
	if err != nil {
		w.Fatal(err)
	}
	for subj, n := range info.State.Subjects {
		all += int(n)
		if strings.Contains(subj, ".run.") {
			due += int(n)
		}
	}
	return all, due
}

// idle waits until every signal and every request that is due is settled.
func (w *world) idle() {
	w.Helper()
	w.eventually("everything is settled", func() bool {
		_, due := w.requests()
		return due == 0 && w.unsettled() == 0
	})
}

// parked says how many requests wait in the stream, due or not.
func (w *world) parked() int {
	w.Helper()
	all, _ := w.requests()
	return all
}

// everParked says how many requests there were.
func (w *world) everParked() uint64 {
	w.Helper()
	st, err := w.bus.JetStream().Stream(w.Context(), w.bus.Space().LaterStream(w.bus.Name()))
	if err != nil {
		w.Fatal(err)
	}
	return st.CachedInfo().State.LastSeq
}

// verdict waits until the journal has a verdict with the status.
func (w *world) verdict(s *signal.Signal, name, target string, want delivery.Status) delivery.Verdict {
	w.Helper()
	return w.verdictThat(s, name, target, string(want), func(v delivery.Verdict) bool { return v.Status == want })
}

func (w *world) verdictThat(s *signal.Signal, name, target, what string, ok func(delivery.Verdict) bool) (found delivery.Verdict) {
	w.Helper()
	w.eventually(fmt.Sprintf("%s/%s has the verdict %q", name, target, what), func() bool {
		for _, v := range w.verdicts(s) {
			if v.Route == name && v.Target == target {
				found = v
			}
		}
		return ok(found)
	})
	return found
}

func (w *world) verdicts(s *signal.Signal) []delivery.Verdict {
	w.Helper()
	all, err := w.journal.Verdicts(w.Context(), s.ID, journal.FromSource(s.Source))
	if err != nil {
		w.Fatal(err)
	}
	return all
}

// letters are the dead letters of the bus, oldest first.
func (w *world) letters() []delivery.Letter {
	w.Helper()
	var all []delivery.Letter
	for l, err := range w.bus.DeadLetters().List(w.Context(), bus.LetterFilter{}) {
		if err != nil {
			w.Fatal(err)
		}
		all = append(all, l)
	}
	return all
}

// letter waits for the only dead letter.
func (w *world) letter() delivery.Letter {
	w.Helper()
	var all []delivery.Letter
	w.eventually("there is a dead letter", func() bool { all = w.letters(); return len(all) > 0 })
	if len(all) != 1 {
		w.Fatalf("%d dead letters, want 1: %+v", len(all), all)
	}
	return all[0]
}

// numbers are those of the attempts.
func numbers(attempts []delivery.Attempt) []int {
	var all []int
	for _, a := range attempts {
		all = append(all, a.Number)
	}
	return all
}

// logged keeps what was logged, and wakes who waits for it.
type logged struct {
	slog.Handler
	mu   sync.Mutex
	text *bytes.Buffer
}

func newLogged() *logged {
	l := &logged{text: new(bytes.Buffer)}
	l.Handler = slog.NewTextHandler(l, nil)
	return l
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (l *logged) has(text string) bool { return strings.Contains(l.String(), text) }

// ids are those of the signals, in order.
func ids(calls []call) []string {
	var all []string
	for _, c := range calls {
		all = append(all, c.s.ID)
	}
	slices.Sort(all)
	return all
}

// guarded is the bus with a handler middleware.
func (w *world) guarded(f func(context.Context, *signal.Signal, signal.Handler) error) *bus.Bus {
	return testkit.Bus(w.TB, bus.WithHandlerMiddleware(func(next signal.Handler) signal.Handler {
		return func(ctx context.Context, s *signal.Signal) error { return f(ctx, s, next) }
	}))
}
