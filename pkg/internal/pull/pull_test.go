package pull_test

import (
	"errors"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/signalmesh/signalmesh/pkg/embed"
	"github.com/signalmesh/signalmesh/pkg/internal/pull"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 15 * time.Second

// serve starts a server with a stream S on s.> in a directory of its own.
func serve(tb testing.TB) (*embed.Server, jetstream.JetStream) {
	tb.Helper()
	srv, err := embed.Start(tb.Context(), embed.Config{Dir: tb.TempDir(), Durability: embed.Fast})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(srv.Shutdown)
	js := connect(tb, srv)
	if _, err := js.CreateStream(tb.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s.>"}}); err != nil {
		tb.Fatal(err)
	}
	return srv, js
}

func connect(tb testing.TB, srv *embed.Server) jetstream.JetStream {
	tb.Helper()
	nc, err := nats.Connect(srv.ClientURL(), nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		tb.Fatal(err)
	}
	return js
}

func consumer(tb testing.TB, js jetstream.JetStream, ackWait time.Duration) {
	tb.Helper()
	_, err := js.CreateConsumer(tb.Context(), "S", jetstream.ConsumerConfig{
		Durable: "c", AckPolicy: jetstream.AckExplicitPolicy, AckWait: ackWait, MaxDeliver: -1, MaxAckPending: 10_000,
	})
	if err != nil {
		tb.Fatal(err)
	}
}

// fill publishes n messages with the bodies "1" to "n".
func fill(tb testing.TB, js jetstream.JetStream, n int) {
	tb.Helper()
	for i := range n {
		if _, err := js.PublishAsync("s.a", []byte(strconv.Itoa(i+1)), jetstream.WithStallWait(patience)); err != nil {
			tb.Fatal(err)
		}
	}
	select {
	case <-js.PublishAsyncComplete():
	case <-time.After(patience):
		tb.Fatal("messages were not published in time")
	}
}

func start(tb testing.TB, js jetstream.JetStream, cfg pull.Config, handle func(*pull.Msg)) *pull.Loop {
	tb.Helper()
	cfg.Stream, cfg.Consumer = "S", "c"
	l, err := pull.Start(js, cfg, handle)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		l.Stop()
		await(tb, l.Done(), "loop to end")
	})
	return l
}

func await[T any](tb testing.TB, c <-chan T, what string) (v T) {
	tb.Helper()
	select {
	case v = <-c:
	case <-time.After(patience):
		tb.Fatalf("waited %s for %s", patience, what)
	}
	return v
}

func ack(tb testing.TB, m *pull.Msg) {
	if err := m.Ack(); err != nil {
		tb.Errorf("Ack(%d) = %v", m.Sequence, err)
	}
}

func info(tb testing.TB, js jetstream.JetStream) *jetstream.ConsumerInfo {
	tb.Helper()
	c, err := js.Consumer(tb.Context(), "S", "c")
	if err != nil {
		tb.Fatal(err)
	}
	return c.CachedInfo()
}

func TestInOrder(t *testing.T) {
	t.Parallel()
	_, js := serve(t)
	consumer(t, js, time.Minute)
	const n = 5000
	fill(t, js, n)
	next, all := 1, make(chan bool, 1)
	l := start(t, js, pull.Config{}, func(m *pull.Msg) {
		if got := string(m.Data); got != strconv.Itoa(next) || m.Sequence != uint64(next) || m.Delivered != 1 || m.Stored.IsZero() {
			t.Errorf("message %d = %q, sequence %d, delivered %d, stored %s", next, got, m.Sequence, m.Delivered, m.Stored)
		}
		ack(t, m)
		if next++; next > n {
			all <- true
		}
	})
	await(t, all, "all messages")
	l.Stop()
	await(t, l.Done(), "loop to end")
	for end := time.Now().Add(patience); ; { // the server has the verdicts and works them off
		got := info(t, js)
		if got.NumAckPending == 0 && got.NumPending == 0 && got.NumRedelivered == 0 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("after all: pending %d, ack pending %d, redelivered %d, want 0", got.NumPending, got.NumAckPending, got.NumRedelivered)
		}
	}
	if l.Err() != nil {
		t.Errorf("Err() = %v after Stop, want nil", l.Err())
	}
}

