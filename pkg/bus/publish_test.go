package bus_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/signalmesh/signalmesh/pkg/bus"
	"github.com/signalmesh/signalmesh/pkg/codec"
	"github.com/signalmesh/signalmesh/pkg/embed"
	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

func TestPublish(t *testing.T) {
	t.Parallel()
	b := open(t)
	s := make1(t, "order.created", map[string]int{"cents": 4200}, signal.About("o-1"), signal.Ext("tenant", "acme"))
	acks, err := b.PublishAck(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]bus.Ack{{ID: s.ID, Bus: "default", Sequence: 1}}, acks); diff != "" {
		t.Errorf("acks differ (-want +got):\n%s", diff)
	}
	e, err := b.Get(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(s, e.Signal); diff != "" {
		t.Errorf("what is stored differs (-want +got):\n%s", diff)
	}
	if e.Sequence != 1 || time.Since(e.Stored) > time.Minute {
		t.Errorf("entry = %d stored %s, want 1 stored now", e.Sequence, e.Stored)
	}
	_, err = b.Get(t.Context(), 2)
	wantCode(t, err, fault.NotFound)

	if acks, err := b.PublishAck(t.Context()); acks != nil || err != nil {
		t.Errorf("Publish of nothing = %v, %v, want nil, nil", acks, err)
	}
}

// What plain NATS tools see.
func TestOnTheWire(t *testing.T) {
	t.Parallel()
	for _, mode := range []codec.Mode{codec.Structured, codec.Binary, codec.Msgpack} {
		t.Run(mode.String(), func(t *testing.T) {
			t.Parallel()
			b := open(t, bus.Encode(mode))
			sub, err := b.Conn().SubscribeSync("sig.default.com.github=2Fpush=20v1")
			if err != nil {
				t.Fatal(err)
			}
			s := make1(t, "com.github/push v1", "data")
			publish(t, b, s)
			m, err := sub.NextMsg(patience)
			if err != nil {
				t.Fatal(err)
			}
			if m.Header.Get("Nats-Msg-Id") == "" {
				t.Error("message has no Nats-Msg-Id")
			}
			got, err := codec.FromNATS(m.Header, m.Data)
			if diff := cmp.Diff(s, got); err != nil || diff != "" {
				t.Errorf("message differs (-want +got): %v\n%s", err, diff)
			}
			if got := replayed(t, b, "com.*"); len(got) != 1 || got[0].Type != s.Type {
				t.Errorf("Replay(com.*) = %v, want the signal", ids(got))
			}
		})
	}
}

func TestPublishInvalid(t *testing.T) {
	t.Parallel()
	b := open(t)
	good := make1(t, "a", 1)
	bad := good.Clone()
	bad.Type = "a..b"
	huge := make1(t, "a", bytes.Repeat([]byte("x"), embed.DefaultMaxPayload))
	tests := map[string]struct {
		signals []*signal.Signal
		code    fault.Code
		text    string
	}{
		"bad type":      {[]*signal.Signal{bad}, fault.Invalid, "publish a..b: "},
		"nil":           {[]*signal.Signal{nil}, fault.Invalid, "publish 1 signals: signal is nil"},
		"one of two":    {[]*signal.Signal{good, bad}, fault.Invalid, "publish 2 signals: signal 1: "},
		"too large":     {[]*signal.Signal{huge}, fault.TooLarge, "publish a: "},
		"large of two":  {[]*signal.Signal{good, huge}, fault.TooLarge, "publish 2 signals: "},
		"too many":      {several(t, "a", bus.MaxBatch+1), fault.TooLarge, "at most 1000 at once"},
		"nil among two": {[]*signal.Signal{good, nil}, fault.Invalid, "signal 1: signal is nil"},
	}
	for name, test := range tests {
		err := b.Publish(t.Context(), test.signals...)
		if !fault.Is(err, test.code) || !strings.Contains(err.Error(), test.text) {
			t.Errorf("%s: error = %v (code %s), want code %s and %q in it", name, err, fault.CodeOf(err), test.code, test.text)
		}
	}
	if last, _ := b.Last(t.Context()); last != 0 {
		t.Errorf("Last() = %d after nothing but errors, want 0", last)
	}
}

