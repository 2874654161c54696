package dispatchtest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/signalmesh/signalmesh/pkg/dispatch"
	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

func strict(t *testing.T, s *Subject, _ Features) {
	if err := s.registry().Check(s.Adapter, []byte(s.Options)); err != nil {
		t.Fatalf("Check(%s) = %v", s.Options, err)
	}
	var options map[string]any
	if err := json.Unmarshal([]byte(s.Options), &options); err != nil {
		t.Fatalf("options of the test: %v", err)
	}
	options["no_such_option"] = true
	wrong, err := json.Marshal(options)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{string(wrong), `[]`, `"x"`, `{`} {
		if err := s.registry().Check(s.Adapter, []byte(text)); !fault.Is(err, fault.Invalid) {
			t.Errorf("Check(%s) = %v, want Invalid", text, err)
		}
		if _, err := s.registry().Open(t.Context(), s.Adapter, []byte(text), s.Env); !fault.Is(err, fault.Invalid) {
			t.Errorf("Open(%s) = %v, want Invalid", text, err)
		}
	}
}

func documented(t *testing.T, s *Subject, _ Features) {
	fields, err := s.registry().Fields(s.Adapter)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range fields {
		if f.Doc == "" {
			t.Errorf("the option %s has no doc tag", f.Path)
		}
	}
}

func operatorsOnly(t *testing.T, s *Subject, _ Features) {
	env := s.Env
	env.AllowSecrets = false
	a, err := s.registry().Open(t.Context(), s.Adapter, []byte(s.Options), env)
	if len(s.Secrets) > 0 {
		if !fault.Is(err, fault.Denied) {
			t.Errorf("Open(secrets not allowed) = %v, want Denied", err)
		}
		return
	}
	if err == nil {
		err = dispatch.Close(a)
	}
	if err != nil {
		t.Errorf("Open(secrets not allowed, none used) = %v", err)
	}
}

func delivers(t *testing.T, s *Subject, _ Features) {
	a := s.adapter(t)
	done := make(chan error, 1)
	sig := newSignal(t, "order.created", map[string]int{"cents": 4200})
	go func() { done <- deliver(t, a, sig, "key-1", 1) }() // ends by its timeout at the latest
	s.next(t)
	if err := <-done; err != nil {
		t.Errorf("Deliver() = %v", err)
	}
}

func dataSurvives(t *testing.T, s *Subject, _ Features) {
	a := s.adapter(t)
	all := []*signal.Signal{
		newSignal(t, "data.none", nil),
		newSignal(t, "data.object", map[string]any{"a": []any{1.5, true, nil, "ü"}}),
		newSignal(t, "data.null", json.RawMessage(`null`)),
		newSignal(t, "data.text", "plain \"text\" é\n", signal.ContentType("text/plain")),
		newSignal(t, "data.empty", []byte{}, signal.ContentType("text/plain")),
		newSignal(t, "data.bytes", []byte{0, 1, 0xff, 0xfe, '\n'}),
		newSignal(t, "data.attributes", "x", signal.Ext("tenant", "a b%é\"c"), signal.Schema("https://example.com/s?a=b c")),
	}
	for _, sig := range all {
		done := make(chan error, 1)
		go func() { done <- deliver(t, a, sig, "key-"+sig.Type, 1) }() // ends by its timeout at the latest
		got := s.next(t).Signal
		if err := <-done; err != nil {
			t.Errorf("%s: Deliver() = %v", sig.Type, err)
		}
		if got == nil {
			t.Errorf("%s: no signal arrived", sig.Type)
			continue
		}
		if diff := cmp.Diff(essence(sig), essence(got)); diff != "" {
			t.Errorf("%s (-sent +arrived):\n%s", sig.Type, diff)
		}
	}
}

// essence leaves out what adapters add, and what a content type that was not given means.
func essence(s *signal.Signal) map[string]string {
	m := map[string]string{
		"id": s.ID, "source": s.Source, "type": s.Type, "subject": s.Subject, "dataschema": s.DataSchema,
		"data": string(s.Data), "time": s.Time.UTC().Format(time.RFC3339Nano),
	}
	if s.DataContentType != signal.ContentTypeJSON && len(s.Data) > 0 {
		m["datacontenttype"] = s.DataContentType
	}
	for name := range s.Extensions {
		if name != signal.ExtHops {
			m[name] = s.ExtString(name)
		}
	}
	return m
}

