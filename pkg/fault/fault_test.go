package fault_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/signalmesh/signalmesh/pkg/fault"
)

func TestCodeOf(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		err  error
		want fault.Code
		exit int
	}{
		{"nil", nil, "", 0},
		{"plain", io.EOF, fault.Internal, 1},
		{"wrapped", fault.Wrap(fault.NotFound, io.EOF), fault.NotFound, 3},
		{"formatted", fault.Newf(fault.Conflict, "moved: %w", io.EOF), fault.Conflict, 4},
		{"below other words", fmt.Errorf("get: %w", fault.Wrap(fault.Denied, io.EOF)), fault.Denied, 5},
		{"the outermost wins", fault.Wrap(fault.Invalid, fault.Wrap(fault.Exhausted, io.EOF)), fault.Invalid, 7},
		{"under advice", fault.Permanent(fault.Wrap(fault.TooLarge, io.EOF)), fault.TooLarge, 7},
		{"under a hint", fault.Hint(fault.Wrap(fault.Unauthenticated, io.EOF), "sign it"), fault.Unauthenticated, 5},
		{"a deadline", fmt.Errorf("dial: %w", context.DeadlineExceeded), fault.Unavailable, 6},
		{"a coded deadline", fault.Wrap(fault.Exhausted, context.DeadlineExceeded), fault.Exhausted, 1},
	}
	for _, tt := range tests {
		if got := fault.CodeOf(tt.err); got != tt.want || got.Exit() != tt.exit {
			t.Errorf("%s: CodeOf() = %q, exit %d, want %q, %d", tt.name, got, got.Exit(), tt.want, tt.exit)
		}
		if tt.err != nil && !fault.Is(tt.err, tt.want) {
			t.Errorf("%s: Is(%q) = false, want true", tt.name, tt.want)
		}
	}
	if fault.Is(nil, "") {
		t.Error("Is(nil) = true, want false: no error has no code")
	}
}

// TestAdvice shows that the outermost advice counts, and that the cause stays visible.
func TestAdvice(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name      string
		err       error
		permanent bool
		delay     time.Duration
		delayed   bool
	}{
		{"none", io.EOF, false, 0, false},
		{"permanent", fault.Permanent(io.EOF), true, 0, false},
		{"retry", fault.RetryAfter(time.Second, io.EOF), false, time.Second, true},
		{"retry as soon as may be", fault.RetryAfter(-time.Second, io.EOF), false, 0, true},
		{"permanent over retry", fault.Permanent(fault.RetryAfter(time.Second, io.EOF)), true, 0, false},
		{"retry over permanent", fault.RetryAfter(time.Second, fault.Permanent(io.EOF)), false, time.Second, true},
		{"below other words", fmt.Errorf("deliver: %w", fault.Permanent(io.EOF)), true, 0, false},
	}
	for _, tt := range tests {
		delay, delayed := fault.Delay(tt.err)
		if got := fault.IsPermanent(tt.err); got != tt.permanent || delay != tt.delay || delayed != tt.delayed {
			t.Errorf("%s: permanent %t, delay %s %t, want %t, %s %t", tt.name, got, delay, delayed, tt.permanent, tt.delay, tt.delayed)
		}
		if !errors.Is(tt.err, io.EOF) {
			t.Errorf("%s: the cause is hidden", tt.name)
		}
	}
}

func TestHint(t *testing.T) {
	t.Parallel()
	err := fmt.Errorf("open: %w", fault.Hint(fault.Hint(io.EOF, "inner"), "run %s", "this"))
	if got := fault.HintOf(err); got != "run this" {
		t.Errorf("HintOf() = %q, want the outermost", got)
	}
	if got := err.Error(); got != "open: EOF" {
		t.Errorf("Error() = %q, want the text without hints", got)
	}
	if got := fault.HintOf(io.EOF); got != "" {
		t.Errorf("HintOf(plain) = %q, want none", got)
	}
}

// TestNil shows that a nil error stays nil through everything, so that results can be
// wrapped without a check.
func TestNil(t *testing.T) {
	t.Parallel()
	for name, err := range map[string]error{
		"Wrap": fault.Wrap(fault.Invalid, nil), "Permanent": fault.Permanent(nil),
		"RetryAfter": fault.RetryAfter(1, nil), "Hint": fault.Hint(nil, "x"),
	} {
		if err != nil {
			t.Errorf("%s(nil) = %v, want nil", name, err)
		}
	}
}

func ExamplePermanent() {
	charge := func(card string) error {
		if card == "" {
			return fault.Permanent(errors.New("no card"))
		}
		return fault.RetryAfter(time.Minute, errors.New("the bank is closed"))
	}
	fmt.Println(fault.IsPermanent(charge("")))
	fmt.Println(fault.Delay(charge("4111")))
	// Output:
	// true
	// 1m0s true
}
