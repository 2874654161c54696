package bus_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/signalmesh/signalmesh/pkg/bus"
	"github.com/signalmesh/signalmesh/pkg/delivery"
	"github.com/signalmesh/signalmesh/pkg/embed"
	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

func letters(tb testing.TB, b *bus.Bus, f bus.LetterFilter) []delivery.Letter {
	tb.Helper()
	var all []delivery.Letter
	for l, err := range b.DeadLetters().List(context.Background(), f) {
		if err != nil {
			tb.Fatal(err)
		}
		all = append(all, l)
	}
	return all
}

func TestDeadLetter(t *testing.T) {
	t.Parallel()
	b := open(t, bus.WithNode("n1"))
	calls := make(chan bool, 10)
	sub := subscribe(t, b, "a", func(context.Context, *signal.Signal) error {
		calls <- true
		return fault.Wrap(fault.Exhausted, errors.New("no room at 10.0.0.7:4242"))
	}, bus.Durable("d"), bus.MaxAttempts(3), bus.Backoff(time.Millisecond, time.Millisecond))
	began := time.Now()
	s := make1(t, "a", map[string]int{"n": 1})
	publish(t, b, s)
	until(t, "dead letter", func() bool { return sub.Stats().Dead == 1 })
	if len(calls) != 3 {
		t.Errorf("handler was called %d times, want 3", len(calls))
	}
	all := letters(t, b, bus.LetterFilter{})
	if len(all) != 1 {
		t.Fatalf("%d dead letters, want 1", len(all))
	}
	l := all[0]
	want := delivery.Letter{
		ID: l.ID, Bus: "default", Kind: delivery.KindSubscription, Name: "d", Signal: s.AppendJSON(nil), Sequence: 1,
		Code: fault.Exhausted, Error: "no room at 10.0.0.7:4242", Reason: delivery.ReasonAttempts,
		Fingerprint: delivery.Fingerprint("", 0, fault.Exhausted, "no room at 10.0.0.8:1111"), Node: "n1",
	}
	ignore := cmpopts.IgnoreFields(delivery.Letter{}, "Attempts", "FirstAt", "LastAt")
	if diff := cmp.Diff(want, l, ignore); diff != "" {
		t.Errorf("letter differs (-want +got):\n%s", diff)
	}
	if l.FirstAt.Before(began) || l.LastAt.Before(l.FirstAt) || time.Since(l.LastAt) < 0 {
		t.Errorf("first at %s, last at %s, published at %s", l.FirstAt, l.LastAt, began)
	}
	for i, a := range l.Attempts {
		if a.Number != i+1 || a.Node != "n1" || a.Code != fault.Exhausted || a.Error != want.Error {
			t.Errorf("attempt %d = %+v", i+1, a)
		}
	}
	if got, err := l.Decode(); err != nil || !cmp.Equal(got, s) {
		t.Errorf("Decode() = %v, %v, want the signal", got, err)
	}
	until(t, "the signal to have an outcome", func() bool {
		infos, err := b.Subscriptions(t.Context())
		return err == nil && infos[0].Position == 1
	})

	// A plain tool finds it, too.
	raw, err := b.Conn().Request("$JS.API.STREAM.MSG.GET.SIG_default_DLQ", []byte(`{"last_by_subj":"sig-dlq.default.subscription.d.*"}`), time.Second)
	if err != nil {
		t.Fatal(err)
	}
	var answer struct{ Message struct{ Data []byte } }
	if err := json.Unmarshal(raw.Data, &answer); err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(answer.Message.Data, []byte(`"signal":{"specversion":"1.0"`)) {
		t.Errorf("document = %s", answer.Message.Data)
	}
}

func TestPermanent(t *testing.T) {
	t.Parallel()
	b := open(t)
	sub := subscribe(t, b, "a", func(context.Context, *signal.Signal) error {
		return fault.Permanent(errors.New("never"))
	}, bus.Durable("d"))
	publish(t, b, make1(t, "a", 1))
	until(t, "dead letter", func() bool { return sub.Stats().Dead == 1 })
	if l := letters(t, b, bus.LetterFilter{})[0]; l.Reason != delivery.ReasonPermanent || len(l.Attempts) != 1 {
		t.Errorf("reason %s after %d attempts, want permanent after 1", l.Reason, len(l.Attempts))
	}
}

