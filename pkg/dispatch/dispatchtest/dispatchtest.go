// Package dispatchtest is the suite that every adapter passes: what package dispatch
// promises to those who call adapters, as tests.
//
// An adapter's test gives [Run] a function that starts the other side, a server that
// records what arrives, and says what that side can do:
//
//	dispatchtest.Run(t, func(t *testing.T) *dispatchtest.Subject {
//		srv := startServer(t)
//		return &dispatchtest.Subject{
//			Adapter:  "queue",
//			Options:  fmt.Sprintf(`{"url": %q}`, srv.URL),
//			Arrivals: srv.arrivals,
//		}
//	}, dispatchtest.Features{Signals: true})
package dispatchtest

import (
	"context"
	"testing"
	"time"

	"github.com/signalmesh/signalmesh/pkg/dispatch"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

// patience is how long anything that must happen may take.
const patience = 10 * time.Second

// A Subject is an adapter under test together with the other side of it.
type Subject struct {
	Adapter string       // name in the registry
	Options string       // JSON object that reaches the other side
	Env     dispatch.Env // AllowSecrets is set by the suite

	// Registry holds the adapter; nil means dispatch.Default.
	Registry *dispatch.Registry

	// Arrivals gets what reaches the other side. nil when that can't be seen. The suite
	// drains it while it waits; it may be unbuffered.
	Arrivals <-chan Arrival

	// Answer makes the other side answer all that comes like this from now on.
	Answer func(Outcome)

	// Secrets are texts that Options refer to. The other side should repeat them in its
	// answers, to show that they are redacted.
	Secrets []string
}

// An Arrival is one delivery as the other side saw it.
type Arrival struct {
	Signal *signal.Signal // decoded, where the adapter sends the whole signal
	Key    string         // idempotency key, where the adapter passes it on
}

// An Outcome is how the other side answers.
type Outcome int

// The outcomes of [Subject.Answer].
const (
	OK    Outcome = iota // takes the signal
	Busy                 // fails in a way that is worth another try
	Wait                 // fails and asks for 7 seconds of peace
	Never                // fails for good
	Hang                 // does not answer
)

// Features say what an adapter and its other side can do; what is not claimed is not tested.
type Features struct {
	Signals  bool // Arrivals carry the signal
	Keys     bool // Arrivals carry the idempotency key
	Hops     bool // what arrives has one hop more than what was delivered
	Outcomes bool // Answer understands OK, Busy and Never, and a status comes back
	Waits    bool // Answer understands Wait
	Hangs    bool // Answer understands Hang
	Remote   bool // it delivers to somewhere that Endpoint names
}

// Run tests an adapter. open is called once for each subtest, with the subtest's t. It must
// not run in parallel with other tests, whose goroutines it would take for the adapter's.
func Run(t *testing.T, open func(t *testing.T) *Subject, f Features) {
	t.Helper()
	tests := []struct {
		name string
		on   bool
		run  func(*testing.T, *Subject, Features)
	}{
		{"options are strict", true, strict},
		{"options are documented", true, documented},
		{"secrets are for operators", true, operatorsOnly},
		{"delivers", true, delivers},
		{"data survives", f.Signals, dataSurvives},
		{"deliveries run concurrently", true, concurrent},
		{"the signal is left alone", true, untouched},
		{"a repeat has the same key", f.Keys, sameKey},
		{"a hop is counted", f.Hops, hops},
		{"an ended context ends the attempt", true, ended},
		{"a context that ends, ends the attempt", f.Hangs, cancelled},
		{"outcomes are classified", f.Outcomes, outcomes},
		{"waits are passed on", f.Waits, waits},
		{"secrets stay secret", true, secretsStay},
		{"the endpoint is named", f.Remote, endpoint},
		{"closing twice is closing once", true, closes},
		{"nothing is left behind", true, leavesNothing},
	}
	for _, tt := range tests {
		if tt.on {
			t.Run(tt.name, func(t *testing.T) { tt.run(t, open(t), f) })
		}
	}
}

func (s *Subject) registry() *dispatch.Registry {
	if s.Registry == nil {
		return dispatch.Default
	}
	return s.Registry
}

// adapter opens the adapter for the length of a test.
func (s *Subject) adapter(t *testing.T) dispatch.Adapter {
	t.Helper()
	env := s.Env
	env.AllowSecrets = true
	a, err := s.registry().Open(t.Context(), s.Adapter, []byte(s.Options), env)
	if err != nil {
		t.Fatalf("Open(%s, %s) = %v", s.Adapter, s.Options, err)
	}
	t.Cleanup(func() {
		if err := dispatch.Close(a); err != nil {
			t.Errorf("Close() = %v", err)
		}
	})
	return a
}

// next waits for what arrives next; it is the zero Arrival where arrivals can't be seen.
func (s *Subject) next(t *testing.T) Arrival {
	t.Helper()
	if s.Arrivals == nil {
		return Arrival{}
	}
	select {
	case a := <-s.Arrivals:
		return a
	case <-time.After(patience):
		t.Fatalf("nothing arrived within %s", patience)
		return Arrival{}
	}
}

// answer sets the outcome where it can be set.
func (s *Subject) answer(o Outcome) {
	if s.Answer != nil {
		s.Answer(o)
	}
}

// drop throws away what arrives until the test ends.
func (s *Subject) drop(t *testing.T) {
	t.Helper()
	if s.Arrivals == nil {
		return
	}
	stop, done := make(chan struct{}), make(chan struct{})
	go func() { // ends with the test
		defer close(done)
		for {
			select {
			case <-s.Arrivals:
			case <-stop:
				return
			}
		}
	}()
	t.Cleanup(func() { close(stop); <-done })
}

func newSignal(t *testing.T, typ string, data any, opts ...signal.Option) *signal.Signal {
	t.Helper()
	s, err := signal.New(typ, data, append([]signal.Option{signal.From("/dispatchtest"), signal.About("o-1")}, opts...)...)
	if err != nil {
		t.Fatalf("New(%s) = %v", typ, err)
	}
	return s
}

// attempt gives a delivery its context: a key and an end.
func attempt(t *testing.T, key string, n int) (context.Context, context.CancelFunc) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	return dispatch.WithInfo(ctx, dispatch.Info{Key: key, Bus: "default", Route: "r", Target: "t", Attempt: n, Sequence: 1}), cancel
}

// deliver makes one attempt that must not take longer than it may.
func deliver(t *testing.T, a dispatch.Adapter, s *signal.Signal, key string, n int) error {
	t.Helper()
	ctx, cancel := attempt(t, key, n)
	defer cancel()
	_, err := dispatch.Send(ctx, a, s)
	return err
}
