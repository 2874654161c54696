package delivery_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/signalmesh/signalmesh/pkg/delivery"
	"github.com/signalmesh/signalmesh/pkg/fault"
)

var errSick = errors.New("sick")

// exact has no randomness in it.
var exact = delivery.Policy{MaxAttempts: 5, Min: time.Second, Max: 3 * time.Second, Jitter: delivery.NoJitter}

// script is a receiver that answers one error after the other, the last one for ever.
func script(answers ...error) func(context.Context, int) error {
	calls := 0
	return func(context.Context, int) error {
		err := answers[min(calls, len(answers)-1)]
		calls++
		return err
	}
}

func TestRun(t *testing.T) {
	t.Parallel()
	hour := fault.RetryAfter(time.Hour, errSick)
	tests := map[string]struct {
		policy  delivery.Policy
		options delivery.Options
		do      func(context.Context, int) error
		status  delivery.Status
		reason  delivery.Reason
		last    int           // number of the last attempt
		took    time.Duration // the waits
	}{
		"success":          {exact, delivery.Options{}, script(nil), delivery.Delivered, "", 1, 0},
		"second":           {exact, delivery.Options{}, script(errSick, nil), delivery.Delivered, "", 2, time.Second},
		"used up":          {exact, delivery.Options{}, script(errSick), delivery.Dead, delivery.ReasonAttempts, 5, 9 * time.Second},
		"one attempt":      {delivery.Policy{MaxAttempts: 1}, delivery.Options{}, script(errSick), delivery.Dead, delivery.ReasonAttempts, 1, 0},
		"permanent":        {exact, delivery.Options{}, script(errSick, fault.Permanent(errSick)), delivery.Dead, delivery.ReasonPermanent, 2, time.Second},
		"retry after":      {exact, delivery.Options{}, script(fault.RetryAfter(2*time.Second, errSick), nil), delivery.Delivered, "", 2, 2 * time.Second},
		"after too little": {exact, delivery.Options{}, script(fault.RetryAfter(0, errSick), nil), delivery.Delivered, "", 2, time.Second},
		"after too much":   {exact, delivery.Options{}, script(hour, nil), delivery.Delivered, "", 2, delivery.DefaultMaxRetryAfter},
		"beyond max":       {exact, delivery.Options{}, script(fault.RetryAfter(time.Minute, errSick), nil), delivery.Delivered, "", 2, time.Minute},
		"panic":            {exact, delivery.Options{}, func(context.Context, int) error { panic("boom") }, delivery.Dead, delivery.ReasonAttempts, 5, 9 * time.Second},
		"goes on":          {exact, delivery.Options{First: 4}, script(errSick), delivery.Dead, delivery.ReasonAttempts, 5, 3 * time.Second},
		"beyond its end":   {exact, delivery.Options{First: 9}, script(errSick), delivery.Dead, delivery.ReasonAttempts, 9, 0},
		"held back":        {exact, delivery.Options{Hold: 1500 * time.Millisecond}, script(errSick), delivery.Retrying, "", 2, time.Second},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				test.options.Node = "n1"
				began := time.Now()
				res := test.policy.Run(t.Context(), test.do, test.options)
				if res.Status != test.status || res.Reason != test.reason {
					t.Errorf("ended as %s (%s), want %s (%s)", res.Status, res.Reason, test.status, test.reason)
				}
				last := res.Attempts[len(res.Attempts)-1]
				if last.Number != test.last || last.Node != "n1" || last.OK() != (test.status == delivery.Delivered) {
					t.Errorf("last attempt = %+v, want number %d", last, test.last)
				}
				if (res.Err == nil) != (test.status == delivery.Delivered) {
					t.Errorf("Err = %v with status %s", res.Err, res.Status)
				}
				if d := time.Since(began); d != test.took {
					t.Errorf("took %s, want %s", d, test.took)
				}
				if due := time.Until(res.Next); (test.status == delivery.Retrying) != (due == 2*time.Second) {
					t.Errorf("next in %s with status %s", due, res.Status)
				}
			})
		})
	}
}