// Nothing is acknowledged before its dead letter is stored.
func TestNoLetterNoAck(t *testing.T) {
	t.Parallel()
	b := open(t)
	js := b.JetStream()
	stream, err := js.Stream(t.Context(), "SIG_default_DLQ")
	if err != nil {
		t.Fatal(err)
	}
	cfg := stream.CachedInfo().Config
	if err := js.DeleteStream(t.Context(), cfg.Name); err != nil {
		t.Fatal(err)
	}
	tried := make(chan bool, 10)
	sub := subscribe(t, b, "a", func(context.Context, *signal.Signal) error {
		tried <- true
		return fault.Permanent(errors.New("never"))
	}, bus.Durable("d"))
	publish(t, b, make1(t, "a", 1))
	await(t, tried, "attempt")
	quiet(t, tried, 300*time.Millisecond, "another attempt")
	if infos, err := b.Subscriptions(t.Context()); err != nil || infos[0].InFlight != 1 {
		t.Errorf("Subscriptions() = %+v, %v, want one signal in flight", infos, err)
	}
	if _, err := js.CreateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	until(t, "dead letter", func() bool { return sub.Stats().Dead == 1 })
	if n := len(letters(t, b, bus.LetterFilter{})); n != 1 {
		t.Errorf("%d dead letters, want 1", n)
	}
}

func TestEphemeralHasNoLetters(t *testing.T) {
	t.Parallel()
	b := open(t)
	sub := subscribe(t, b, "a", func(context.Context, *signal.Signal) error {
		return fault.Permanent(errors.New("never"))
	})
	publish(t, b, make1(t, "a", 1))
	until(t, "the signal to be given up", func() bool { return sub.Stats().Dead == 1 })
	if n := len(letters(t, b, bus.LetterFilter{})); n != 0 {
		t.Errorf("%d dead letters, want none", n)
	}
}

// What was delivered again and again without an outcome is not tried any more.
func TestCrashLoop(t *testing.T) {
	t.Parallel()
	srv := serve(t, embed.Fast)
	b := join(t, srv)
	entered := make(chan bool, 100)
	got := make(chan *signal.Signal, 10)
	crash := func(ctx context.Context, s *signal.Signal) error {
		if string(s.Data) != "1" {
			got <- s
			return nil
		}
		entered <- true
		<-ctx.Done() // the end of the process, as far as the bus can tell
		return ctx.Err()
	}
	calls := 0
	for range 100 {
		sub := subscribe(t, b, "a", crash, bus.Durable("d"), bus.MaxAttempts(2))
		if calls == 0 {
			publish(t, b, several(t, "a", 3)...)
		}
		select {
		case <-entered:
			calls++
			sub.Stop()
			await(t, sub.Done(), "the end")
			continue
		case <-await2(t, b):
		}
		break
	}
	if calls != 5 {
		t.Errorf("the handler was called %d times, want 2 attempts and 3 more", calls)
	}
	for range 2 {
		await(t, got, "the innocent")
	}
	l := letters(t, b, bus.LetterFilter{})[0]
	if l.Reason != delivery.ReasonCrashLoop || l.Sequence != 1 || l.LastAt.IsZero() {
		t.Errorf("letter = %s of signal %d at %s, want crash_loop of 1", l.Reason, l.Sequence, l.LastAt)
	}
}

// await2 says when there is a dead letter.
func await2(t *testing.T, b *bus.Bus) <-chan bool {
	c := make(chan bool, 1)
	go func() {
		for end := time.Now().Add(patience); time.Now().Before(end); {
			if last, err := b.JetStream().Stream(context.Background(), "SIG_default_DLQ"); err == nil && last.CachedInfo().State.Msgs > 0 {
				c <- true
				return
			}
			select {
			case <-t.Context().Done():
				return
			case <-time.After(10 * time.Millisecond):
			}
		}
	}()
	return c
}

