package agent_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	_ "github.com/signalmesh/signalmesh/pkg/adapter/cehttp"
	_ "github.com/signalmesh/signalmesh/pkg/adapter/webhook"
	"github.com/signalmesh/signalmesh/pkg/agent"
	"github.com/signalmesh/signalmesh/pkg/delivery"
	"github.com/signalmesh/signalmesh/pkg/dispatch"
	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/netguard"
	"github.com/signalmesh/signalmesh/pkg/signal"
	"github.com/signalmesh/signalmesh/pkg/testkit"
)

func TestShortRetriesStayInMemory(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.probe("a").failFirst(2, fault.Newf(fault.Unavailable, "not now"))
	w.run(`[{name: r, on: a, retry: {min: 5ms}, to: [probe: {id: a}]}]`)
	s := w.publish("a", nil)
	w.idle()
	calls := w.probe("a").only(3)
	for i, c := range calls {
		if c.info.Attempt != i+1 || c.info.Key != calls[0].info.Key {
			t.Errorf("attempt %d: %+v, the first had %+v", i+1, c.info, calls[0].info)
		}
	}
	v := w.verdict(s, "r", "probe", delivery.Delivered)
	if got := numbers(v.Attempts); !slices.Equal(got, []int{1, 2, 3}) || v.Attempts[0].Code != fault.Unavailable || v.Attempts[0].Error != "not now" || !v.Attempts[2].OK() {
		t.Errorf("attempts = %+v", v.Attempts)
	}
	if n := w.everParked(); n != 0 {
		t.Errorf("%d deliveries were parked", n)
	}
}

func TestLongWaitsAreParked(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.probe("a").failFirst(2, errBoom)
	w.run(`[{name: r, on: a, retry: {min: 300ms, max: 300ms, jitter: -1}, to: [probe: {id: a}, probe: {id: b}]}]`, hold(10*time.Millisecond))
	s := w.publish("a", map[string]any{"x": 1})

	v := w.verdictThat(s, "r", "probe", "parked", func(v delivery.Verdict) bool { return v.Parked })
	if v.Status != delivery.Retrying || v.NextAt.IsZero() || len(v.Attempts) != 1 {
		t.Errorf("verdict of the parked delivery = %+v", v)
	}
	w.eventually("the signal is settled", func() bool { return w.unsettled() == 0 })
	if n := w.parked(); n != 1 {
		t.Errorf("%d requests wait, want 1", n)
	}
	w.probe("a").wait(3)
	v = w.verdict(s, "r", "probe", delivery.Delivered)
	calls := w.probe("a").only(3)
	for i, c := range calls {
		if c.info != (dispatch.Info{Key: calls[0].info.Key, Bus: "default", Route: "r", Target: "probe", Attempt: i + 1, Sequence: 1}) {
			t.Errorf("attempt %d: %+v", i+1, c.info)
		}
		if i > 0 {
			if wait := c.at.Sub(calls[i-1].at); wait < 300*time.Millisecond || wait > 2*time.Second {
				t.Errorf("attempt %d came %s after the one before, want 300ms", i+1, wait)
			}
		}
		if !cmp.Equal(c.s.Data, s.Data) || c.s.ID != s.ID || c.s.Source != s.Source {
			t.Errorf("attempt %d got %+v", i+1, c.s)
		}
	}
	if got := numbers(v.Attempts); !slices.Equal(got, []int{1, 2, 3}) || v.Parked || !v.NextAt.IsZero() {
		t.Errorf("verdict = %+v", v)
	}
	w.idle()
	w.probe("b").only(1) // the other target of the route is not delivered to again
	if n := w.parked(); n != 0 {
		t.Errorf("%d requests are left", n)
	}
}

func hold(d time.Duration) func(*agent.Config) { return func(c *agent.Config) { c.Hold = d } }

func TestRetryAfterIsWaitedFor(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.probe("a").failFirst(1, fault.RetryAfter(250*time.Millisecond, errBoom))
	w.run(`[{name: r, on: a, retry: {min: 1ms, max: 2ms}, to: [probe: {id: a}]}]`)
	w.publish("a", nil)
	calls := w.probe("a").wait(2)
	if wait := calls[1].at.Sub(calls[0].at); wait < 250*time.Millisecond {
		t.Errorf("the second attempt came after %s, want 250ms", wait)
	}
}

// A request that comes twice, or that somebody was faster with, does not deliver twice.
func TestRequestThatIsDoneIsPassedOver(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.probe("a").failFirst(1, errBoom)
	w.run(`[{name: r, on: a, retry: {min: 100ms}, to: [probe: {id: a}]}]`, hold(time.Millisecond))
	s := w.publish("a", nil)
	w.verdict(s, "r", "probe", delivery.Delivered)
	req := delivery.Request{Kind: delivery.KindRoute, Name: "r", Target: "probe", Signal: s.AppendJSON(nil), Sequence: 1, First: 2}
	for i := range 3 {
		if err := w.bus.Later(t.Context(), fmt.Sprint("again", i), req, time.Time{}); err != nil {
			t.Fatal(err)
		}
	}
	w.idle()
	w.probe("a").only(2)
}