// AckWait is a minute here: what the second loop gets in time was given back.
func TestStopGivesBack(t *testing.T) {
	t.Parallel()
	srv, js := serve(t)
	consumer(t, js, time.Minute)
	const n = 1000
	fill(t, js, n)
	entered, let := make(chan bool, 1), make(chan bool)
	seen := 0
	first := start(t, js, pull.Config{}, func(m *pull.Msg) {
		if seen++; seen == 500 {
			entered <- true
			<-let
		}
		ack(t, m)
	})
	await(t, entered, "the message in the middle")
	if first.Buffered() == 0 {
		t.Error("nothing is buffered behind a handler that was fast so far; the test proves nothing")
	}
	first.Stop()
	close(let)
	await(t, first.Done(), "loop to end")

	rest := make(chan string, n)
	start(t, connect(t, srv), pull.Config{}, func(m *pull.Msg) {
		ack(t, m)
		rest <- string(m.Data)
	})
	got := map[string]bool{}
	for len(got) < n-500 {
		got[await(t, rest, "the rest")] = true
	}
	if len(got) != n-500 || got["500"] {
		t.Errorf("the second loop got %d messages, want %d without number 500", len(got), n-500)
	}
}

func TestKeepAlive(t *testing.T) {
	t.Parallel()
	_, js := serve(t)
	consumer(t, js, 600*time.Millisecond)
	fill(t, js, 3)
	got := make(chan *pull.Msg, 10)
	start(t, js, pull.Config{KeepAlive: 200 * time.Millisecond}, func(m *pull.Msg) { got <- m })
	var held []*pull.Msg
	for range 3 {
		held = append(held, await(t, got, "message"))
	}
	select {
	case m := <-got:
		t.Errorf("message %d came again while it was held", m.Sequence)
	case <-time.After(2 * time.Second):
	}
	for _, m := range held {
		ack(t, m)
	}
	if err := held[0].Nak(0); !errors.Is(err, pull.ErrSettled) {
		t.Errorf("second verdict = %v, want ErrSettled", err)
	}
}

func TestRedeliveryAfterAckWait(t *testing.T) {
	t.Parallel()
	_, js := serve(t)
	consumer(t, js, 300*time.Millisecond)
	fill(t, js, 1)
	got := make(chan *pull.Msg, 10)
	start(t, js, pull.Config{}, func(m *pull.Msg) { got <- m })
	await(t, got, "first delivery")
	m := await(t, got, "second delivery")
	if m.Delivered != 2 {
		t.Errorf("Delivered = %d, want 2", m.Delivered)
	}
	ack(t, m)
}

func TestNakWithDelay(t *testing.T) {
	t.Parallel()
	_, js := serve(t)
	consumer(t, js, time.Minute)
	fill(t, js, 1)
	got := make(chan *pull.Msg, 10)
	start(t, js, pull.Config{}, func(m *pull.Msg) { got <- m })
	began := time.Now()
	if err := await(t, got, "first delivery").Nak(300 * time.Millisecond); err != nil {
		t.Fatal(err)
	}
	m := await(t, got, "second delivery")
	if d := time.Since(began); d < 300*time.Millisecond || m.Delivered != 2 {
		t.Errorf("came again after %s as delivery %d, want 300ms and 2", d, m.Delivered)
	}
	ack(t, m)
}

// What has been delivered three times is handed over alone.
func TestSuspectStaysAlone(t *testing.T) {
	t.Parallel()
	_, js := serve(t)
	consumer(t, js, time.Minute)
	fill(t, js, 20)
	suspects, others := make(chan *pull.Msg, 100), make(chan uint64, 100)
	var handed atomic.Int64
	start(t, js, pull.Config{}, func(m *pull.Msg) {
		switch {
		case m.Sequence != 1:
			handed.Add(1)
			others <- m.Sequence
			ack(t, m)
		case m.Delivered < 3:
			if err := m.Nak(0); err != nil {
				t.Errorf("Nak = %v", err)
			}
		default:
			suspects <- m
		}
	})
	suspect := await(t, suspects, "third delivery")
	before := handed.Load()
	fill(t, js, 5)
	time.AfterFunc(300*time.Millisecond, func() {
		if n := handed.Load(); n != before {
			t.Errorf("%d messages were handed over while a suspect was out", n-before)
		}
		ack(t, suspect)
	})
	began := time.Now()
	for range 24 {
		await(t, others, "the others")
	}
	if d := time.Since(began); d > 900*time.Millisecond {
		t.Errorf("the loop went on %s after the suspect was handed over, want as soon as it was settled", d)
	}
}