func concurrent(t *testing.T, s *Subject, f Features) {
	const workers, each = 16, 8
	a := s.adapter(t)
	var group sync.WaitGroup
	for w := range workers {
		group.Go(func() {
			for i := range each {
				sig, err := signal.New("order.created", map[string]int{"n": i}, signal.WithID(fmt.Sprintf("%d-%d", w, i)))
				if err == nil {
					err = deliver(t, a, sig, sig.ID, 1)
				}
				if err != nil {
					t.Errorf("Deliver(%d-%d) = %v", w, i, err)
				}
			}
		})
	}
	seen := map[string]bool{}
	for range workers * each {
		if got := s.next(t).Signal; got != nil {
			seen[got.ID] = true
		}
	}
	group.Wait()
	if f.Signals && len(seen) != workers*each {
		t.Errorf("%d signals arrived, want %d", len(seen), workers*each)
	}
}

func untouched(t *testing.T, s *Subject, _ Features) {
	a := s.adapter(t)
	s.drop(t)
	sig := newSignal(t, "order.created", map[string]int{"cents": 1}, signal.Ext("tenant", "a"), signal.Ext(signal.ExtDispatch, `{"noop":{}}`))
	before := sig.Clone()
	if err := deliver(t, a, sig, "key", 1); err != nil {
		t.Errorf("Deliver() = %v", err)
	}
	if diff := cmp.Diff(before, sig); diff != "" {
		t.Errorf("Deliver() changed the signal (-before +after):\n%s", diff)
	}
}

func sameKey(t *testing.T, s *Subject, f Features) {
	a := s.adapter(t)
	sig := newSignal(t, "order.created", nil)
	send := func(key string, n int) string {
		done := make(chan error, 1)
		go func() { done <- deliver(t, a, sig, key, n) }() // ends by its timeout at the latest
		got := s.next(t).Key
		if err := <-done; err != nil && !f.Outcomes {
			t.Errorf("Deliver() = %v, want nil", err)
		}
		return got
	}
	if f.Outcomes {
		s.answer(Busy)
	}
	first := send("delivery-1", 1)
	s.answer(OK)
	if again := send("delivery-1", 2); first == "" || first != again {
		t.Errorf("keys of two attempts are %q and %q, want the same", first, again)
	}
	if other := send("delivery-2", 1); other == first {
		t.Errorf("keys of two deliveries are both %q", other)
	}
	if strange := send("a key. with\nstrange é characters", 1); strange == "" {
		t.Error("a key with strange characters is lost")
	}
}

func hops(t *testing.T, s *Subject, _ Features) {
	a := s.adapter(t)
	sig := newSignal(t, "order.created", nil, signal.Ext(signal.ExtHops, 3), signal.Ext(signal.ExtDispatch, `{"noop":{}}`))
	done := make(chan error, 1)
	go func() { done <- deliver(t, a, sig, "key", 1) }() // ends by its timeout at the latest
	got := s.next(t).Signal
	if err := <-done; err != nil {
		t.Fatalf("Deliver() = %v", err)
	}
	if got == nil || got.Hops() != 4 || got.ExtString(signal.ExtDispatch) != "" {
		t.Errorf("what arrived is %+v, want 4 hops and no targets of its own", got)
	}
}

// ended looks only for promptness: work that needs no waiting may be done all the same.
func ended(t *testing.T, s *Subject, f Features) {
	a := s.adapter(t)
	s.drop(t)
	if f.Hangs {
		s.answer(Hang)
		defer s.answer(OK)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := prompt(t, func() error {
		_, err := dispatch.Send(ctx, a, newSignal(t, "order.created", nil))
		return err
	})
	if fault.IsPermanent(err) || f.Hangs && !errors.Is(err, context.Canceled) {
		t.Errorf("Deliver(ended context) = %v, want the context's error, not a permanent one", err)
	}
}

func cancelled(t *testing.T, s *Subject, _ Features) {
	a := s.adapter(t)
	s.answer(Hang)
	defer s.answer(OK)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	sig := newSignal(t, "order.created", nil)
	go func() { // ends after cancel
		_, err := dispatch.Send(ctx, a, sig)
		done <- err
	}()
	s.next(t)
	cancel()
	err := prompt(t, func() error { return <-done })
	if !errors.Is(err, context.Canceled) || fault.IsPermanent(err) {
		t.Errorf("Deliver(cancelled) = %v, want context.Canceled, not permanent", err)
	}
}

// prompt fails the test when f takes more than a second.
func prompt(t *testing.T, f func() error) error {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- f() }() // f is what is tested: a test that fails here leaves it behind
	select {
	case err := <-done:
		return err
	case <-time.After(time.Second):
		t.Fatal("Deliver() did not return within a second after its context ended")
		return nil
	}
}

