package batch_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/signalmesh/signalmesh/pkg/embed"
	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/internal/batch"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// setup runs a server with one stream on "t.>" and connects to it.
func setup(tb testing.TB, d embed.Durability, change ...func(*jetstream.StreamConfig)) (*nats.Conn, jetstream.Stream) {
	tb.Helper()
	srv, err := embed.Start(tb.Context(), embed.Config{Dir: tb.TempDir(), Durability: d})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(srv.Shutdown)
	nc, err := srv.Connect()
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		tb.Fatal(err)
	}
	cfg := jetstream.StreamConfig{Name: "T", Subjects: []string{"t.>"}, AllowAtomicPublish: true}
	for _, f := range change {
		f(&cfg)
	}
	stream, err := js.CreateStream(tb.Context(), cfg)
	if err != nil {
		tb.Fatal(err)
	}
	return nc, stream
}

func publisher(tb testing.TB, nc *nats.Conn) *batch.Publisher {
	tb.Helper()
	p, err := batch.New(nc)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(p.Close)
	return p
}

func messages(n int, subject string) []*nats.Msg {
	msgs := make([]*nats.Msg, n)
	for i := range msgs {
		msgs[i] = &nats.Msg{Subject: fmt.Sprintf("t.%s.%d", subject, i), Data: []byte("x")}
	}
	return msgs
}

func TestPublishStoresEachAndSaysWhere(t *testing.T) {
	t.Parallel()
	for _, d := range []embed.Durability{embed.Sync, embed.Fast} {
		t.Run(string(d), func(t *testing.T) {
			t.Parallel()
			nc, stream := setup(t, d)
			p := publisher(t, nc)
			total := 0
			for _, n := range []int{1, 2, 8, 9, 40, 300, batch.MaxMessages} {
				msgs := messages(n, fmt.Sprint(n))
				for i, r := range p.Publish(t.Context(), msgs) {
					if r.Err != nil {
						t.Fatalf("message %d of %d: %v", i, n, r.Err)
					}
					if want := uint64(total + i + 1); r.Sequence != want {
						t.Fatalf("message %d of %d at %d, want %d", i, n, r.Sequence, want)
					}
					if i == n-1 {
						raw, err := stream.GetMsg(t.Context(), r.Sequence)
						if err != nil || raw.Subject != msgs[i].Subject {
							t.Fatalf("GetMsg(%d) = %+v, %v, want %s", r.Sequence, raw, err, msgs[i].Subject)
						}
					}
				}
				total += n
			}
		})
	}
}

// TestSyncedStoreGetsBatches counts which way most groups go once both have been tried: on a
// noisy machine a single comparison may go the wrong way, most do not.
func TestSyncedStoreGetsBatches(t *testing.T) {
	t.Parallel()
	nc, stream := setup(t, embed.Sync)
	p := publisher(t, nc)
	const tried, rounds = 3, 24
	batches := 0
	for round := range rounds {
		results := p.Publish(t.Context(), messages(500, "a"))
		raw, err := stream.GetMsg(t.Context(), results[len(results)-1].Sequence)
		if err != nil {
			t.Fatal(err)
		}
		if round >= tried && raw.Header.Get("Nats-Batch-Commit") != "" {
			batches++
		}
	}
	if 2*batches <= rounds-tried {
		t.Errorf("%d of %d groups of 500 went as a batch; a store that syncs each message wants most of them to", batches, rounds-tried)
	}
}

