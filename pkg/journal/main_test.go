package journal_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/goleak"

	"github.com/signalmesh/signalmesh/pkg/codec"
	"github.com/signalmesh/signalmesh/pkg/embed"
	"github.com/signalmesh/signalmesh/pkg/journal"
	"github.com/signalmesh/signalmesh/pkg/signal"
	"github.com/signalmesh/signalmesh/pkg/subject"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// server starts a NATS server for the test.
func server(tb testing.TB, d embed.Durability) *embed.Server {
	tb.Helper()
	srv, err := embed.Start(tb.Context(), embed.Config{Dir: tb.TempDir(), Durability: d})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(srv.Shutdown)
	return srv
}

func connect(tb testing.TB, srv *embed.Server) *nats.Conn {
	tb.Helper()
	nc, err := srv.Connect()
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(nc.Close)
	return nc
}

func open(tb testing.TB, nc *nats.Conn, opts ...journal.Option) *journal.Journal {
	tb.Helper()
	j, err := journal.Open(tb.Context(), nc, opts...)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(j.Close)
	return j
}

// setup opens the journal of the default bus on a server of the test's own.
func setup(tb testing.TB) (*journal.Journal, *nats.Conn) {
	tb.Helper()
	nc := connect(tb, server(tb, embed.Fast))
	return open(tb, nc), nc
}

func follow(tb testing.TB, j *journal.Journal) *journal.Recorder {
	tb.Helper()
	r, err := j.Follow(tb.Context())
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := r.Drain(context.Background()); err != nil {
			tb.Error(err)
		}
	})
	return r
}

func newSignal(tb testing.TB, id string, opts ...signal.Option) *signal.Signal {
	tb.Helper()
	all := append([]signal.Option{signal.WithID(id), signal.From("/test")}, opts...)
	s, err := signal.New("test.made", map[string]string{"for": id}, all...)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// publish puts signals on the default bus, as other programs do.
func publish(tb testing.TB, nc *nats.Conn, signals ...*signal.Signal) {
	tb.Helper()
	for _, s := range signals {
		subj, err := subject.Space{}.Signal("default", s.Type)
		if err != nil {
			tb.Fatal(err)
		}
		header, body, err := codec.ToNATS(s, codec.Structured)
		if err != nil {
			tb.Fatal(err)
		}
		m := &nats.Msg{Subject: subj, Header: header, Data: body}
		if _, err := nc.RequestMsg(m, 10*time.Second); err != nil {
			tb.Fatal(err)
		}
	}
}

// record records the signals by hand: pairs of an id and the id of its cause, or "".
func record(tb testing.TB, j *journal.Journal, pairs ...string) {
	tb.Helper()
	for i := 0; i < len(pairs); i += 2 {
		if err := j.Record(tb.Context(), newSignal(tb, pairs[i]), pairs[i+1]); err != nil {
			tb.Fatal(err)
		}
	}
}

func wait(tb testing.TB, j *journal.Journal) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), 30*time.Second)
	defer cancel()
	if err := j.Wait(ctx); err != nil {
		tb.Fatal(err)
	}
}

func ids(entries []journal.Entry) []string {
	out := []string{}
	for _, e := range entries {
		out = append(out, e.ID)
	}
	return out
}

// traced are the ids of a trace, and its edges as "cause>effect".
func traced(t *journal.Trace) (nodes, edges []string) {
	for _, n := range t.Nodes {
		nodes = append(nodes, n.ID)
	}
	for _, e := range t.Edges {
		edges = append(edges, t.Nodes[e.Cause].ID+">"+t.Nodes[e.Effect].ID)
	}
	slices.Sort(edges)
	return nodes, edges
}

func numbered(prefix string, n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("%s%d", prefix, i)
	}
	return out
}
