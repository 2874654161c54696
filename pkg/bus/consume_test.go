package bus_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/signalmesh/signalmesh/pkg/bus"
	"github.com/signalmesh/signalmesh/pkg/delivery"
	"github.com/signalmesh/signalmesh/pkg/embed"
	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/pattern"
)

func consume(tb testing.TB, b *bus.Bus, cfg bus.ConsumeConfig, h func(*bus.Message)) *bus.Consumer {
	tb.Helper()
	c, err := b.Consume(tb.Context(), cfg, h)
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

func TestConsume(t *testing.T) {
	t.Parallel()
	b := open(t)
	publish(t, b, make1(t, "a", 1), make1(t, "b", 2))
	got := make(chan *bus.Message, 10)
	c := consume(t, b, bus.ConsumeConfig{Durable: "all", Start: bus.FromOrigin()}, func(m *bus.Message) { got <- m })
	if err := b.Conn().Publish("sig.default.c", []byte("no event")); err != nil {
		t.Fatal(err)
	}
	for want := range 2 {
		m := await(t, got, "message")
		if m.Sequence != uint64(want+1) || m.Signal == nil || m.DecodeErr != nil || m.Delivered != 1 || m.Stored.IsZero() {
			t.Errorf("message %d = %+v", want+1, m)
		}
		if err := m.InProgress(); err != nil {
			t.Errorf("InProgress() = %v", err)
		}
		if err := m.Ack(); err != nil {
			t.Errorf("Ack() = %v", err)
		}
		wantCode(t, m.Ack(), fault.Conflict)
		wantCode(t, m.InProgress(), fault.Conflict)
	}
	m := await(t, got, "what is no signal")
	if m.Signal != nil || !fault.Is(m.DecodeErr, fault.Invalid) || string(m.Body) != "no event" || m.Subject != "sig.default.c" {
		t.Errorf("message = %+v, want one that is no signal", m)
	}
	if err := m.NakWithDelay(0); err != nil {
		t.Fatal(err)
	}
	if m = await(t, got, "what was given back"); m.Delivered != 2 {
		t.Errorf("Delivered = %d, want 2", m.Delivered)
	}
	drained := make(chan error, 1)
	go func() { drained <- c.Drain(context.Background()) }()
	quiet(t, drained, 50*time.Millisecond, "drained with a message without a verdict")
	if err := m.Term("no signal"); err != nil {
		t.Fatal(err)
	}
	if err := await(t, drained, "drain"); err != nil {
		t.Errorf("Drain() = %v", err)
	}
	await(t, c.Done(), "the end")
	info := consumerInfo(t, b, "SIG_default", "all")
	if info.NumAckPending != 0 || info.AckFloor.Stream != 3 {
		t.Errorf("%d pending, floor %d; want 0 and 3", info.NumAckPending, info.AckFloor.Stream)
	}
}

func consumerInfo(t *testing.T, b *bus.Bus, stream, name string) *jetstream.ConsumerInfo {
	t.Helper()
	c, err := b.JetStream().Consumer(t.Context(), stream, name)
	if err != nil {
		t.Fatal(err)
	}
	return c.CachedInfo()
}

// What the engine lets through and the patterns do not is dealt with already.
func TestConsumePatterns(t *testing.T) {
	t.Parallel()
	b := open(t)
	got := make(chan *bus.Message, 20)
	many := []pattern.Pattern{pattern.MustParse("**.a.**.b.**.c.**.d.**"), pattern.MustParse("x.*")}
	consume(t, b, bus.ConsumeConfig{Durable: "p", Patterns: many}, func(m *bus.Message) {
		if err := m.Ack(); err != nil {
			t.Error(err)
		}
		got <- m
	})
	for _, typ := range []string{"a.b.c.d", "z", "x.y", "x.y.z", "1.a.2.b.3.c.4.d.5", "a.b.c"} {
		publish(t, b, make1(t, typ, 1))
	}
	for _, want := range []string{"a.b.c.d", "x.y", "1.a.2.b.3.c.4.d.5"} {
		if m := await(t, got, "signal"); m.Signal.Type != want {
			t.Errorf("got %s, want %s", m.Signal.Type, want)
		}
	}
	until(t, "the rest to be acknowledged", func() bool {
		in := consumerInfo(t, b, "SIG_default", "p")
		return in.NumPending == 0 && in.NumAckPending == 0
	})
}

func TestConsumeConfig(t *testing.T) {
	t.Parallel()
	b := open(t)
	publish(t, b, several(t, "a", 3)...)
	for name, cfg := range map[string]bus.ConsumeConfig{"no name": {}, "bad name": {Durable: "a.b"}} {
		if _, err := b.Consume(t.Context(), cfg, func(*bus.Message) {}); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %v, want code invalid", name, err)
		}
	}
	consume(t, b, bus.ConsumeConfig{Durable: "c"}, func(*bus.Message) {}).Stop()
	c := consumerInfo(t, b, "SIG_default", "c").Config
	if c.MaxDeliver != -1 || len(c.BackOff) != 0 || c.AckPolicy != jetstream.AckExplicitPolicy || c.MaxAckPending != 1000 ||
		c.AckWait != 30*time.Second || c.DeliverPolicy != jetstream.DeliverByStartSequencePolicy || c.OptStartSeq != 4 {
		t.Errorf("consumer = %+v", c)
	}
	// It can be reset, which a consumer made to deliver what is new cannot.
	stream, err := b.JetStream().Stream(t.Context(), "SIG_default")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.ResetConsumerToSequence(t.Context(), "c", 4); err != nil {
		t.Errorf("reset: %v", err)
	}
	// It is changed in place, and its position stays.
	got := make(chan uint64, 10)
	publish(t, b, make1(t, "b", 1), make1(t, "a", 4))
	consume(t, b, bus.ConsumeConfig{
		Durable: "c", Patterns: []pattern.Pattern{pattern.MustParse("a")}, MaxAckPending: 5, AckWait: time.Minute,
		Start: bus.FromOrigin(), Metadata: map[string]string{"k": "v"},
	}, func(m *bus.Message) { got <- m.Sequence; _ = m.Ack() })
	if seq := await(t, got, "message"); seq != 5 {
		t.Errorf("got message %d, want 5", seq)
	}
	c = consumerInfo(t, b, "SIG_default", "c").Config
	if c.MaxAckPending != 5 || c.AckWait != time.Minute || !slices.Equal(c.FilterSubjects, []string{"sig.default.a"}) || c.Metadata["k"] != "v" {
		t.Errorf("changed consumer = %+v", c)
	}
}