func TestRedrive(t *testing.T) {
	t.Parallel()
	srv := serve(t, embed.Fast)
	b := join(t, srv)
	var healthy atomic.Bool
	handled := make(chan bus.Place, 10)
	sub := subscribe(t, b, "a", func(ctx context.Context, s *signal.Signal) error {
		if !healthy.Load() {
			return errors.New("sick")
		}
		p, _ := bus.Position(ctx)
		handled <- p
		return nil
	}, bus.Durable("d"), bus.MaxAttempts(2), bus.Backoff(1, 1))
	others := make(chan *signal.Signal, 10)
	subscribe(t, b, "a", to(others), bus.Durable("other"))
	publish(t, b, make1(t, "a", 1))
	await(t, others, "the other subscription")
	until(t, "dead letter", func() bool { return sub.Stats().Dead == 1 })
	first := letters(t, b, bus.LetterFilter{})[0]

	if err := b.DeadLetters().Redrive(t.Context(), first.ID, "ann"); err != nil {
		t.Fatal(err)
	}
	until(t, "dead letter again", func() bool { return sub.Stats().Dead == 2 })
	second := letters(t, b, bus.LetterFilter{})[0]
	if second.ID != first.ID || len(second.Redrives) != 1 || second.FirstAt != first.FirstAt || second.Sequence != 1 {
		t.Errorf("after a redrive that failed: id %s, first at %s, %d redrives; want %s, %s, 1", second.ID, second.FirstAt, len(second.Redrives), first.ID, first.FirstAt)
	}
	if r := second.Redrives[0]; r.By != "ann" || r.Attempts != 2 || r.Error != "sick" || r.Reason != delivery.ReasonAttempts || r.At.IsZero() {
		t.Errorf("redrive = %+v", r)
	}
	healthy.Store(true)
	done, err := b.DeadLetters().RedriveAll(t.Context(), bus.LetterFilter{Kind: delivery.KindSubscription, Name: "d"}, "bob")
	if done.Runs != 1 || done.Kept != 0 || err != nil {
		t.Errorf("RedriveAll() = %+v, %v, want one that runs", done, err)
	}
	if p := await(t, handled, "the redriven signal"); p.Sequence != 1 || p.Attempt != 1 {
		t.Errorf("redriven at %+v, want sequence 1, attempt 1", p)
	}
	if n := len(letters(t, b, bus.LetterFilter{})); n != 0 {
		t.Errorf("%d dead letters after the redrive, want none", n)
	}
	until(t, "the request to be gone", func() bool {
		s, err := b.JetStream().Stream(t.Context(), "SIG_default_LATER")
		return err == nil && s.CachedInfo().State.Msgs == 0
	})
	quiet(t, others, 100*time.Millisecond, "the other subscription got it again")

	wantCode(t, b.DeadLetters().Redrive(t.Context(), first.ID, ""), fault.NotFound)
	wantCode(t, b.DeadLetters().Redrive(t.Context(), "a.b", ""), fault.NotFound)
}

// A request waits for its subscription.
func TestRedriveWhileNobodyIsThere(t *testing.T) {
	t.Parallel()
	b := open(t)
	sick := subscribe(t, b, "a", func(context.Context, *signal.Signal) error { return fault.Permanent(errors.New("sick")) }, bus.Durable("d"))
	publish(t, b, make1(t, "a", 1))
	until(t, "dead letter", func() bool { return sick.Stats().Dead == 1 })
	if err := sick.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	if done, err := b.DeadLetters().RedriveAll(t.Context(), bus.LetterFilter{}, ""); done.Runs != 1 || err != nil {
		t.Fatalf("RedriveAll() = %+v, %v, want one that runs", done, err)
	}
	got := make(chan *signal.Signal, 1)
	subscribe(t, b, "a", to(got), bus.Durable("d"))
	await(t, got, "the redriven signal")
}

