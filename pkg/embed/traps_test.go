package embed_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/signalmesh/signalmesh/pkg/embed"
)

// These tests pin what the engine really does where the mesh works around it. One that
// fails after an upgrade is news, good or bad: look at the work-around that it names.
//
// That of replicated streams is in cluster_test.go. Not here: DontListen in a cluster, whose
// Shutdown never returns.

// stream makes a stream on a server of the test's own.
func stream(t *testing.T, cfg jetstream.StreamConfig) (*nats.Conn, jetstream.JetStream, jetstream.Stream) {
	t.Helper()
	nc, js := connect(t, start(t, embed.Config{Durability: embed.Fast}))
	s, err := js.CreateStream(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return nc, js, s
}

func publish(t *testing.T, js jetstream.JetStream, subj string, opts ...jetstream.PublishOpt) {
	t.Helper()
	if _, err := js.Publish(t.Context(), subj, nil, opts...); err != nil {
		t.Fatalf("publish %q: %v", subj, err)
	}
}

// A subject that contains DEL is acknowledged and can't be found. subject refuses it.
func TestTrapSubjectWithDEL(t *testing.T) {
	t.Parallel()
	_, js, s := stream(t, jetstream.StreamConfig{Name: "S", Subjects: []string{"s.>"}, AllowDirect: true})
	publish(t, js, "s.a\x7fb")
	if _, err := s.GetLastMsgForSubject(t.Context(), "s.a\x7fb"); !errors.Is(err, jetstream.ErrMsgNotFound) {
		t.Errorf("lookup by subject = %v: DEL is indexed now", err)
	}
	if _, err := s.GetMsg(t.Context(), 1); err != nil {
		t.Errorf("lookup by position = %v, want the message", err)
	}
}

// Wildcards are stored as literals when they are published to. subject escapes them.
func TestTrapPublishToWildcard(t *testing.T) {
	t.Parallel()
	_, js, s := stream(t, jetstream.StreamConfig{Name: "S", Subjects: []string{"s.>"}})
	publish(t, js, "s.*")
	publish(t, js, "s.>")
	info, err := s.Info(t.Context(), jetstream.WithSubjectFilter(">"))
	if err != nil {
		t.Fatal(err)
	}
	if got := info.State.Subjects; got["s.*"] != 1 || got["s.>"] != 1 {
		t.Errorf("subjects = %v: the server no longer stores what is published to wildcards", got)
	}
}

// A subject near the size of a control line closes the connection for good. subject limits
// the length of types.
func TestTrapLongSubject(t *testing.T) {
	t.Parallel()
	s := start(t, embed.Config{Durability: embed.Fast})
	closed := make(chan error, 1)
	nc, err := s.Connect(nats.ClosedHandler(func(nc *nats.Conn) { closed <- nc.LastError() }))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if err := nc.Publish("s."+strings.Repeat("x", 5000), nil); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-closed:
		if err == nil || !strings.Contains(err.Error(), "control line") {
			t.Errorf("connection closed with %v, want the control line", err)
		}
	case <-time.After(10 * time.Second):
		t.Errorf("the connection is %s: a long subject no longer closes it", nc.Status())
	}
}

// WithScheduleAt cuts the time down to whole seconds and so fires early. The header is set
// by hand, with nanoseconds, and is exact.
func TestTrapScheduleAtTruncates(t *testing.T) {
	t.Parallel()
	_, js, s := stream(t, jetstream.StreamConfig{Name: "S", Subjects: []string{"s.>"}, AllowMsgSchedules: true})
	at := time.Now().Add(time.Hour).Truncate(time.Second).Add(900 * time.Millisecond)
	publish(t, js, "s.at", jetstream.WithScheduleAt(at), jetstream.WithScheduleTarget("s.run"))
	m, err := s.GetLastMsgForSubject(t.Context(), "s.at")
	if err != nil {
		t.Fatal(err)
	}
	if got := m.Header.Get("Nats-Schedule"); strings.Contains(got, ".9") {
		t.Errorf("Nats-Schedule = %q: WithScheduleAt keeps fractions now", got)
	}

	c, err := s.CreateConsumer(t.Context(), jetstream.ConsumerConfig{FilterSubject: "s.run", AckPolicy: jetstream.AckNonePolicy})
	if err != nil {
		t.Fatal(err)
	}
	byHand := nats.NewMsg("s.hand")
	at = time.Now().Add(700 * time.Millisecond)
	byHand.Header.Set("Nats-Schedule", "@at "+at.Format(time.RFC3339Nano))
	byHand.Header.Set("Nats-Schedule-Target", "s.run")
	if _, err := js.PublishMsg(t.Context(), byHand); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Next(jetstream.FetchMaxWait(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if early := time.Until(at); early > 0 {
		t.Errorf("the schedule fired %s early", early)
	}
}

// NakWithDelay adds to BackOff. Consumers of the mesh leave BackOff empty.
func TestTrapBackOffAddsToNakDelay(t *testing.T) {
	t.Parallel()
	_, js, s := stream(t, jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}})
	c, err := s.CreateConsumer(t.Context(), jetstream.ConsumerConfig{
		AckPolicy: jetstream.AckExplicitPolicy,
		BackOff:   []time.Duration{200 * time.Millisecond, time.Second, 2 * time.Second}, MaxDeliver: 10,
	})
	if err != nil {
		t.Fatal(err)
	}
	publish(t, js, "s")
	const asked = 50 * time.Millisecond
	var waits []time.Duration
	for range 3 {
		begin := time.Now()
		m, err := c.Next(jetstream.FetchMaxWait(10 * time.Second))
		if err != nil {
			t.Fatal(err)
		}
		waits = append(waits, time.Since(begin))
		if err := m.NakWithDelay(asked); err != nil {
			t.Fatal(err)
		}
	}
	if got := waits[2]; got < 10*asked {
		t.Errorf("redelivery %s after a NAK with %s: delays no longer add up", got, asked)
	}
}