func TestDuplicate(t *testing.T) {
	t.Parallel()
	b := open(t)
	s := make1(t, "a", 1)
	publish(t, b, s)
	acks, err := b.PublishAck(t.Context(), s)
	if err != nil || acks[0].Sequence != 1 || !acks[0].Duplicate {
		t.Errorf("second publish = %+v, %v, want sequence 1, a duplicate", acks, err)
	}
	other := s.Clone()
	other.Source = "/other" // identity is the pair
	acks, err = b.PublishAck(t.Context(), other)
	if err != nil || acks[0].Sequence != 2 || acks[0].Duplicate {
		t.Errorf("same id of another source = %+v, %v, want sequence 2, no duplicate", acks, err)
	}
}

func TestCause(t *testing.T) {
	t.Parallel()
	b := open(t)
	cause := make1(t, "order.created", 1)
	cause.EnsureTrace()
	ctx := signal.NewContext(t.Context(), cause)
	plain, own := make1(t, "a", 1), make1(t, "b", 1, signal.Correlate("mine"))
	foreign := make1(t, "c", 1, signal.Ext(signal.ExtCausation, "someone else"))
	if err := b.Publish(ctx, plain, own, foreign, cause); err != nil {
		t.Fatal(err)
	}
	if len(plain.Extensions) > 0 {
		t.Errorf("the given signal was changed: %v", plain.Extensions)
	}
	got := replayed(t, b, "**")
	if s := got[0]; s.Causation() != cause.ID || s.Correlation() != cause.ID || s.Hops() != 1 ||
		s.TraceParent()[:35] != cause.TraceParent()[:35] || s.TraceParent() == cause.TraceParent() {
		t.Errorf("effect has extensions %v", s.Extensions)
	}
	if s := got[1]; s.Causation() != cause.ID || s.Correlation() != "mine" {
		t.Errorf("effect with a correlation of its own has %v", s.Extensions)
	}
	if s := got[2]; s.Causation() != "someone else" || s.Correlation() != "" {
		t.Errorf("signal with another cause has %v", s.Extensions)
	}
	if s := got[3]; s.Causation() != "" || s.Hops() != 0 {
		t.Errorf("a signal became its own effect: %v", s.Extensions)
	}
}

func TestMiddleware(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var log []string
	note := func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		log = append(log, fmt.Sprintf(format, args...))
	}
	outer := func(next signal.Handler) signal.Handler {
		return func(ctx context.Context, s *signal.Signal) error {
			note("before %s", s.Type)
			err := next(ctx, s)
			note("after %s %v", s.Type, err)
			return err
		}
	}
	errNo := errors.New("no")
	inner := func(next signal.Handler) signal.Handler {
		return func(ctx context.Context, s *signal.Signal) error {
			switch s.Type {
			case "drop":
				return nil
			case "refuse":
				return errNo
			case "break":
				s = s.Clone()
				s.Type = ""
			case "change":
				s = s.Clone()
				s.Subject = "changed"
			}
			return next(ctx, s)
		}
	}
	b := open(t, bus.WithMiddleware(outer), bus.WithMiddleware(inner))
	a, c, drop := make1(t, "a", 1), make1(t, "change", 1), make1(t, "drop", 1)
	acks, err := b.PublishAck(t.Context(), a, drop, c)
	if err != nil || acks[0].Sequence != 1 || acks[1].Sequence != 0 || acks[2].Sequence != 2 {
		t.Errorf("acks = %+v, %v, want the sequences 1, 0, 2", acks, err)
	}
	want := []string{"before a", "before drop", "after drop <nil>", "before change", "after change <nil>", "after a <nil>"}
	if diff := cmp.Diff(want, log); diff != "" {
		t.Errorf("middleware ran otherwise (-want +got):\n%s", diff)
	}
	if got := replayed(t, b, "**"); len(got) != 2 || got[1].Subject != "changed" || c.Subject != "" {
		t.Errorf("stored = %v", got)
	}
	if err := b.Publish(t.Context(), make1(t, "a", 2), make1(t, "refuse", 2)); !errors.Is(err, errNo) {
		t.Errorf("refused publish = %v, want %v", err, errNo)
	}
	wantCode(t, b.Publish(t.Context(), make1(t, "break", 1)), fault.Invalid)
	if last, _ := b.Last(t.Context()); last != 2 {
		t.Errorf("Last() = %d, want 2", last)
	}
}