func TestListLetters(t *testing.T) {
	t.Parallel()
	b := open(t)
	d := b.DeadLetters()
	var stamp []time.Time
	for i := range 1200 { // more than two pages
		l := delivery.Letter{Kind: delivery.KindRoute, Name: "r", Target: "t", Reason: delivery.ReasonAttempts, Sequence: uint64(i + 1)}
		if i%3 == 1 {
			l.Name, l.Fingerprint = "other", "f"
		}
		if i%3 == 2 {
			l.Kind, l.Name, l.Reason = delivery.KindSubscription, "s", delivery.ReasonPermanent
		}
		l.LastAt = time.Now()
		stamp = append(stamp, l.LastAt)
		if err := d.Write(t.Context(), l); err != nil {
			t.Fatal(err)
		}
	}
	sequences := func(f bus.LetterFilter) string {
		var all []string
		for _, l := range letters(t, b, f) {
			if all = append(all, fmt.Sprint(l.Sequence)); len(all) > 3 {
				return strings.Join(all[:3], " ") + " ..."
			}
		}
		return strings.Join(all, " ")
	}
	tests := map[string]struct {
		filter bus.LetterFilter
		want   string
	}{
		"all":          {bus.LetterFilter{}, "1 2 3 ..."},
		"newest":       {bus.LetterFilter{Newest: true}, "1200 1199 1198 ..."},
		"limit":        {bus.LetterFilter{Limit: 2}, "1 2"},
		"newest limit": {bus.LetterFilter{Newest: true, Limit: 2, Kind: delivery.KindRoute}, "1199 1198"},
		"name":         {bus.LetterFilter{Kind: delivery.KindRoute, Name: "other"}, "2 5 8 ..."},
		"kind":         {bus.LetterFilter{Kind: delivery.KindSubscription}, "3 6 9 ..."},
		"fingerprint":  {bus.LetterFilter{Fingerprint: "f"}, "2 5 8 ..."},
		"reason":       {bus.LetterFilter{Reason: delivery.ReasonPermanent, Newest: true}, "1200 1197 1194 ..."},
		"target":       {bus.LetterFilter{Target: "none"}, ""},
		"since":        {bus.LetterFilter{Since: stamp[1198]}, "1199 1200"},
		"newest since": {bus.LetterFilter{Since: stamp[1198], Newest: true}, "1200 1199"},
	}
	for name, test := range tests {
		if got := sequences(test.filter); got != test.want {
			t.Errorf("%s: %s, want %s", name, got, test.want)
		}
	}
	if n := len(letters(t, b, bus.LetterFilter{Newest: true})); n != 1200 {
		t.Errorf("%d letters newest first, want 1200", n)
	}
}

func TestWriteLetter(t *testing.T) {
	t.Parallel()
	b := open(t)
	d := b.DeadLetters()
	l := delivery.Letter{Kind: delivery.KindRoute, Name: "r", Reason: delivery.ReasonAttempts, Sequence: 7, Error: "one"}
	for range 3 { // a repeat is no other
		if err := d.Write(t.Context(), l); err != nil {
			t.Fatal(err)
		}
	}
	all := letters(t, b, bus.LetterFilter{})
	if len(all) != 1 || all[0].ID == "" || all[0].Bus != "default" {
		t.Fatalf("letters = %+v, want one with an id", all)
	}
	got, err := d.Get(t.Context(), all[0].ID)
	if diff := cmp.Diff(all[0], got); err != nil || diff != "" {
		t.Errorf("Get() differs (-want +got): %v\n%s", err, diff)
	}
	again := all[0].Redriven(time.Now(), "ann") // and one with more history takes its place
	again.Error = "two"
	if err := d.Write(t.Context(), again); err != nil {
		t.Fatal(err)
	}
	if all := letters(t, b, bus.LetterFilter{}); len(all) != 1 || all[0].Error != "two" || len(all[0].Redrives) != 1 {
		t.Errorf("letters = %+v, want the later one", all)
	}
	if err := d.Discard(t.Context(), again.ID); err != nil {
		t.Fatal(err)
	}
	wantCode(t, d.Discard(t.Context(), again.ID), fault.NotFound)
	_, err = d.Get(t.Context(), again.ID)
	wantCode(t, err, fault.NotFound)
	wantCode(t, d.Write(t.Context(), delivery.Letter{Kind: delivery.KindRoute}), fault.Invalid)
	wantCode(t, d.Write(t.Context(), delivery.Letter{Kind: delivery.KindRoute, Name: "r", ID: "a.*"}), fault.Invalid)
	if err := d.Write(t.Context(), l); err != nil { // what was discarded may come again
		t.Fatal(err)
	}
	wantCode(t, d.Redrive(t.Context(), "nothing", ""), fault.NotFound)
}

