// Package ingresstest is what every source must do, as tests: run [Run] against yours.
//
// It forges, tampers, delays and repeats requests, and looks for what must never happen:
// a signal from a request that was not proven, two identities for one delivery, a secret
// in an error.
package ingresstest

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/ingress"
)

// A Suite says how to open a source and how its sender behaves.
type Suite struct {
	// Spec opens the source. What its secrets refer to must be in place.
	Spec ingress.Spec

	// Registry knows the source; nil means ingress.Default.
	Registry *ingress.Registry

	// Request is a request of the real sender, signed at that time. It names the same
	// delivery each time.
	Request func(body []byte, at time.Time) *ingress.Request

	// Body is a body that becomes signals.
	Body []byte

	// Proof are the headers without which, or with other values of which, a request must
	// be refused.
	Proof []string

	// Window is how far the signed time may be from now; 0 when no time is signed.
	Window time.Duration

	// Secrets are texts that no error may contain.
	Secrets []string

	// Unmappable, when not nil, is an authentic and well-formed request that no signal
	// can be made of.
	Unmappable func(at time.Time) *ingress.Request

	// BodyUnsigned says that the sender proves itself, but not the body.
	BodyUnsigned bool

	// AnyBody says that every body is acceptable, also one that is not JSON.
	AnyBody bool
}

// now is when requests are signed: any time will do, as receivers go by Request.At.
var now = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// Run runs the suite.
func Run(t *testing.T, s Suite) {
	t.Helper()
	if s.Registry == nil {
		s.Registry = ingress.Default
	}
	r, err := s.Registry.Open(t.Context(), s.Spec, ingress.Env{})
	if err != nil {
		t.Fatalf("Open(%s) = %v", s.Spec.Name, err)
	}
	c := &conformance{Suite: s, receiver: r}
	t.Run("accepts", c.accepts)
	t.Run("same identity for a repeat", c.repeats)
	t.Run("leaves the request alone", c.leavesRequest)
	t.Run("concurrent", c.concurrent)
	t.Run("missing proof", c.missingProof)
	t.Run("wrong proof", c.wrongProof)
	t.Run("repeated proof", c.repeatedProof)
	t.Run("tampered body", c.tamperedBody)
	t.Run("replay window", c.window)
	t.Run("garbage body", c.garbage)
	t.Run("unmappable", c.unmappable)
	t.Run("strict options", c.strictOptions)
}

type conformance struct {
	Suite
	receiver ingress.Receiver
}

// receive checks what holds for every request: an error and a result exclude each other,
// signals are valid, and no error names a secret.
func (c *conformance) receive(t *testing.T, r *ingress.Request) (ingress.Result, error) {
	t.Helper()
	res, err := c.receiver.Receive(t.Context(), r)
	if err != nil {
		c.keepsSecrets(t, err)
		if len(res.Signals) > 0 || res.Reply != nil {
			t.Errorf("Receive = %d signals, reply %v and error %v, want the error alone", len(res.Signals), res.Reply, err)
		}
	}
	for _, s := range res.Signals {
		if err := s.Validate(); err != nil {
			t.Errorf("Receive gave an invalid signal: %v", err)
		}
	}
	return res, err
}

func (c *conformance) keepsSecrets(t *testing.T, err error) {
	t.Helper()
	text := err.Error() + fault.HintOf(err)
	for _, secret := range c.Secrets {
		if strings.Contains(text, secret) {
			t.Errorf("an error contains a secret")
		}
	}
}

func (c *conformance) accepts(t *testing.T) {
	res, err := c.receive(t, c.Request(c.Body, now))
	if err != nil {
		t.Fatalf("Receive(authentic request) = %v", err)
	}
	if len(res.Signals) == 0 {
		t.Fatal("Receive(authentic request) gave no signal")
	}
}

func (c *conformance) repeats(t *testing.T) {
	first, err := c.receive(t, c.Request(c.Body, now))
	if err != nil {
		t.Fatal(err)
	}
	again, err := c.receive(t, c.Request(c.Body, now.Add(time.Hour)))
	if err != nil {
		t.Fatalf("Receive(repeat, signed an hour later) = %v", err)
	}
	if got, want := identities(again), identities(first); !slices.Equal(got, want) {
		t.Errorf("a repeat is %q, want %q as before", got, want)
	}
}

func identities(res ingress.Result) []string {
	var out []string
	for _, s := range res.Signals {
		out = append(out, s.Source+" "+s.ID)
	}
	return out
}

func (c *conformance) leavesRequest(t *testing.T) {
	r := c.Request(c.Body, now)
	header, body := r.Header.Clone(), slices.Clone(r.Body)
	if _, err := c.receive(t, r); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(r.Body, body) || len(r.Header) != len(header) {
		t.Error("Receive changed the request")
	}
}

func (c *conformance) concurrent(t *testing.T) {
	want, err := c.receive(t, c.Request(c.Body, now))
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			res, err := c.receiver.Receive(context.Background(), c.Request(c.Body, now))
			if err != nil || !slices.Equal(identities(res), identities(want)) {
				t.Errorf("concurrent Receive = %q, %v, want %q", identities(res), err, identities(want))
			}
		})
	}
	wg.Wait()
}