func outcomes(t *testing.T, s *Subject, _ Features) {
	a := s.adapter(t)
	s.drop(t)
	sig := newSignal(t, "order.created", nil)
	s.answer(Busy)
	err := deliver(t, a, sig, "key", 1)
	if err == nil || fault.IsPermanent(err) {
		t.Errorf("Deliver(busy) = %v, want an error that is not permanent", err)
	}
	s.answer(Never)
	err = deliver(t, a, sig, "key", 2)
	if !fault.IsPermanent(err) {
		t.Errorf("Deliver(never) = %v, want a permanent error", err)
	}
	var f interface{ Response() (int, string) }
	if !errors.As(err, &f) {
		t.Fatalf("Deliver(never) = %T, want an error with a Response", err)
	}
	if status, excerpt := f.Response(); status == 0 || len(excerpt) > dispatch.MaxExcerpt {
		t.Errorf("Response() = %d, %d bytes, want a status and an excerpt", status, len(excerpt))
	}
	s.answer(OK)
	if err := deliver(t, a, sig, "key", 3); err != nil {
		t.Errorf("Deliver(ok) = %v", err)
	}
}

func waits(t *testing.T, s *Subject, _ Features) {
	a := s.adapter(t)
	s.drop(t)
	s.answer(Wait)
	err := deliver(t, a, newSignal(t, "order.created", nil), "key", 1)
	if wait, ok := fault.Delay(err); !ok || wait != 7*time.Second {
		t.Errorf("Deliver(wait) = %v with a delay of %s, want 7s", err, wait)
	}
}

func secretsStay(t *testing.T, s *Subject, f Features) {
	var logged bytes.Buffer
	s.Env.Log = slog.New(slog.NewJSONHandler(&logged, &slog.HandlerOptions{Level: slog.LevelDebug}))
	a := s.adapter(t)
	s.drop(t)
	shown := []string{dispatch.Endpoint(a), dispatch.Target{Adapter: s.Adapter, Options: []byte(s.Options)}.String()}
	for _, o := range []Outcome{Busy, Never, OK} {
		if f.Outcomes {
			s.answer(o)
		}
		err := deliver(t, a, newSignal(t, "order.created", nil), "key", 1)
		var r interface{ Response() (int, string) }
		if errors.As(err, &r) {
			_, excerpt := r.Response()
			shown = append(shown, excerpt)
		}
		shown = append(shown, fmt.Sprintf("%v %+v %s", err, err, fault.HintOf(err)))
	}
	shown = append(shown, logged.String())
	for _, secret := range s.Secrets {
		for _, text := range shown {
			if strings.Contains(text, secret) {
				t.Errorf("a secret is shown in %.200q", text)
			}
		}
	}
}

func endpoint(t *testing.T, s *Subject, _ Features) {
	if dispatch.Endpoint(s.adapter(t)) == "" {
		t.Error("Endpoint() is empty")
	}
}

func closes(t *testing.T, s *Subject, _ Features) {
	a := s.adapter(t) // closed once more at the end of the test
	s.drop(t)
	if err := deliver(t, a, newSignal(t, "order.created", nil), "key", 1); err != nil {
		t.Errorf("Deliver() = %v", err)
	}
	for range 2 {
		if err := dispatch.Close(a); err != nil {
			t.Errorf("Close() = %v", err)
		}
	}
}

// leavesNothing looks at the second use: the first may start what belongs to the
// connection that was lent.
func leavesNothing(t *testing.T, s *Subject, _ Features) {
	s.drop(t)
	s.use(t)
	before := goleak.IgnoreCurrent()
	s.use(t)
	goleak.VerifyNone(t, before)
}

// use opens the adapter, delivers once and closes it.
func (s *Subject) use(t *testing.T) {
	t.Helper()
	env := s.Env
	env.AllowSecrets = true
	a, err := s.registry().Open(t.Context(), s.Adapter, []byte(s.Options), env)
	if err != nil {
		t.Fatalf("Open() = %v", err)
	}
	if err := deliver(t, a, newSignal(t, "order.created", nil), "key", 1); err != nil {
		t.Errorf("Deliver() = %v", err)
	}
	if err := dispatch.Close(a); err != nil {
		t.Errorf("Close() = %v", err)
	}
}