func TestLargerThanMaxBytes(t *testing.T) {
	t.Parallel()
	_, js := serve(t)
	consumer(t, js, time.Minute)
	sizes := []int{10, 5000, 10, 9000, 9000, 10}
	for _, n := range sizes {
		if _, err := js.Publish(t.Context(), "s.a", make([]byte, n)); err != nil {
			t.Fatal(err)
		}
	}
	got := make(chan int, len(sizes))
	start(t, js, pull.Config{MaxBytes: 1000}, func(m *pull.Msg) {
		ack(t, m)
		got <- len(m.Data)
	})
	for _, want := range sizes {
		if n := await(t, got, "message"); n != want {
			t.Errorf("got %d bytes, want %d", n, want)
		}
	}
}

func TestDeletedConsumer(t *testing.T) {
	t.Parallel()
	_, js := serve(t)
	consumer(t, js, time.Minute)
	fill(t, js, 1)
	got := make(chan bool, 1)
	l := start(t, js, pull.Config{}, func(m *pull.Msg) {
		ack(t, m)
		got <- true
	})
	await(t, got, "message")
	if err := js.DeleteConsumer(t.Context(), "S", "c"); err != nil {
		t.Fatal(err)
	}
	await(t, l.Done(), "loop to end")
	if !errors.Is(l.Err(), pull.ErrDeleted) {
		t.Errorf("Err() = %v, want ErrDeleted", l.Err())
	}
}

func TestConsumerThatNeverWas(t *testing.T) {
	t.Parallel()
	_, js := serve(t)
	l := start(t, js, pull.Config{}, func(*pull.Msg) {})
	await(t, l.Done(), "loop to end")
	if !errors.Is(l.Err(), pull.ErrDeleted) {
		t.Errorf("Err() = %v, want ErrDeleted", l.Err())
	}
}

func TestClosedConnection(t *testing.T) {
	t.Parallel()
	srv, js := serve(t)
	consumer(t, js, time.Minute)
	other := connect(t, srv)
	l := start(t, other, pull.Config{KeepAlive: time.Second}, func(*pull.Msg) {})
	other.Conn().Close()
	await(t, l.Done(), "loop to end")
	if !errors.Is(l.Err(), pull.ErrClosed) {
		t.Errorf("Err() = %v, want ErrClosed", l.Err())
	}
}

func TestServerRestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	srv, err := embed.Start(t.Context(), embed.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	js := connect(t, srv)
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s.>"}}); err != nil {
		t.Fatal(err)
	}
	consumer(t, js, time.Minute)
	got := make(chan string, 10)
	start(t, js, pull.Config{}, func(m *pull.Msg) {
		ack(t, m)
		got <- string(m.Data)
	})
	fill(t, js, 1)
	await(t, got, "message before the restart")

	back := make(chan nats.Status, 1)
	js.Conn().SetReconnectHandler(func(*nats.Conn) { back <- nats.CONNECTED })
	srv.Shutdown()
	port := portOf(t, srv.ClientURL())
	srv, err = embed.Start(t.Context(), embed.Config{Dir: dir, Port: port})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(srv.Shutdown)
	await(t, back, "the connection to return")
	began := time.Now()
	fill(t, js, 2)
	await(t, got, "first message after the restart")
	await(t, got, "second message after the restart")
	if d := time.Since(began); d > 3*time.Second {
		t.Errorf("messages after the restart took %s", d)
	}
}

func portOf(t *testing.T, url string) int {
	t.Helper()
	i := len(url) - 1
	for url[i] != ':' {
		i--
	}
	port, err := strconv.Atoi(url[i+1:])
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// A handler that takes long leaves what it cannot reach to others.
func TestSlowHandlerLeavesTheRest(t *testing.T) {
	t.Parallel()
	srv, js := serve(t)
	consumer(t, js, time.Minute)
	fill(t, js, 20)
	entered, let := make(chan bool, 20), make(chan bool)
	start(t, js, pull.Config{}, func(m *pull.Msg) {
		entered <- true
		<-let
		ack(t, m)
	})
	await(t, entered, "the slow handler")
	rest := make(chan bool, 20)
	start(t, connect(t, srv), pull.Config{}, func(m *pull.Msg) {
		ack(t, m)
		rest <- true
	})
	for range 18 { // one is being handled, at most one is taken in advance
		await(t, rest, "what the slow one left")
	}
	close(let)
}

func BenchmarkConsume(b *testing.B) {
	_, js := serve(b)
	consumer(b, js, time.Minute)
	fill(b, js, b.N)
	n, all := 0, make(chan bool, 1)
	b.ReportAllocs()
	b.ResetTimer()
	start(b, js, pull.Config{KeepAlive: 10 * time.Second}, func(m *pull.Msg) {
		ack(b, m)
		if n++; n == b.N {
			all <- true
		}
	})
	await(b, all, "all messages")
}