func TestStreamThatRefusesBatches(t *testing.T) {
	t.Parallel()
	nc, _ := setup(t, embed.Sync, func(c *jetstream.StreamConfig) { c.AllowAtomicPublish = false })
	p := publisher(t, nc)
	for round := range 3 {
		for i, r := range p.Publish(t.Context(), messages(200, fmt.Sprint(round))) {
			if r.Err != nil || r.Sequence != uint64(200*round+i+1) {
				t.Fatalf("round %d, message %d: %+v", round, i, r)
			}
		}
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	nc, stream := setup(t, embed.Fast)
	p := publisher(t, nc)
	conflict := &nats.Msg{Subject: "t.c", Header: nats.Header{jetstream.ExpectedLastSubjSeqHeader: {"7"}}}
	nowhere := &nats.Msg{Subject: "nobody.listens"}
	large := &nats.Msg{Subject: "t.l", Data: make([]byte, nc.MaxPayload()+1)}
	fine := &nats.Msg{Subject: "t.f"}

	got := p.Publish(t.Context(), []*nats.Msg{fine, conflict, nowhere})
	if got[0].Err != nil || !batch.IsConflict(got[1].Err) || !fault.Is(got[1].Err, fault.Conflict) ||
		!fault.Is(got[2].Err, fault.Unavailable) {
		t.Errorf("Publish(fine, conflict, nowhere) = %+v", got)
	}
	if got := p.Publish(t.Context(), []*nats.Msg{fine, large}); got[0].Err != nil || !fault.Is(got[1].Err, fault.TooLarge) {
		t.Errorf("Publish(fine, large) = %+v", got)
	}
	if info, err := stream.Info(t.Context()); err != nil || info.State.Msgs != 2 {
		t.Errorf("stream holds %d messages (%v), want 2", info.State.Msgs, err)
	}
}

// A message that can't be sent does not take those beside it along.
func TestOversizeFailsAlone(t *testing.T) {
	t.Parallel()
	for _, d := range []embed.Durability{embed.Sync, embed.Fast} {
		t.Run(string(d), func(t *testing.T) {
			t.Parallel()
			nc, stream := setup(t, d)
			p := publisher(t, nc)
			const rounds, n = 5, 200
			for range rounds {
				msgs := messages(n, "x")
				msgs[n/2].Data = make([]byte, nc.MaxPayload()+1)
				for i, r := range p.Publish(t.Context(), msgs) {
					if i == n/2 && !fault.Is(r.Err, fault.TooLarge) || i != n/2 && r.Err != nil {
						t.Fatalf("message %d: %v", i, r.Err)
					}
				}
			}
			if info, err := stream.Info(t.Context()); err != nil || info.State.Msgs != rounds*(n-1) {
				t.Errorf("stream holds %d messages (%v), want %d", info.State.Msgs, err, rounds*(n-1))
			}
		})
	}
}

func TestConflictFailsTheBatch(t *testing.T) {
	t.Parallel()
	nc, stream := setup(t, embed.Sync)
	p := publisher(t, nc)
	p.Publish(t.Context(), messages(100, "warm"))
	msgs := messages(200, "x")
	msgs[150].Header = nats.Header{jetstream.ExpectedLastSubjSeqHeader: {"7"}}
	failed := 0
	for _, r := range p.Publish(t.Context(), msgs) {
		if batch.IsConflict(r.Err) {
			failed++
		}
	}
	info, err := stream.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if failed == 0 || int(info.State.Msgs) != 300-failed {
		t.Errorf("%d failed, %d stored of 300", failed, info.State.Msgs)
	}
}

func TestContextEndsTheWait(t *testing.T) {
	t.Parallel()
	nc, stream := setup(t, embed.Fast)
	p := publisher(t, nc)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if r := p.Publish(ctx, messages(1, "a")); !fault.Is(r[0].Err, fault.Unavailable) {
		t.Errorf("Publish with a context that has ended = %+v", r)
	}
	// What is late must not be taken for the answer to the next.
	for i, r := range p.Publish(t.Context(), messages(50, "b")) {
		raw, err := stream.GetMsg(t.Context(), r.Sequence)
		if err != nil || raw.Subject != fmt.Sprintf("t.b.%d", i) {
			t.Fatalf("message %d at %d: found %+v, %v", i, r.Sequence, raw, err)
		}
	}
}

func TestClosedConnectionIsKnownAtOnce(t *testing.T) {
	t.Parallel()
	nc, _ := setup(t, embed.Sync)
	p := publisher(t, nc)
	start := time.Now()
	go nc.Close() // ends by itself
	for {
		if r := p.Publish(t.Context(), messages(100, "a")); r[99].Err != nil {
			if !fault.Is(r[99].Err, fault.Unavailable) {
				t.Errorf("Publish on a closed connection = %v", r[99].Err)
			}
			break
		}
	}
	if took := time.Since(start); took > batch.DefaultTimeout/2 {
		t.Errorf("took %s to notice", took)
	}
}

func TestConcurrentUse(t *testing.T) {
	t.Parallel()
	nc, stream := setup(t, embed.Fast)
	p := publisher(t, nc)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 20 {
				for _, r := range p.Publish(t.Context(), messages(10, fmt.Sprintf("%d.%d", i, j))) {
					if r.Err != nil {
						t.Error(r.Err)
					}
				}
			}
		})
	}
	wg.Wait()
	if info, err := stream.Info(t.Context()); err != nil || info.State.Msgs != 1600 {
		t.Errorf("stream holds %d messages (%v), want 1600", info.State.Msgs, err)
	}
}

func BenchmarkPublish(b *testing.B) {
	for _, d := range []embed.Durability{embed.Sync, embed.Fast} {
		for _, n := range []int{1, 10, 100, 1000} {
			b.Run(fmt.Sprintf("%s/%d", d, n), func(b *testing.B) {
				nc, _ := setup(b, d)
				p := publisher(b, nc)
				msgs := messages(n, "a")
				for i := range msgs {
					msgs[i].Data = make([]byte, 256)
				}
				b.ReportAllocs()
				for b.Loop() {
					if r := p.Publish(b.Context(), msgs); r[n-1].Err != nil {
						b.Fatal(r[n-1].Err)
					}
				}
				b.ReportMetric(float64(b.N*n)/b.Elapsed().Seconds(), "msg/s")
			})
		}
	}
}
