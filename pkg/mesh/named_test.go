package mesh_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/signalmesh/signalmesh/pkg/embed"
	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/mesh"
	"github.com/signalmesh/signalmesh/pkg/signal"
	"github.com/signalmesh/signalmesh/pkg/subject"
)

var quiet = mesh.WithLogger(slog.New(slog.DiscardHandler))

func portOf(t *testing.T, s *embed.Server) int {
	t.Helper()
	u, err := url.Parse(s.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	_, text, err := net.SplitHostPort(u.Host)
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return port
}

func serve(t *testing.T, nc *nats.Conn, name string, r mesh.Responder, opts ...mesh.ServeOption) *mesh.Named {
	t.Helper()
	n, err := mesh.ServeReply(t.Context(), nc, name, r, append(opts, quiet)...)
	if err != nil {
		t.Fatalf("ServeReply(%s): %v", name, err)
	}
	t.Cleanup(n.Stop)
	return n
}

func newSignal(t *testing.T, typ string, opts ...signal.Option) *signal.Signal {
	t.Helper()
	s, err := signal.New(typ, map[string]int{"n": 1}, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func call(t *testing.T, nc *nats.Conn, name string) (*signal.Signal, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	return mesh.CallNamed(ctx, nc, subject.Space{}, name, newSignal(t, "order.created", signal.WithID("1")))
}

func TestCallNamed(t *testing.T) {
	t.Parallel()
	nc := connect(t, start(t, embed.Config{}))
	seen := make(chan *signal.Signal, 1)
	n, err := mesh.ServeNamed(t.Context(), nc, "billing", func(ctx context.Context, s *signal.Signal) error {
		if _, ok := ctx.Deadline(); !ok {
			t.Error("the handler does not know how long its caller waits")
		}
		if in, ok := signal.FromContext(ctx); !ok || in.ID != s.ID {
			t.Error("the handler's context does not hold the signal")
		}
		seen <- s
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Stop()
	got, err := call(t, nc, "billing")
	if got != nil || err != nil {
		t.Errorf("CallNamed = %v, %v, want nil, nil", got, err)
	}
	if s := <-seen; s.ID != "1" || s.Type != "order.created" || string(s.Data) != `{"n":1}` {
		t.Errorf("the handler saw %+v", s)
	}
}

func TestCallNamedReply(t *testing.T) {
	t.Parallel()
	nc := connect(t, start(t, embed.Config{}))
	serve(t, nc, "echo", func(_ context.Context, s *signal.Signal) (*signal.Signal, error) {
		return signal.New("order.billed", "é € \n", signal.CausedBy(s))
	})
	got, err := call(t, nc, "echo")
	if err != nil {
		t.Fatal(err)
	}
	if got.Type != "order.billed" || got.Causation() != "1" || string(got.Data) != `"é € \n"` {
		t.Errorf("reply = %+v with data %s", got, got.Data)
	}
}

func TestCallNamedErrors(t *testing.T) {
	t.Parallel()
	nc := connect(t, start(t, embed.Config{}))
	for name, tc := range map[string]struct {
		err       error
		code      fault.Code
		permanent bool
		delay     time.Duration
		text      string
	}{
		"plain":     {errors.New("no luck"), fault.Internal, false, 0, "no luck"},
		"coded":     {fault.Newf(fault.NotFound, "order 7"), fault.NotFound, false, 0, "order 7"},
		"permanent": {fault.Permanent(fault.Newf(fault.Invalid, "bad")), fault.Invalid, true, 0, "bad"},
		"later":     {fault.RetryAfter(90*time.Second, errors.New("asleep")), fault.Internal, false, 90 * time.Second, "asleep"},
		"lines":     {errors.New("one\r\ntwo: 3"), fault.Internal, false, 0, "one  two: 3"},
		"long":      {errors.New(strings.Repeat("é", 5000)), fault.Internal, false, 0, "éé..."},
		"not utf-8": {errors.New("a\xffb"), fault.Internal, false, 0, "a?b"},
	} {
		t.Run(name, func(t *testing.T) {
			name := strings.ReplaceAll(name, " ", "_")
			serve(t, nc, name, func(context.Context, *signal.Signal) (*signal.Signal, error) { return nil, tc.err })
			_, err := call(t, nc, name)
			if !fault.Is(err, tc.code) || fault.IsPermanent(err) != tc.permanent || !strings.Contains(err.Error(), tc.text) {
				t.Errorf("CallNamed = %v (%s, permanent %t), want %+v", err, fault.CodeOf(err), fault.IsPermanent(err), tc)
			}
			if got, _ := fault.Delay(err); got != tc.delay {
				t.Errorf("Delay = %s, want %s", got, tc.delay)
			}
		})
	}
}

func TestHandlerPanics(t *testing.T) {
	t.Parallel()
	nc := connect(t, start(t, embed.Config{}))
	serve(t, nc, "oops", func(context.Context, *signal.Signal) (*signal.Signal, error) { panic("boom") })
	for range 2 { // the second call finds it alive
		if _, err := call(t, nc, "oops"); !fault.Is(err, fault.Internal) || !strings.Contains(err.Error(), "panicked: boom") {
			t.Errorf("CallNamed = %v, want the panic as an error", err)
		}
	}
}

func TestNobodyServes(t *testing.T) {
	t.Parallel()
	nc := connect(t, start(t, embed.Config{}))
	begin := time.Now()
	_, err := call(t, nc, "nobody")
	if !fault.Is(err, fault.Unavailable) || fault.HintOf(err) == "" || time.Since(begin) > 2*time.Second {
		t.Errorf("CallNamed = %v after %s, want unavailable at once with a hint", err, time.Since(begin))
	}
	if _, err := call(t, nc, "no body"); !fault.Is(err, fault.Invalid) || !fault.IsPermanent(err) {
		t.Errorf("CallNamed of a bad name = %v, want invalid for good", err)
	}
	if _, err := mesh.ServeNamed(t.Context(), nc, "a.b", nil); !fault.Is(err, fault.Invalid) {
		t.Errorf("ServeNamed of a bad name = %v, want invalid", err)
	}
	nc.Close()
	if _, err := mesh.ServeNamed(t.Context(), nc, "a", nil); !fault.Is(err, fault.Unavailable) {
		t.Errorf("ServeNamed over a closed connection = %v, want unavailable", err)
	}
}

func TestCallTimesOut(t *testing.T) {
	t.Parallel()
	nc := connect(t, start(t, embed.Config{}))
	ended := make(chan error, 1)
	serve(t, nc, "slow", func(ctx context.Context, _ *signal.Signal) (*signal.Signal, error) {
		<-ctx.Done()
		ended <- ctx.Err()
		return nil, ctx.Err()
	})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := mesh.CallNamed(ctx, nc, subject.Space{}, "slow", newSignal(t, "a")); !fault.Is(err, fault.Unavailable) {
		t.Errorf("CallNamed = %v, want unavailable", err)
	}
	if err := <-ended; !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the handler's context ended with %v, want its caller's deadline", err)
	}
}

// Two processes share the calls of a name, and each runs several at a time.
func TestCallsAreSharedAndConcurrent(t *testing.T) {
	t.Parallel()
	s := start(t, embed.Config{})
	const each = 4
	var arrived sync.WaitGroup
	arrived.Add(2 * each)
	both := func(context.Context, *signal.Signal) (*signal.Signal, error) {
		arrived.Done()
		arrived.Wait() // returns when every call runs at the same time
		return nil, nil
	}
	serve(t, connect(t, s), "pool", both, mesh.Concurrency(2*each))
	serve(t, connect(t, s), "pool", both, mesh.Concurrency(2*each))
	nc := connect(t, s)
	var wg sync.WaitGroup
	for range 2 * each {
		wg.Go(func() {
			if _, err := call(t, nc, "pool"); err != nil {
				t.Errorf("CallNamed: %v", err)
			}
		})
	}
	wg.Wait()
}

func TestDrainFinishesAndStopDoesNot(t *testing.T) {
	t.Parallel()
	nc := connect(t, start(t, embed.Config{}))
	running, release := make(chan struct{}), make(chan struct{})
	n := serve(t, nc, "work", func(ctx context.Context, _ *signal.Signal) (*signal.Signal, error) {
		running <- struct{}{}
		select {
		case <-release:
			return nil, nil
		case <-ctx.Done():
			return nil, fault.Newf(fault.Unavailable, "stopped")
		}
	})
	answers := make(chan error, 1)
	ask := func() {
		go func() {
			_, err := call(t, nc, "work")
			answers <- err
		}()
		<-running
	}
	ask()
	drained := make(chan error, 1)
	go func() { drained <- n.Drain(t.Context()) }()
	close(release)
	if err := errors.Join(<-drained, <-answers); err != nil {
		t.Errorf("a call during Drain: %v", err)
	}
	if _, err := call(t, nc, "work"); !fault.Is(err, fault.Unavailable) {
		t.Errorf("CallNamed after Drain = %v, want unavailable", err)
	}
	<-n.Done()
	n.Stop() // may follow

	release = make(chan struct{})
	n = serve(t, nc, "work", func(ctx context.Context, _ *signal.Signal) (*signal.Signal, error) {
		running <- struct{}{}
		<-ctx.Done()
		return nil, fault.Newf(fault.Unavailable, "stopped")
	})
	ask()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := n.Drain(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Drain without time = %v, want canceled", err)
	}
	if err := <-answers; !fault.Is(err, fault.Unavailable) {
		t.Errorf("a call during Stop = %v, want the handler's error", err)
	}
}

// What other programs send and answer, this package's headers left out.
func TestForeignPeers(t *testing.T) {
	t.Parallel()
	nc := connect(t, start(t, embed.Config{}))
	answer := func(name string, header nats.Header, body string) {
		sub, err := nc.Subscribe(subject.Space{}.Named(name), func(m *nats.Msg) {
			if err := m.RespondMsg(&nats.Msg{Header: header, Data: []byte(body)}); err != nil {
				t.Error(err)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = sub.Unsubscribe() })
	}
	answer("plain", nil, "+OK")
	answer("event", nats.Header{"ce-specversion": {"1.0"}, "ce-id": {"r"}, "ce-source": {"/r"}, "ce-type": {"done"}}, "")
	answer("micro400", nats.Header{"Nats-Service-Error": {"bad order"}, "Nats-Service-Error-Code": {"400"}}, "")
	answer("micro429", nats.Header{"Nats-Service-Error": {"slow down"}, "Nats-Service-Error-Code": {"429"}}, "")
	answer("micro500", nats.Header{"Nats-Service-Error-Code": {"500"}}, "")
	answer("microX", nats.Header{"Nats-Service-Error-Code": {"E17"}}, "")
	answer("garbled", nats.Header{"mesh-status": {"ok"}}, "not a signal")
	answer("newer", nats.Header{"mesh-status": {"teapot"}, "mesh-error": {"short"}}, "")

	if s, err := call(t, nc, "plain"); s != nil || err != nil {
		t.Errorf("plain: %v, %v, want nil, nil", s, err)
	}
	if s, err := call(t, nc, "event"); err != nil || s.ID != "r" {
		t.Errorf("event: %v, %v, want the signal", s, err)
	}
	for name, want := range map[string]struct {
		code      fault.Code
		permanent bool
	}{
		"micro400": {fault.Invalid, true},
		"micro429": {fault.Exhausted, false},
		"micro500": {fault.Unavailable, false},
		"microX":   {fault.Internal, false},
		"garbled":  {fault.Invalid, true},
		"newer":    {fault.Internal, false},
	} {
		if _, err := call(t, nc, name); !fault.Is(err, want.code) || fault.IsPermanent(err) != want.permanent {
			t.Errorf("%s: %v (%s, permanent %t), want %+v", name, err, fault.CodeOf(err), fault.IsPermanent(err), want)
		}
	}
}

func TestHostileRequests(t *testing.T) {
	t.Parallel()
	nc := connect(t, start(t, embed.Config{}))
	serve(t, nc, "safe", func(_ context.Context, s *signal.Signal) (*signal.Signal, error) {
		if s.Type == "big" {
			return signal.New("big", strings.Repeat("x", embed.DefaultMaxPayload), signal.From("/t"))
		}
		return nil, nil
	})
	subj := subject.Space{}.Named("safe")
	for _, m := range []*nats.Msg{
		{Subject: subj},                                         // nothing at all, and nobody to answer to
		{Subject: subj, Data: []byte("{}")},                     // no signal
		{Subject: subj, Data: []byte("\xdd")},                   // not even text
		{Subject: subj, Header: nats.Header{"Status": {"503"}}}, // looks like "no responders"
		{Subject: subj, Header: nats.Header{"mesh-timeout": {"-5s"}}, Data: []byte("x")},
	} {
		if err := nc.PublishMsg(m); err != nil {
			t.Fatal(err)
		}
	}
	m, err := nc.Request(subj, []byte("{}"), 5*time.Second)
	if err != nil || m.Header.Get("mesh-status") != "invalid" || m.Header.Get("mesh-permanent") != "true" {
		t.Errorf("reply to no signal = %v, %v, want invalid for good", m, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if _, err := mesh.CallNamed(ctx, nc, subject.Space{}, "safe", newSignal(t, "big")); !fault.Is(err, fault.TooLarge) {
		t.Errorf("a reply above the limit = %v, want too large", err)
	}
	if _, err := call(t, nc, "safe"); err != nil {
		t.Errorf("CallNamed after all that: %v", err)
	}
}