func TestRunReports(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var got []string
		began := time.Now()
		exact.Run(t.Context(), func(_ context.Context, n int) error {
			<-time.After(time.Duration(n) * 100 * time.Millisecond)
			if n < 3 {
				return fault.Wrap(fault.Exhausted, errSick)
			}
			return nil
		}, delivery.Options{OnAttempt: func(a delivery.Attempt, next time.Time) {
			wait := "-"
			if !next.IsZero() {
				wait = time.Until(next).String()
			}
			got = append(got, fmt.Sprintf("%d at %s took %s: %s %s, next in %s", a.Number, a.At.Sub(began), a.Took, a.Code, a.Error, wait))
		}})
		want := []string{
			"1 at 0s took 100ms: exhausted sick, next in 1s",
			"2 at 1.1s took 200ms: exhausted sick, next in 2s",
			"3 at 3.3s took 300ms:  , next in -",
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("reports differ (-want +got):\n%s", diff)
		}
	})
}

// The end of the context is no failure, whenever it comes.
func TestRunStops(t *testing.T) {
	t.Parallel()
	why := errors.New("draining")
	tests := map[string]struct {
		do       func(ctx context.Context, stop func()) error
		status   delivery.Status
		attempts int
	}{
		"in an attempt that fails":   {func(_ context.Context, stop func()) error { stop(); return errSick }, delivery.Stopped, 0},
		"in one that fails for good": {func(_ context.Context, stop func()) error { stop(); return fault.Permanent(errSick) }, delivery.Stopped, 0},
		"in one that panics":         {func(_ context.Context, stop func()) error { stop(); panic("boom") }, delivery.Stopped, 0},
		"in one that succeeds":       {func(_ context.Context, stop func()) error { stop(); return nil }, delivery.Delivered, 1},
		"in one that waits for ctx": {func(ctx context.Context, stop func()) error {
			time.AfterFunc(time.Second, stop)
			<-ctx.Done()
			return ctx.Err()
		}, delivery.Stopped, 0},
		"in the wait": {func(_ context.Context, stop func()) error { time.AfterFunc(time.Millisecond, stop); return errSick }, delivery.Stopped, 1},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancelCause(t.Context())
				calls := 0
				res := exact.Run(ctx, func(ctx context.Context, _ int) error {
					calls++
					return test.do(ctx, func() { cancel(why) })
				}, delivery.Options{})
				if res.Status != test.status || calls != 1 || len(res.Attempts) != test.attempts {
					t.Errorf("ended as %s after %d calls with %d attempts, want %s, 1, %d", res.Status, calls, len(res.Attempts), test.status, test.attempts)
				}
				if res.Status == delivery.Stopped && !errors.Is(res.Err, why) {
					t.Errorf("Err = %v, want %v", res.Err, why)
				}
				again := exact.Run(ctx, script(nil), delivery.Options{})
				if again.Status != delivery.Stopped || len(again.Attempts) != 0 {
					t.Errorf("with an ended context: %s, %d attempts, want stopped, 0", again.Status, len(again.Attempts))
				}
			})
		})
	}
}

func TestRunTimeout(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		res := exact.Run(t.Context(), func(ctx context.Context, n int) error {
			<-ctx.Done()
			return ctx.Err()
		}, delivery.Options{Timeout: 10 * time.Second})
		if res.Status != delivery.Dead || len(res.Attempts) != 5 || res.Attempts[0].Took != 10*time.Second || res.Attempts[0].Code != fault.Unavailable {
			t.Errorf("ended as %s, attempts %+v, want dead after 5 of 10 s", res.Status, res.Attempts)
		}
	})
}

// Only so much of a long story is kept: its beginning and its end.
func TestRunKeeps(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		res := delivery.Policy{MaxAttempts: 100}.Run(t.Context(), script(errSick), delivery.Options{})
		got := res.Attempts
		if len(got) != delivery.MaxKept || got[0].Number != 1 || got[1].Number != 100-delivery.MaxKept+2 || got[len(got)-1].Number != 100 {
			t.Errorf("kept %d attempts: %d, %d ... %d", len(got), got[0].Number, got[1].Number, got[len(got)-1].Number)
		}
	})
	one := []delivery.Attempt{{Number: 1}}
	joined := delivery.JoinAttempts(one, []delivery.Attempt{{Number: 2}})
	joined[0].Number = 7
	if one[0].Number != 1 {
		t.Error("JoinAttempts shares memory with what it was given")
	}
}