func TestDeadLetterTellsTheWholeStory(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	err := dispatch.Fail(fault.Newf(fault.Unavailable, "status 503"), 503, []byte("come back later"))
	w.probe("a").fail(err)
	w.run(`[{name: r, on: a, retry: {max_attempts: 3, min: 1ms}, to: [{name: crm, probe: {id: a}}]}]`)
	s := w.publish("a", map[string]any{"x": 1}, signal.About("o-1"))
	w.idle()
	v := w.verdict(s, "r", "crm", delivery.Dead)
	l := w.letter()
	key := w.probe("a").only(3)[0].info.Key
	if v.Letter != l.ID || l.ID != key || v.Reason != "attempts: status 503" {
		t.Errorf("verdict = %+v, letter %s, key %s", v, l.ID, key)
	}
	if l.Bus != "default" || l.Kind != delivery.KindRoute || l.Name != "r" || l.Target != "crm" || l.Adapter != "probe" ||
		l.Sequence != 1 || l.Revision != 1 || l.Node != "n1" || l.Reason != delivery.ReasonAttempts ||
		l.Code != fault.Unavailable || l.Error != "status 503" || l.Fingerprint == "" || l.FirstAt.IsZero() || l.LastAt.Before(l.FirstAt) {
		t.Errorf("letter = %+v", l)
	}
	if diff := cmp.Diff(v.Attempts, l.Attempts); diff != "" || len(l.Attempts) != 3 {
		t.Errorf("attempts of verdict and letter differ:\n%s", diff)
	}
	for i, a := range l.Attempts {
		if a.Number != i+1 || a.Status != 503 || a.Response != "come back later" || a.Code != fault.Unavailable || a.Node != "n1" || a.At.IsZero() {
			t.Errorf("attempt = %+v", a)
		}
	}
	if got, err := l.Decode(); err != nil || got.ID != s.ID || got.Subject != "o-1" || string(got.Data) != `{"x":1}` {
		t.Errorf("signal of the letter = %+v, %v", got, err)
	}
}

func TestPermanentFailureIsDeadAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.probe("a").fail(fault.Permanent(fault.Newf(fault.NotFound, "gone")))
	w.run(`[{name: r, on: a, to: [probe: {id: a}]}]`)
	w.publish("a", nil)
	w.idle()
	w.probe("a").only(1)
	if l := w.letter(); l.Reason != delivery.ReasonPermanent || len(l.Attempts) != 1 || l.Code != fault.NotFound {
		t.Errorf("letter = %+v", l)
	}
}

func TestDeadLetterIsStoredBeforeTheSignalIsAcknowledged(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.probe("a").fail(fault.Permanent(errBoom))
	w.run(`[{name: r, on: a, to: [probe: {id: a}]}]`)
	w.idle()
	if err := w.bus.JetStream().DeleteStream(t.Context(), w.bus.Space().DeadStream("default")); err != nil {
		t.Fatal(err)
	}
	s := w.publish("a", nil)
	w.probe("a").wait(1)
	w.eventually("the attempt has failed", func() bool { return w.logged.has("delivery attempt failed") })
	for range 50 { // an acknowledgement would not take as long
		if n := w.unsettled(); n != 1 {
			t.Fatalf("%d signals are unsettled without dead letters, want 1", n)
		}
		if v := w.verdicts(s); len(v) != 0 && v[0].Status == delivery.Dead {
			t.Fatalf("verdict = %+v before there is a letter", v[0])
		}
	}
	testkit.Bus(t) // makes the stream anew
	w.idle()
	w.letter()
	w.probe("a").only(1)
	w.verdict(s, "r", "probe", delivery.Dead)
}

