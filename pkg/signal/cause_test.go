package signal_test

import (
	"math"
	"regexp"
	"testing"

	"github.com/signalmesh/signalmesh/pkg/signal"
)

const (
	parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	state  = "vendor=1"
)

var traceParent = regexp.MustCompile(`^00-[0-9a-f]{32}-[0-9a-f]{16}-01$`)

func TestCausedBy(t *testing.T) {
	t.Parallel()
	first := mustNew(t, "order.placed", nil, signal.Trace(parent, state))
	second := mustNew(t, "order.paid", nil, signal.CausedBy(first))
	third := mustNew(t, "order.shipped", nil, signal.CausedBy(second))

	for _, tt := range []struct {
		s                      *signal.Signal
		causation, correlation string
		hops                   int
	}{
		{first, "", "", 0},
		{second, first.ID, first.ID, 1},
		{third, second.ID, first.ID, 2},
	} {
		if got := tt.s.Causation(); got != tt.causation {
			t.Errorf("%s: Causation() = %q, want %q", tt.s.Type, got, tt.causation)
		}
		if got := tt.s.Correlation(); got != tt.correlation {
			t.Errorf("%s: Correlation() = %q, want %q", tt.s.Type, got, tt.correlation)
		}
		if got := tt.s.Hops(); got != tt.hops {
			t.Errorf("%s: Hops() = %d, want %d", tt.s.Type, got, tt.hops)
		}
	}
	spans := map[string]bool{}
	for _, s := range []*signal.Signal{first, second, third} {
		tp := s.TraceParent()
		if !traceParent.MatchString(tp) || tp[3:35] != parent[3:35] {
			t.Errorf("%s: TraceParent() = %q, want a span of the same trace", s.Type, tp)
		}
		spans[tp[36:52]] = true
		if got := s.ExtString(signal.ExtTraceState); got != state {
			t.Errorf("%s: tracestate = %q, want %q", s.Type, got, state)
		}
	}
	if len(spans) != 3 {
		t.Errorf("%d different spans, want 3", len(spans))
	}
}

func TestCausedByExplicitOptionsWin(t *testing.T) {
	t.Parallel()
	const own = "00-11111111111111111111111111111111-2222222222222222-00"
	cause := mustNew(t, "a", nil, signal.Trace(parent, state), signal.Correlate("c"))
	explicit := []signal.Option{
		signal.Correlate("mine"), signal.Trace(own, ""), signal.Ext(signal.ExtHops, 9), signal.Ext(signal.ExtCausation, "other"),
	}
	for _, opts := range [][]signal.Option{
		append([]signal.Option{signal.CausedBy(cause)}, explicit...),
		append(explicit, signal.CausedBy(cause)),
	} {
		s := mustNew(t, "b", nil, opts...)
		if s.Correlation() != "mine" || s.TraceParent() != own || s.Hops() != 9 || s.Causation() != "other" {
			t.Errorf("extensions = %v", s.Extensions)
		}
		if got := s.ExtString(signal.ExtTraceState); got != "" {
			t.Errorf("tracestate of another trace = %q, want none", got)
		}
	}
	if s := mustNew(t, "b", nil, signal.CausedBy(nil)); len(s.Extensions) != 0 {
		t.Errorf("CausedBy(nil) set %v", s.Extensions)
	}
}

func TestCausedByWithoutTrace(t *testing.T) {
	t.Parallel()
	cause := mustNew(t, "a", nil)
	cause.Extensions = map[string]any{signal.ExtTraceParent: "00-broken", signal.ExtTraceState: state}
	s := mustNew(t, "b", nil, signal.CausedBy(cause))
	if s.TraceParent() != "" || s.ExtString(signal.ExtTraceState) != "" {
		t.Errorf("a broken trace was continued: %v", s.Extensions)
	}
}

func TestEnsureTrace(t *testing.T) {
	t.Parallel()
	fresh := mustNew(t, "a", nil)
	fresh.EnsureTrace()
	got := fresh.TraceParent()
	if !traceParent.MatchString(got) {
		t.Fatalf("TraceParent() = %q", got)
	}
	if fresh.EnsureTrace(); fresh.TraceParent() != got {
		t.Error("EnsureTrace replaced a trace")
	}
	other := mustNew(t, "a", nil)
	if other.EnsureTrace(); other.TraceParent()[3:35] == got[3:35] {
		t.Error("two signals got one trace")
	}
}

func TestTraceParentForms(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		parent:                        true,
		parent[:53] + "00":            true,
		"01" + parent[2:] + "-future": true,
		"01" + parent[2:]:             true,
		parent + "-more":              false,
		"01" + parent[2:] + "x":       false,
		"ff" + parent[2:]:             false,
		"00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01": false,
		"00-00000000000000000000000000000000-b7ad6b7169203331-01": false,
		"00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01": false,
		"00-0af7651916cd43dd8448eb211c80319c_b7ad6b7169203331-01": false,
		"00-0af7651916cd43dd8448eb211c80319c-b7ad6b716920333g-01": false,
		"": false, "00": false,
	} {
		if _, err := signal.New("a", nil, signal.Trace(text, "")); (err == nil) != want {
			t.Errorf("Trace(%q) = %v, want accepted %v", text, err, want)
		}
	}
}

func TestHops(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		value any
		want  int
	}{
		{nil, 0},
		{int64(3), 3},
		{"3", 3},
		{"-3", 0},
		{"x", 0},
		{int64(-1), 0},
		{true, 0},
		{int64(math.MaxInt64), math.MaxInt32},
		{"99999999999", 0},
	} {
		s := &signal.Signal{Extensions: map[string]any{signal.ExtHops: tt.value}}
		if got := s.Hops(); got != tt.want {
			t.Errorf("Hops of %v = %d, want %d", tt.value, got, tt.want)
		}
	}
	last := &signal.Signal{ID: "1", Extensions: map[string]any{signal.ExtHops: int64(math.MaxInt32)}}
	if got := mustNew(t, "a", nil, signal.CausedBy(last)).Hops(); got != math.MaxInt32 {
		t.Errorf("Hops after the last = %d, want it to stay", got)
	}
}