type answer struct{ status int }

func (a answer) Error() string           { return fmt.Sprintf("status %d", a.status) }
func (a answer) Response() (int, string) { return a.status, strings.Repeat("é", delivery.MaxExcerpt) }

func TestAttemptTellsTheAnswer(t *testing.T) {
	t.Parallel()
	res := delivery.Policy{MaxAttempts: 1}.Run(t.Context(), script(fmt.Errorf("post: %w", fault.Wrap(fault.Invalid, answer{418}))), delivery.Options{})
	a := res.Attempts[0]
	if a.Status != 418 || a.Code != fault.Invalid || a.Error != "post: status 418" {
		t.Errorf("attempt = %+v", a)
	}
	if len(a.Response) > delivery.MaxExcerpt || strings.TrimRight(a.Response, "é") != "" {
		t.Errorf("excerpt has %d bytes and ends in %q", len(a.Response), a.Response[len(a.Response)-4:])
	}
	var crash *delivery.Panic
	res = delivery.Policy{MaxAttempts: 1}.Run(t.Context(), func(context.Context, int) error { panic("\xff boom") }, delivery.Options{})
	if !errors.As(res.Err, &crash) || len(crash.Stack) == 0 || res.Attempts[0].Error != "panic: \uFFFD boom" {
		t.Errorf("Err = %v, attempt says %q", res.Err, res.Attempts[0].Error)
	}
}

func TestPolicyValidate(t *testing.T) {
	t.Parallel()
	for name, p := range map[string]delivery.Policy{
		"attempts": {MaxAttempts: -1}, "min": {Min: -1}, "max": {Max: -1}, "order": {Min: 2, Max: 1},
		"jitter": {Jitter: 1.1}, "negative jitter": {Jitter: -0.5}, "after": {MaxRetryAfter: -1},
	} {
		if err := p.Validate(); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %v, want code invalid", name, err)
		}
	}
	for _, p := range []delivery.Policy{{}, exact, {Min: time.Hour}, {Max: time.Millisecond}, {Jitter: 1}} {
		full := p.WithDefaults()
		if err := errors.Join(p.Validate(), full.Validate()); err != nil {
			t.Errorf("%+v: %v", p, err)
		}
		if full.WithDefaults() != full || full.MaxAttempts == 0 || full.Min == 0 || full.Max < full.Min || full.Jitter == 0 || full.MaxRetryAfter == 0 {
			t.Errorf("%+v with defaults = %+v", p, full)
		}
	}
}

// A wait lies between Min and Max, grows, and never overflows.
func TestWait(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p := delivery.Policy{
			Min:    time.Duration(rapid.Int64Range(1, int64(time.Hour)).Draw(t, "min")),
			Jitter: rapid.Float64Range(0.01, 1).Draw(t, "jitter"),
		}
		p.Max = p.Min + time.Duration(rapid.Int64Range(0, int64(1000*time.Hour)).Draw(t, "more"))
		n := rapid.IntRange(1, 1_000_000).Draw(t, "attempt")
		if w := p.Wait(n, errSick); w < p.Min || w > p.Max {
			t.Fatalf("Wait(%d) = %s, want between %s and %s", n, w, p.Min, p.Max)
		}
		p.Jitter = delivery.NoJitter
		if w, next := p.Wait(n, nil), p.Wait(n+1, nil); next < w || w < p.Max && next < min(2*w, p.Max) {
			t.Fatalf("Wait(%d) = %s and then %s", n, w, next)
		}
	})
}

func TestWaitSpreads(t *testing.T) {
	t.Parallel()
	p := delivery.Policy{Min: time.Second, Max: time.Minute}
	for _, n := range []int{1, 3, 50} {
		least, most := time.Hour, time.Duration(0)
		for range 1000 {
			w := p.Wait(n, nil)
			least, most = min(least, w), max(most, w)
		}
		if float64(most) < 1.15*float64(least) {
			t.Errorf("waits after attempt %d lie between %s and %s, want a spread of a fifth", n, least, most)
		}
	}
}