// Nothing that the store keeps about a delivery, nor the log, holds a secret of its target.
func TestSecretsAreInNoRecord(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	secrets := []string{"t0ken-of-the-endpoint", "key-in-a-header", "whsec_c2lnbmluZy1zZWNyZXQtb2YtdGhlLWhvb2s="}
	refs := make([]any, len(secrets))
	for i, s := range secrets {
		file := filepath.Join(t.TempDir(), "secret")
		if err := os.WriteFile(file, []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
		refs[i] = "file:" + file
	}
	target := testkit.Target(t)
	target.AnswerWith(func(rw http.ResponseWriter, r *http.Request) { // careless with what it gets
		rw.WriteHeader(http.StatusTeapot)
		_ = r.Header.Write(rw)
	})
	w.run(fmt.Sprintf(`
- name: r
  on: a
  to:
    - http: {url: "`+target.URL+`", auth: {bearer: %q}, headers: {X-Key: {ref: %q}}}
    - webhook: {url: "`+target.URL+`", secret: %q}
`, refs...), func(c *agent.Config) {
		c.Registry = dispatch.Default
		c.Env.Guard = netguard.New(netip.MustParsePrefix("127.0.0.0/8"))
	})
	s := w.publish("a", nil)
	w.idle()
	if got := len(w.letters()); got != 2 {
		t.Fatalf("%d dead letters, want 2; logged:\n%s", got, w.logged)
	}
	var kept bytes.Buffer
	for _, doc := range []any{w.letters(), w.verdicts(s)} {
		if err := json.NewEncoder(&kept).Encode(doc); err != nil {
			t.Fatal(err)
		}
	}
	kept.WriteString(w.logged.String())
	for _, secret := range append(secrets, "signing-secret-of-the-hook") {
		if strings.Contains(kept.String(), secret) {
			t.Errorf("the record of the delivery holds %q", secret)
		}
	}
	if !strings.Contains(kept.String(), "Idempotency-Key") {
		t.Errorf("the answer of the endpoint is not in the record:\n%s", &kept)
	}
}

func TestOversizeSignals(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.probe("later").failFirst(1, errBoom)
	w.probe("dead").fail(fault.Permanent(errBoom))
	w.run(`
- {name: waits, on: a, retry: {min: 50ms}, to: [probe: {id: later}]}
- {name: dies, on: a, to: [probe: {id: dead}]}
`, hold(time.Millisecond))
	// As bytes it fits into a message; as JSON, with all around it, it does not.
	data := bytes.Repeat([]byte{0, 1, 2, 0xff}, int(w.bus.Conn().MaxPayload())/5)
	s := w.publish("a", data)
	w.probe("later").wait(2)
	w.idle()
	if got := w.probe("later").only(2)[1].s; !bytes.Equal(got.Data, data) || got.ID != s.ID {
		t.Errorf("the parked delivery came back as %s with %d bytes, want %s with %d", got.ID, len(got.Data), s.ID, len(data))
	}
	l := w.letter()
	if len(l.Signal) != 0 || l.Sequence != 1 || len(l.Attempts) != 1 {
		t.Errorf("letter of %d bytes at %d with %d attempts", len(l.Signal), l.Sequence, len(l.Attempts))
	}
	w.probe("dead").fail(nil)
	if err := w.bus.DeadLetters().Redrive(t.Context(), l.ID, "test"); err != nil {
		t.Fatal(err)
	}
	w.probe("dead").wait(2)
	w.idle()
	if got := w.probe("dead").only(2)[1].s; !bytes.Equal(got.Data, data) {
		t.Errorf("the redriven delivery has %d bytes, want %d", len(got.Data), len(data))
	}
}

// A signal that is too large to travel with its request, and gone from the bus when it is
// due, leaves a letter with its story.
func TestSignalOfARequestIsGone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.run(`[{name: r, on: a, to: [probe: {id: a}]}]`)
	req := delivery.Request{
		Kind: delivery.KindRoute, Name: "r", Target: "probe", Sequence: 7, First: 3,
		Attempts: []delivery.Attempt{{Number: 1, Error: "boom"}, {Number: 2, Error: "boom"}},
	}
	if err := w.bus.Later(t.Context(), "x", req, time.Time{}); err != nil {
		t.Fatal(err)
	}
	w.eventually("there is a letter", func() bool { return len(w.letters()) == 1 })
	w.idle()
	l := w.letter()
	if l.Kind != delivery.KindRoute || l.Name != "r" || l.Target != "probe" || l.Sequence != 7 || len(l.Attempts) != 2 || l.Reason != delivery.ReasonPermanent {
		t.Errorf("letter = %+v", l)
	}
	w.probe("a").only(0)
}

func TestManyLongAnswersStillFit(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	long := strings.Repeat("x", delivery.MaxExcerpt)
	w.probe("a").answer(func(context.Context, call) (*signal.Signal, error) {
		return nil, dispatch.Fail(fmt.Errorf("%s", long), 500, []byte(long))
	})
	var targets []string
	for range 60 {
		targets = append(targets, "probe: {id: a}")
	}
	w.run(`[{name: r, on: a, retry: {max_attempts: 8, min: 1ms, max: 1ms}, to: [` + strings.Join(targets, ", ") + `]}]`)
	s := w.publish("a", nil)
	w.idle()
	w.probe("a").only(60 * 8)
	if n := len(w.letters()); n != 60 {
		t.Errorf("%d dead letters, want 60", n)
	}
	for _, v := range w.verdicts(s) {
		if v.Status != delivery.Dead || len(v.Attempts) == 0 {
			t.Fatalf("verdict of %s = %s with %d attempts", v.Target, v.Status, len(v.Attempts))
		}
	}
}
