package node_test

import (
	"fmt"
	"testing"

	"github.com/signalmesh/signalmesh/pkg/bus"
	"github.com/signalmesh/signalmesh/pkg/delivery"
	"github.com/signalmesh/signalmesh/pkg/testkit"
)

// TestRedriveKeepsHistory lets deliveries die at an endpoint that is sick, die once more when
// they are redriven, and arrive when it is well: each at its own target only, with the key
// that it always had, and with all that happened to it in its letter.
func TestRedriveKeepsHistory(t *testing.T) {
	t.Parallel()
	url, sick, well := testkit.Server(t).ClientURL(), testkit.Target(t), testkit.Target(t)
	sick.Answer(503, "not today")
	n := start(t, attached("n1", url, fmt.Sprintf(
		"routes: [{name: orders, on: order.**, retry: {max_attempts: 2, min: 1ms, max: 1ms}, to: [{name: sick, http: {url: %q}}, {name: well, http: {url: %q}}]}]\n",
		sick.URL, well.URL)))
	b, err := bus.Open(t.Context(), testkit.Conn(t), bus.WithoutProvision())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	d := b.DeadLetters()
	letters := func(redrives int) []delivery.Letter {
		var all []delivery.Letter
		for l, err := range d.List(t.Context(), bus.LetterFilter{Kind: delivery.KindRoute, Name: "orders"}) {
			if err != nil {
				t.Fatal(err)
			}
			if len(l.Redrives) == redrives {
				all = append(all, l)
			}
		}
		return all
	}
	const count = 5
	for range count {
		n.send("order.created", `{}`)
	}
	until(t, "the dead letters", func() bool { return len(letters(0)) == count })
	before := letters(0)

	got, err := d.RedriveAll(t.Context(), bus.LetterFilter{Target: "sick"}, "ann", bus.RedriveRate(100))
	if got.Runs != count || err != nil {
		t.Fatalf("RedriveAll() = %+v, %v, want %d that run", got, err, count)
	}
	until(t, "the dead letters again", func() bool { return len(letters(1)) == count })
	for _, l := range letters(1) {
		r := l.Redrives[0]
		if r.By != "ann" || r.Attempts != 2 || r.Reason != delivery.ReasonAttempts || r.Error == "" || r.At.IsZero() {
			t.Errorf("redrive of %s = %+v, want two attempts before ann", l.ID, r)
		}
		if len(l.Attempts) != 2 || l.Attempts[0].Status != 503 || l.Attempts[0].Response != "not today" || l.Attempts[0].At.Before(r.At) {
			t.Errorf("attempts of %s = %+v, want the two of the redrive", l.ID, l.Attempts)
		}
	}
	first := map[string]delivery.Letter{}
	for _, l := range before {
		first[l.ID] = l
	}
	for _, l := range letters(1) {
		if was, ok := first[l.ID]; !ok || !was.FirstAt.Equal(l.FirstAt) || was.Sequence != l.Sequence || was.Fingerprint != l.Fingerprint {
			t.Errorf("letter %s first at %s, want it to be one of before", l.ID, l.FirstAt)
		}
	}

	sick.Answer(204, "")
	if got, err := d.RedriveAll(t.Context(), bus.LetterFilter{}, "bob"); got.Runs != count || err != nil {
		t.Fatalf("RedriveAll() = %+v, %v, want %d that run", got, err, count)
	}
	keys := map[string]int{}
	for _, r := range sick.Wait(5*count, patience) {
		keys[r.Header.Get("Idempotency-Key")]++
	}
	if len(keys) != count || keys[""] > 0 {
		t.Errorf("requests by key = %v, want 5 for each of %d keys", keys, count)
	}
	until(t, "no dead letters", func() bool { return len(letters(0))+len(letters(1))+len(letters(2)) == 0 })
	if got := well.Requests(); len(got) != count {
		t.Errorf("the other target got %d requests, want %d", len(got), count)
	}
	n.end()
}
