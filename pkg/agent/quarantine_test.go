package agent_test

import (
	"cmp"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/signalmesh/signalmesh/pkg/delivery"
	"github.com/signalmesh/signalmesh/pkg/fault"
)

// send puts a message into a stream as any NATS client may.
func (w *world) send(m *nats.Msg) {
	w.Helper()
	if _, err := w.bus.JetStream().PublishMsg(w.Context(), m); err != nil {
		w.Fatal(err)
	}
}

func TestWhatIsNoSignalIsQuarantinedOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const routes = `[{name: r, on: "**", to: [probe: {id: a}]}]`
	a := w.run(routes)
	w.send(&nats.Msg{Subject: "sig.default.order.created", Data: []byte("garbage"), Header: nats.Header{"X-By": {"hand"}}})
	w.send(&nats.Msg{Subject: "sig.default.order.created", Data: []byte(`{"specversion":"1.0"}`)})
	s := w.publish("order.created", nil)
	w.idle()
	if got := w.probe("a").only(1)[0].s.ID; got != s.ID {
		t.Errorf("delivered %s, want %s", got, s.ID)
	}
	letters := w.letters()
	if len(letters) != 2 {
		t.Fatalf("%d dead letters, want 2", len(letters))
	}
	// They were written side by side, in whatever order.
	slices.SortFunc(letters, func(a, b delivery.Letter) int { return cmp.Compare(a.Sequence, b.Sequence) })
	for i, l := range letters {
		if l.Kind != delivery.KindSignal || l.Reason != delivery.ReasonUndecodable || l.Sequence != uint64(i)+1 || l.Code != fault.Invalid || l.Node != "n1" || l.LastAt.IsZero() {
			t.Errorf("letter = %+v", l)
		}
	}
	if l := letters[0]; string(l.Raw) != "garbage" || l.Header["X-By"][0] != "hand" {
		t.Errorf("the letter holds %q with %v", l.Raw, l.Header)
	}
	// Whoever takes them over does not write them again.
	if err := a.stop(); err != nil {
		t.Fatal(err)
	}
	if err := w.bus.JetStream().DeleteConsumer(t.Context(), "SIG_default", "routes"); err != nil {
		t.Fatal(err)
	}
	w.run(routes)
	w.idle()
	if n := len(w.letters()); n != 2 {
		t.Errorf("%d dead letters after a takeover, want 2", n)
	}
	w.probe("a").only(1)
}

// The same for requests: also at the sequence of a quarantined signal, and whatever can be
// read of them.
func TestRequestsThatCannotBeRead(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.run(`[{name: r, on: "**", to: [probe: {id: a}]}]`)
	w.send(&nats.Msg{Subject: "sig.default.x", Data: []byte("no signal")})
	run := w.bus.Space().Later("default", "route", "r")
	w.send(&nats.Msg{Subject: run, Data: []byte("no request")})
	w.send(&nats.Msg{Subject: run, Data: []byte(`{"kind":"route","name":"r","target":"probe","signal":{"id":"x"}}`)})
	w.idle()
	var got []string
	for _, l := range w.letters() {
		got = append(got, string(l.Kind)+" "+l.Name+" "+string(l.Reason)+" "+string(l.Raw))
	}
	want := "signal undecodable undecodable no signal\nsignal undecodable undecodable no request\nroute r permanent "
	if text := strings.Join(got, "\n"); !sameLines(text, want) {
		t.Errorf("dead letters are\n%s\nwant\n%s", text, want)
	}
	w.probe("a").only(0)
}

func sameLines(a, b string) bool {
	count := map[string]int{}
	for _, l := range strings.Split(a, "\n") {
		count[l]++
	}
	for _, l := range strings.Split(b, "\n") {
		count[l]--
	}
	for _, n := range count {
		if n != 0 {
			return false
		}
	}
	return true
}