// A letter that is larger than a message leaves out what can be found elsewhere.
func TestLargeLetter(t *testing.T) {
	t.Parallel()
	b := open(t)
	var healthy atomic.Bool
	handled := make(chan *signal.Signal, 1)
	sub := subscribe(t, b, "a", func(_ context.Context, s *signal.Signal) error {
		if healthy.Load() {
			handled <- s
			return nil
		}
		return fault.Permanent(errors.New("never"))
	}, bus.Durable("d"))
	s := make1(t, "a", strings.Repeat("x", embed.DefaultMaxPayload-3000))
	publish(t, b, s)
	until(t, "dead letter", func() bool { return sub.Stats().Dead == 1 })
	l := letters(t, b, bus.LetterFilter{})[0]
	if len(l.Signal) != 0 || l.Sequence != 1 || len(l.Attempts) != 1 {
		t.Errorf("letter carries %d bytes, sequence %d, %d attempts; want 0, 1, 1", len(l.Signal), l.Sequence, len(l.Attempts))
	}
	healthy.Store(true)
	if err := b.DeadLetters().Redrive(t.Context(), l.ID, ""); err != nil {
		t.Fatal(err)
	}
	if got := await(t, handled, "the redriven signal"); !bytes.Equal(got.Data, s.Data) {
		t.Errorf("redriven with %d bytes, want %d", len(got.Data), len(s.Data))
	}
}

func TestLater(t *testing.T) {
	t.Parallel()
	b := open(t)
	s := make1(t, "a", 1)
	req := delivery.Request{Kind: delivery.KindRoute, Name: "r", Target: "t", Signal: s.AppendJSON(nil), First: 3}
	type arrival struct {
		req delivery.Request
		at  time.Time
	}
	got := make(chan arrival, 10)
	c, err := b.Consume(t.Context(), bus.ConsumeConfig{Durable: "routes", Later: delivery.KindRoute}, func(m *bus.Message) {
		var r delivery.Request
		if err := json.Unmarshal(m.Body, &r); err != nil || m.Signal != nil || m.DecodeErr != nil {
			t.Errorf("message = %+v, %v", m, err)
		}
		if err := m.Ack(); err != nil {
			t.Error(err)
		}
		got <- arrival{r, time.Now()}
	})
	if err != nil {
		t.Fatal(err)
	}
	due := time.Now().Add(1300 * time.Millisecond)
	for range 2 { // one id is one request
		if err := b.Later(t.Context(), "x", req, due); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Later(t.Context(), "y", req, time.Now()); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if a := await(t, got, "what is due at once"); a.at.Sub(began) > time.Second {
		t.Errorf("what is due at once came after %s", a.at.Sub(began))
	}
	a := await(t, got, "what is due later")
	if a.at.Before(due) || a.at.Sub(due) > time.Second {
		t.Errorf("request came %s after it was due", a.at.Sub(due))
	}
	req.Bus = "default"
	if diff := cmp.Diff(req, a.req); diff != "" {
		t.Errorf("request differs (-want +got):\n%s", diff)
	}
	quiet(t, got, 200*time.Millisecond, "a request too many")
	wantCode(t, b.Later(t.Context(), "z", delivery.Request{}, due), fault.Invalid)
	if err := c.Drain(t.Context()); err != nil {
		t.Errorf("Drain() = %v", err)
	}
}