// The advisory of MaxDeliver is sent only while a pull request waits. Dead letters are
// written by the mesh itself.
func TestTrapAdvisoryNeedsAWaitingPull(t *testing.T) {
	t.Parallel()
	nc, js, s := stream(t, jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}})
	c, err := s.CreateConsumer(t.Context(), jetstream.ConsumerConfig{
		Durable: "c", AckPolicy: jetstream.AckExplicitPolicy, AckWait: 100 * time.Millisecond, MaxDeliver: 2,
	})
	if err != nil {
		t.Fatal(err)
	}
	sub, err := nc.SubscribeSync("$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.S.c")
	if err != nil {
		t.Fatal(err)
	}
	publish(t, js, "s")
	for range 2 {
		if _, err := c.Next(jetstream.FetchMaxWait(5 * time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	if m, err := sub.NextMsg(time.Second); err == nil {
		t.Errorf("advisory %s without a waiting pull", m.Data)
	}
	if m, err := c.Next(jetstream.FetchMaxWait(time.Second)); err == nil {
		t.Errorf("delivery %v beyond MaxDeliver", m)
	}
	if _, err := sub.NextMsg(5 * time.Second); err != nil {
		t.Errorf("no advisory after a pull: %v", err)
	}
}

// A delayed NAK stays pending and takes its place in MaxAckPending. Long retries leave the
// consumer.
func TestTrapDelayedNakBlocks(t *testing.T) {
	t.Parallel()
	_, js, s := stream(t, jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}})
	c, err := s.CreateConsumer(t.Context(), jetstream.ConsumerConfig{AckPolicy: jetstream.AckExplicitPolicy, MaxAckPending: 1})
	if err != nil {
		t.Fatal(err)
	}
	publish(t, js, "s")
	publish(t, js, "s")
	m, err := c.Next(jetstream.FetchMaxWait(5 * time.Second))
	if err != nil {
		t.Fatal(err)
	}
	if err := m.NakWithDelay(time.Minute); err != nil {
		t.Fatal(err)
	}
	if m, err := c.Next(jetstream.FetchMaxWait(500 * time.Millisecond)); err == nil {
		t.Errorf("delivery of %s: a delayed NAK no longer takes a place", m.Subject())
	}
}

// At one replica the expected sequence is checked before the message id, so that the
// repeat of a publish that succeeded is a conflict. The bus looks at what is stored.
func TestTrapExpectationBeforeDedup(t *testing.T) {
	t.Parallel()
	_, js, _ := stream(t, jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}})
	opts := []jetstream.PublishOpt{jetstream.WithMsgID("1"), jetstream.WithExpectLastSequencePerSubject(0)}
	publish(t, js, "s", opts...)
	ack, err := js.Publish(t.Context(), "s", nil, opts...)
	var api *jetstream.APIError
	if !errors.As(err, &api) || api.ErrorCode != jetstream.JSErrCodeStreamWrongLastSequence {
		t.Errorf("repeat = %+v, %v: duplicates are recognised first now", ack, err)
	}
	if ack, err := js.Publish(t.Context(), "s", nil, jetstream.WithMsgID("1")); err != nil || !ack.Duplicate {
		t.Errorf("repeat without expectation = %+v, %v, want a duplicate", ack, err)
	}
}

// One published header empties a stream with rollups, and schedules switch them on. The
// stream of signals has neither.
func TestTrapRollupEmptiesStream(t *testing.T) {
	t.Parallel()
	_, js, s := stream(t, jetstream.StreamConfig{Name: "S", Subjects: []string{"s.>"}, AllowMsgSchedules: true})
	publish(t, js, "s.a")
	publish(t, js, "s.b")
	m := nats.NewMsg("s.c")
	m.Header.Set("Nats-Rollup", "all")
	if _, err := js.PublishMsg(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	info, err := s.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got := info.State.Msgs; got != 1 {
		t.Errorf("%d messages after a rollup of all: schedules no longer allow it", got)
	}
}

// Without a listener LameDuckShutdown does nothing. An embedded server always listens.
func TestTrapDontListenIgnoresLameDuck(t *testing.T) {
	t.Parallel()
	s, err := server.NewServer(&server.Options{DontListen: true, JetStream: true, StoreDir: t.TempDir(), NoSigs: true})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	defer s.WaitForShutdown()
	defer s.Shutdown()
	s.LameDuckShutdown()
	if !s.Running() {
		t.Error("LameDuckShutdown ends a server without a listener now")
	}
}
