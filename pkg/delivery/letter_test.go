package delivery_test

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/signalmesh/signalmesh/pkg/delivery"
	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

var day = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func died(text string, at time.Time) delivery.Result {
	return delivery.Result{
		Status: delivery.Dead, Reason: delivery.ReasonAttempts, Err: fault.Wrap(fault.Unavailable, errors.New(text)),
		Attempts: []delivery.Attempt{
			{Number: 1, At: at, Took: time.Second, Code: fault.Unavailable, Error: text},
			{Number: 2, At: at.Add(time.Minute), Took: time.Second, Code: fault.Unavailable, Error: text, Status: 502},
		},
	}
}

// A letter that is redriven and fails again tells its whole story.
func TestLetterLives(t *testing.T) {
	t.Parallel()
	s, err := signal.New("order.created", 1, signal.WithID("1"), signal.From("/shop"))
	if err != nil {
		t.Fatal(err)
	}
	l := delivery.Letter{ID: "x", Bus: "b", Kind: delivery.KindRoute, Name: "r", Target: "t", Adapter: "http", Signal: s.AppendJSON(nil), Sequence: 7}
	first := l.Died(died("one", day))
	if !first.FirstAt.Equal(day) || !first.LastAt.Equal(day.Add(61*time.Second)) || first.Code != fault.Unavailable || first.Error != "one" {
		t.Errorf("letter = %+v", first)
	}
	if want := delivery.Fingerprint("http", 502, fault.Unavailable, "one"); first.Fingerprint != want {
		t.Errorf("fingerprint = %s, want %s", first.Fingerprint, want)
	}

	req := roundTrip(t, first.Request(day.Add(time.Hour), "ann"))
	if req.Bus != "b" || req.Kind != delivery.KindRoute || req.Name != "r" || req.Target != "t" || req.Sequence != 7 || len(req.Letter.Signal) != 0 {
		t.Errorf("request = %+v", req)
	}
	if got, err := req.Decode(); err != nil || got.ID != "1" {
		t.Errorf("Decode() = %v, %v, want the signal", got, err)
	}
	second := req.Died(died("two", day.Add(2*time.Hour)))
	want := first
	want.Attempts, want.LastAt, want.Error = died("two", day.Add(2*time.Hour)).Attempts, day.Add(2*time.Hour+61*time.Second), "two"
	want.Fingerprint = delivery.Fingerprint("http", 502, fault.Unavailable, "two")
	want.Redrives = []delivery.Redrive{{At: day.Add(time.Hour), By: "ann", Attempts: 2, Code: fault.Unavailable, Error: "one", Reason: delivery.ReasonAttempts}}
	if diff := cmp.Diff(want, second); diff != "" {
		t.Errorf("second letter differs (-want +got):\n%s", diff)
	}
	if len(first.Redrives) != 0 {
		t.Error("the first letter was changed")
	}
	third := roundTrip(t, second).Redriven(day, "bob")
	if len(third.Redrives) != 2 || len(second.Redrives) != 1 {
		t.Errorf("%d and %d redrives, want 2 and 1", len(third.Redrives), len(second.Redrives))
	}
	for range 2 * delivery.MaxKept {
		third = third.Redriven(day, "bob")
	}
	if len(third.Redrives) != delivery.MaxKept {
		t.Errorf("%d redrives are kept, want %d", len(third.Redrives), delivery.MaxKept)
	}
}

func TestLetterWithoutSignal(t *testing.T) {
	t.Parallel()
	_, err := delivery.Letter{}.Decode()
	if !fault.Is(err, fault.NotFound) {
		t.Errorf("Decode() = %v, want code not_found", err)
	}
	if _, err := (delivery.Request{Signal: json.RawMessage(`{"id":1}`)}).Decode(); !fault.Is(err, fault.Invalid) {
		t.Errorf("Decode() = %v, want code invalid", err)
	}
	l := delivery.Request{Bus: "b", Kind: delivery.KindRoute, Name: "r", Sequence: 3}.Died(delivery.Result{Reason: delivery.ReasonCrashLoop, Err: errors.New("x")})
	if l.Sequence != 3 || l.Kind != delivery.KindRoute || l.LastAt.IsZero() || l.Reason != delivery.ReasonCrashLoop {
		t.Errorf("letter = %+v", l)
	}
}

func roundTrip[T any](t *testing.T, v T) (back T) {
	t.Helper()
	text, err := json.Marshal(v)
	if err == nil {
		err = json.Unmarshal(text, &back)
	}
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(v, back); diff != "" {
		t.Errorf("JSON round trip differs (-want +got):\n%s", diff)
	}
	return back
}

func TestVerdictRoundTrip(t *testing.T) {
	t.Parallel()
	roundTrip(t, delivery.Verdict{
		Route: "r", Target: "t", Adapter: "http", Endpoint: "http://x", Revision: 3, Status: delivery.Retrying, Reason: "asleep",
		Attempts: died("one", day).Attempts, At: day, NextAt: day.Add(time.Second), Parked: true, Node: "n", Reply: "s", Letter: "l",
	})
	for s, final := range map[delivery.Status]bool{
		delivery.Delivered: true, delivery.Dead: true, delivery.Unmatched: true, delivery.Expired: true,
		delivery.Retrying: false, delivery.Stopped: false, "": false,
	} {
		if s.Final() != final {
			t.Errorf("%q.Final() = %t, want %t", s, s.Final(), final)
		}
	}
}

func TestFingerprint(t *testing.T) {
	t.Parallel()
	base := delivery.Fingerprint("http", 502, fault.Unavailable, `dial tcp 10.0.0.7:4242: no such "alpha" (id 018f-aa)`)
	same := delivery.Fingerprint("http", 502, fault.Unavailable, `dial tcp 10.1.20.9:80: no such "beta gamma" (id 9)`)
	if base != same || len(base) != 12 {
		t.Errorf("fingerprints %s and %s of failures that look alike, want one of 12 digits", base, same)
	}
	for name, other := range map[string]string{
		"adapter": delivery.Fingerprint("webhook", 502, fault.Unavailable, `dial tcp 10.0.0.7:4242: no such "alpha" (id 018f-aa)`),
		"status":  delivery.Fingerprint("http", 503, fault.Unavailable, `dial tcp 10.0.0.7:4242: no such "alpha" (id 018f-aa)`),
		"code":    delivery.Fingerprint("http", 502, fault.Internal, `dial tcp 10.0.0.7:4242: no such "alpha" (id 018f-aa)`),
		"text":    delivery.Fingerprint("http", 502, fault.Unavailable, `dial udp 10.0.0.7:4242: no such "alpha" (id 018f-aa)`),
	} {
		if other == base {
			t.Errorf("another %s has the same fingerprint", name)
		}
	}
}