// Many publish at once: groups, on a server that syncs every message.
func TestConcurrentPublish(t *testing.T) {
	t.Parallel()
	b := join(t, serve(t, embed.Sync))
	const writers, each = 64, 20
	var wg sync.WaitGroup
	sequences := make([][]uint64, writers)
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				s := make1(t, "a", fmt.Sprint(w, "-", i))
				for round := range 2 { // every one twice
					acks, err := b.PublishAck(context.Background(), s)
					if err != nil {
						t.Error(err)
						return
					}
					if round == 0 {
						sequences[w] = append(sequences[w], acks[0].Sequence)
					} else if acks[0].Sequence != sequences[w][i] || !acks[0].Duplicate {
						t.Errorf("repeat = %+v, want sequence %d, a duplicate", acks[0], sequences[w][i])
					}
				}
			}
		})
	}
	wg.Wait()
	all := map[string]uint64{}
	for e, err := range b.Entries(t.Context(), "a") {
		if err != nil {
			t.Fatal(err)
		}
		all[string(e.Signal.Data)] = e.Sequence
	}
	if len(all) != writers*each {
		t.Fatalf("%d signals are stored, want %d", len(all), writers*each)
	}
	for w := range writers {
		for i, seq := range sequences[w] {
			if at := all[string(mustJSON(t, fmt.Sprint(w, "-", i)))]; at != seq {
				t.Errorf("signal %d-%d lies at %d, its ack said %d", w, i, at, seq)
			}
		}
	}
}

func mustJSON(t *testing.T, v any) []byte {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// A stream that refuses when it is full pushes back.
func TestFull(t *testing.T) {
	t.Parallel()
	b := open(t)
	stream, err := b.JetStream().Stream(t.Context(), "SIG_default")
	if err != nil {
		t.Fatal(err)
	}
	cfg := stream.CachedInfo().Config
	cfg.MaxMsgs, cfg.Discard = 3, jetstream.DiscardNew
	if _, err := b.JetStream().UpdateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	publish(t, b, several(t, "a", 2)...)
	wantCode(t, b.Publish(t.Context(), several(t, "a", 2)...), fault.Exhausted)
	publish(t, b, make1(t, "a", 3))
	wantCode(t, b.Publish(t.Context(), make1(t, "a", 4)), fault.Exhausted)
	if last, _ := b.Last(t.Context()); last != 3 {
		t.Errorf("Last() = %d, want 3", last)
	}
}

// What is published with plain NATS, as CloudEvents are, is a signal.
func TestPlainPublish(t *testing.T) {
	t.Parallel()
	b := open(t)
	got := make(chan *signal.Signal, 10)
	sub := subscribe(t, b, "order.*", to(got), bus.Durable("d"))
	nc := b.Conn()
	send := func(header nats.Header, body string) {
		t.Helper()
		if err := nc.PublishMsg(&nats.Msg{Subject: "sig.default.order.created", Header: header, Data: []byte(body)}); err != nil {
			t.Fatal(err)
		}
	}
	event := `{"specversion":"1.0","id":"%d","source":"/x","type":"%s","data":{"n":1}}`
	send(nil, fmt.Sprintf(event, 1, "order.created"))
	send(nats.Header{"content-type": {"application/cloudevents+json"}}, fmt.Sprintf(event, 2, "order.created"))
	send(nats.Header{"ce-specversion": {"1.0"}, "ce-id": {"3"}, "ce-source": {"/x"}, "ce-type": {"order.created"}}, `{}`)
	send(nil, "not an event")
	send(nil, fmt.Sprintf(event, 4, "another.type.entirely")) // what counts is its real type
	send(nil, fmt.Sprintf(event, 5, "order.created"))
	for _, want := range []string{"1", "2", "3", "5"} {
		if s := await(t, got, "signal"); s.ID != want {
			t.Errorf("got signal %s, want %s", s.ID, want)
		}
	}
	until(t, "every message to have an outcome", func() bool {
		infos, err := b.Subscriptions(t.Context())
		return err == nil && infos[0].Position == 6
	})
	if st := sub.Stats(); st.Undecodable != 1 || st.Handled != 4 || st.Dead != 0 {
		t.Errorf("Stats() = %+v, want 4 handled and 1 undecodable", st)
	}
	if got := ids(replayed(t, b, "**")); !slices.Equal(got, []string{"1", "2", "3", "4", "5"}) {
		t.Errorf("Replay = %v, want 1 to 5", got)
	}
	_, err := b.Get(t.Context(), 4)
	wantCode(t, err, fault.Invalid)
}