// Many members of one name start at once; one consumer comes of it.
func TestConsumeTogether(t *testing.T) {
	t.Parallel()
	srv := serve(t, embed.Fast)
	b := join(t, srv)
	var wg sync.WaitGroup
	got := make(chan uint64, 1000)
	for range 10 {
		wg.Go(func() {
			_, err := b.Consume(context.Background(), bus.ConsumeConfig{Durable: "c", Start: bus.FromOrigin()}, func(m *bus.Message) {
				got <- m.Sequence
				_ = m.Ack()
			})
			if err != nil {
				t.Error(err)
			}
		})
		wg.Go(func() { publish(t, b, several(t, "a", 10)...) })
	}
	wg.Wait()
	seen := map[uint64]bool{}
	for range 100 {
		seen[await(t, got, "message")] = true
	}
	if len(seen) != 100 {
		t.Errorf("%d messages were consumed, want 100", len(seen))
	}
}

func TestConsumeLaterByName(t *testing.T) {
	t.Parallel()
	b := open(t)
	got := make(chan string, 10)
	for _, name := range []string{"x", "y"} {
		consume(t, b, bus.ConsumeConfig{Durable: "sub-" + name, Later: delivery.KindSubscription, LaterName: name}, func(m *bus.Message) {
			got <- name
			_ = m.Ack()
		})
	}
	for _, name := range []string{"y", "x", "nobody"} {
		req := delivery.Request{Kind: delivery.KindSubscription, Name: name, Signal: make1(t, "a", 1).AppendJSON(nil)}
		if err := b.Later(t.Context(), name, req, time.Time{}); err != nil {
			t.Fatal(err)
		}
		if name != "nobody" {
			if g := await(t, got, "request"); g != name {
				t.Errorf("request for %s went to %s", name, g)
			}
		}
	}
	quiet(t, got, 50*time.Millisecond, "a request for nobody arrived")
}