func (c *conformance) refused(t *testing.T, what string, r *ingress.Request) {
	t.Helper()
	res, err := c.receive(t, r)
	if !fault.Is(err, fault.Unauthenticated) {
		t.Errorf("%s: Receive = %d signals, %v (%s), want unauthenticated", what, len(res.Signals), err, fault.CodeOf(err))
	}
}

func (c *conformance) missingProof(t *testing.T) {
	for _, name := range c.Proof {
		r := c.Request(c.Body, now)
		if r.Header.Get(name) == "" {
			t.Fatalf("the request has no %s header: the suite is wrong", name)
		}
		r.Header.Del(name)
		c.refused(t, "no "+name, r)
		r.Header.Set(name, "")
		c.refused(t, "empty "+name, r)
	}
}

func (c *conformance) wrongProof(t *testing.T) {
	for _, name := range c.Proof {
		value := c.Request(c.Body, now).Header.Get(name)
		for _, forged := range []string{forge(value), value[:len(value)-2], value + "00", "x", strings.Repeat("a", 8192)} {
			r := c.Request(c.Body, now)
			r.Header.Set(name, forged)
			c.refused(t, name+" forged", r)
		}
	}
}

// forge changes one character in the last quarter of a value, so that the form stays.
func forge(value string) string {
	b := []byte(value)
	i := len(b) - 1 - len(b)/4
	for b[i] == '=' || b[i] == ',' {
		i--
	}
	if b[i] == '1' {
		b[i] = '2'
	} else {
		b[i] = '1'
	}
	return string(b)
}

func (c *conformance) repeatedProof(t *testing.T) {
	for _, name := range c.Proof {
		r := c.Request(c.Body, now)
		good := r.Header.Get(name)
		for _, values := range [][]string{{good, forge(good)}, {forge(good), good}} {
			r.Header[http.CanonicalHeaderKey(name)] = values
			c.refused(t, "two "+name, r)
		}
	}
}

func (c *conformance) tamperedBody(t *testing.T) {
	if c.BodyUnsigned || len(c.Proof) == 0 {
		return
	}
	other := slices.Clone(c.Body)
	other[len(other)/2] ^= 1
	for _, body := range [][]byte{other, append(slices.Clone(c.Body), ' '), c.Body[:len(c.Body)-1], nil} {
		r := c.Request(c.Body, now)
		r.Body = body
		c.refused(t, "tampered body", r)
	}
}

func (c *conformance) window(t *testing.T) {
	if c.Window == 0 {
		return
	}
	for _, late := range []time.Duration{c.Window + time.Second, 24 * time.Hour, -c.Window - time.Second} {
		r := c.Request(c.Body, now)
		r.At = now.Add(late)
		c.refused(t, "received "+late.String()+" after it was signed", r)
	}
	for _, late := range []time.Duration{c.Window, -c.Window} {
		r := c.Request(c.Body, now)
		r.At = now.Add(late)
		if _, err := c.receive(t, r); err != nil {
			t.Errorf("received %s after it was signed: %v", late, err)
		}
	}
}

func (c *conformance) garbage(t *testing.T) {
	if c.AnyBody {
		return
	}
	for _, body := range []string{"", "{", `{"a":1}}`, "\x00\xff", strings.Repeat("[", 100_000)} {
		res, err := c.receive(t, c.Request([]byte(body), now))
		if code := fault.CodeOf(err); code != fault.Invalid && code != fault.TooLarge {
			t.Errorf("garbage %.8q: Receive = %d signals, %v (%s), want invalid or too_large", body, len(res.Signals), err, code)
		}
		if _, ok := errors.AsType[*ingress.Unmappable](err); ok {
			t.Errorf("garbage %.8q: Receive = %v, want it refused, not kept", body, err)
		}
	}
}

func (c *conformance) unmappable(t *testing.T) {
	if c.Unmappable == nil {
		return
	}
	_, err := c.receive(t, c.Unmappable(now))
	if _, ok := errors.AsType[*ingress.Unmappable](err); !ok || !fault.Is(err, fault.Invalid) {
		t.Errorf("Receive(unmappable) = %v (%s), want an *ingress.Unmappable that is invalid", err, fault.CodeOf(err))
	}
}

func (c *conformance) strictOptions(t *testing.T) {
	s := c.Spec
	s.Options = slices.Clone(s.Options)
	if i := slices.Index(s.Options, '{'); i >= 0 {
		comma := ","
		if strings.TrimSpace(string(s.Options[i+1:])) == "}" {
			comma = ""
		}
		s.Options = slices.Insert(s.Options, i+1, []byte(`"no_such_key":1`+comma)...)
	} else {
		s.Options = []byte(`{"no_such_key":1}`)
	}
	if err := c.Registry.Check(s); !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "no_such_key") {
		t.Errorf("Check(options with no_such_key) = %v, want invalid, and the key named", err)
	}
	if _, err := c.Registry.Open(t.Context(), s, ingress.Env{}); !fault.Is(err, fault.Invalid) {
		t.Errorf("Open(options with no_such_key) = %v, want invalid", err)
	}
}
