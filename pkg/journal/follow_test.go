package journal_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/signalmesh/signalmesh/pkg/embed"
	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/journal"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

// bulk puts n signals on the bus, each the effect of the one before.
func bulk(tb testing.TB, nc *nats.Conn, n int) []string {
	tb.Helper()
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(1000))
	if err != nil {
		tb.Fatal(err)
	}
	names := numbered("s", n)
	for i, id := range names {
		s := newSignal(tb, id, signal.About(fmt.Sprint("c", i%10)))
		if i > 0 {
			s.Extensions = map[string]any{signal.ExtCausation: names[i-1]}
		}
		body := s.AppendJSON(nil)
		m := &nats.Msg{
			Subject: "sig.default." + s.Type, Data: body,
			Header: nats.Header{"Content-Type": {"application/cloudevents+json"}},
		}
		if _, err := js.PublishMsgAsync(m, jetstream.WithStallWait(10*time.Second)); err != nil {
			tb.Fatal(err)
		}
	}
	select {
	case <-js.PublishAsyncComplete():
	case <-time.After(30 * time.Second):
		tb.Fatal("publishing takes too long")
	}
	return names
}

// complete fails if one of the signals, its edge or its place in a conversation is missing.
func complete(tb testing.TB, j *journal.Journal, names []string) {
	tb.Helper()
	trace, err := j.Trace(tb.Context(), names[0], journal.Forward)
	if err != nil {
		tb.Fatal(err)
	}
	if len(trace.Nodes) != len(names) {
		tb.Errorf("trace has %d signals, want %d", len(trace.Nodes), len(names))
	}
	for _, id := range names {
		if _, err := j.Lookup(tb.Context(), id); err != nil {
			tb.Fatal(err)
		}
	}
	members := 0
	for i := range 10 {
		for cursor := journal.Cursor(""); ; {
			page, err := j.Conversation(tb.Context(), fmt.Sprint("c", i), journal.After(cursor), journal.Limit(1000))
			if err != nil {
				tb.Fatal(err)
			}
			members += len(page.Entries)
			if cursor = page.Next; cursor == "" {
				break
			}
		}
	}
	if members != len(names) {
		tb.Errorf("conversations have %d members, want %d", members, len(names))
	}
}

func TestFollowRecordsEverything(t *testing.T) {
	t.Parallel()
	for _, d := range []embed.Durability{embed.Fast, embed.Sync} {
		t.Run(string(d), func(t *testing.T) {
			t.Parallel()
			nc := connect(t, server(t, d))
			j := open(t, nc)
			names := bulk(t, nc, 1500)
			if _, err := j.Lag(t.Context()); !errors.Is(err, journal.ErrNotFollowed) || fault.HintOf(err) == "" {
				t.Errorf("Lag before Follow = %v, want ErrNotFollowed with a hint", err)
			}
			if err := j.Wait(t.Context()); !errors.Is(err, journal.ErrNotFollowed) {
				t.Errorf("Wait before Follow = %v, want ErrNotFollowed", err)
			}
			r := follow(t, j)
			wait(t, j)
			complete(t, j, names)
			if lag := r.Lag(); lag != 0 {
				t.Errorf("lag of the recorder = %d, want 0", lag)
			}
			if lag, err := j.Lag(t.Context()); err != nil || lag != 0 {
				t.Errorf("Lag = %d, %v, want 0", lag, err)
			}
		})
	}
}

// A recorder whose connection goes away in the middle leaves no gap for the next one.
func TestKilledRecorderLeavesNoGap(t *testing.T) {
	t.Parallel()
	srv := server(t, embed.Fast)
	nc := connect(t, srv)
	j := open(t, nc)
	names := bulk(t, nc, 6000)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	// What the dead ones hold comes back after AckWait: not to wait long for that.
	if _, err := js.CreateConsumer(t.Context(), "SIG_default", jetstream.ConsumerConfig{
		Durable: journal.RecorderName, AckPolicy: jetstream.AckExplicitPolicy, AckWait: time.Second, MaxAckPending: 20_000,
	}); err != nil {
		t.Fatal(err)
	}
	for round := range 3 {
		victim, err := srv.Connect()
		if err != nil {
			t.Fatal(err)
		}
		k, err := journal.Open(t.Context(), victim)
		if err != nil {
			t.Fatal(err)
		}
		r, err := k.Follow(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for {
			lag, err := j.Lag(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if lag < uint64(6000-1000*(round+1)) {
				break
			}
		}
		victim.Close()
		select {
		case <-r.Done():
		case <-time.After(20 * time.Second):
			t.Fatal("recorder does not end without a connection")
		}
		if r.Err() == nil {
			t.Error("Err = nil after the connection was closed")
		}
		k.Close()
	}
	follow(t, j)
	wait(t, j)
	complete(t, j, names)
}

func TestRecordersShareTheWork(t *testing.T) {
	t.Parallel()
	srv := server(t, embed.Fast)
	nc := connect(t, srv)
	j := open(t, nc)
	follow(t, j)
	follow(t, open(t, connect(t, srv)))
	names := bulk(t, nc, 3000)
	wait(t, j)
	complete(t, j, names)
}

// Recording everything once more, as after a restored backup, changes nothing.
func TestRecordingAgainChangesNothing(t *testing.T) {
	t.Parallel()
	nc := connect(t, server(t, embed.Fast))
	j := open(t, nc)
	names := bulk(t, nc, 200)
	for range 2 {
		r, err := j.Follow(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		wait(t, j)
		if err := r.Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
		complete(t, j, names)
		js, err := jetstream.New(nc)
		if err != nil {
			t.Fatal(err)
		}
		if err := js.DeleteConsumer(t.Context(), "SIG_default", journal.RecorderName); err != nil {
			t.Fatal(err)
		}
	}
}

func TestWhatIsNotASignalIsPassedOver(t *testing.T) {
	t.Parallel()
	j, nc := setup(t)
	for _, body := range []string{"", "not json", `{"specversion":"1.0"}`} {
		if _, err := nc.Request("sig.default.x", []byte(body), time.Second); err != nil {
			t.Fatal(err)
		}
	}
	publish(t, nc, newSignal(t, "a"))
	follow(t, j)
	wait(t, j)
	if _, err := j.Get(t.Context(), "a"); err != nil {
		t.Error(err)
	}
}

func TestClosedJournal(t *testing.T) {
	t.Parallel()
	nc := connect(t, server(t, embed.Fast))
	j, err := journal.Open(t.Context(), nc)
	if err != nil {
		t.Fatal(err)
	}
	j.Close()
	j.Close()
	if err := j.Record(t.Context(), newSignal(t, "a"), ""); !fault.Is(err, fault.Unavailable) {
		t.Errorf("Record after Close = %v, want Unavailable", err)
	}
}

func TestContextEndsLookups(t *testing.T) {
	t.Parallel()
	j, _ := setup(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := j.Get(ctx, "a"); !fault.Is(err, fault.Unavailable) {
		t.Errorf("Get with a context that has ended = %v, want Unavailable", err)
	}
	if err := j.Record(ctx, newSignal(t, "a"), ""); !fault.Is(err, fault.Unavailable) {
		t.Errorf("Record with a context that has ended = %v, want Unavailable", err)
	}
}
