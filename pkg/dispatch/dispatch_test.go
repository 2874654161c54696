package dispatch_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/signalmesh/signalmesh/pkg/dispatch"
	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

func newSignal(tb testing.TB, opts ...signal.Option) *signal.Signal {
	tb.Helper()
	s, err := signal.New("order.created", map[string]int{"cents": 4200}, append([]signal.Option{signal.From("/shop"), signal.WithID("o-1")}, opts...)...)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

type replier struct{ reply *signal.Signal }

func (r replier) Deliver(context.Context, *signal.Signal) error { return errors.New("not this one") }

func (r replier) Exchange(context.Context, *signal.Signal) (*signal.Signal, error) {
	return r.reply, nil
}
func (r replier) Endpoint() string { return "somewhere" }
func (r replier) Close() error     { return errors.New("closed") }

func TestOptionalAbilities(t *testing.T) {
	t.Parallel()
	s := newSignal(t)
	plain := dispatch.Func(func(context.Context, *signal.Signal) error { return errors.New("no") })
	if reply, err := dispatch.Send(t.Context(), plain, s); reply != nil || err == nil {
		t.Errorf("Send(plain) = %v, %v, want what Deliver returned", reply, err)
	}
	if dispatch.Endpoint(plain) != "" || dispatch.Close(plain) != nil {
		t.Error("an adapter without abilities has an endpoint or can't be closed")
	}
	able := replier{s}
	if reply, err := dispatch.Send(t.Context(), able, s); reply != s || err != nil {
		t.Errorf("Send(replier) = %v, %v, want what Exchange returned", reply, err)
	}
	if dispatch.Endpoint(able) != "somewhere" || dispatch.Close(able) == nil {
		t.Error("Endpoint and Close don't reach the adapter")
	}
}

func TestKey(t *testing.T) {
	t.Parallel()
	if dispatch.Key("a", "bc") == dispatch.Key("ab", "c") || dispatch.Key("a") == dispatch.Key("a", "") {
		t.Error("Key() mixes up its parts")
	}
	s := newSignal(t)
	if got, want := dispatch.KeyOf(t.Context(), s), dispatch.Key("/shop", "o-1"); got != want || len(got) != 22 {
		t.Errorf("KeyOf(no info) = %q, want %q", got, want)
	}
	info := dispatch.Info{Key: "k", Bus: "default", Route: "r", Target: "t", Attempt: 2, Sequence: 7}
	ctx := dispatch.WithInfo(t.Context(), info)
	if got := dispatch.KeyOf(ctx, s); got != "k" {
		t.Errorf("KeyOf(info) = %q, want k", got)
	}
	if got, want := dispatch.KeyOf(dispatch.WithInfo(ctx, dispatch.Info{Key: "a.b\n"}), s), dispatch.Key("a.b\n"); got != want {
		t.Errorf("KeyOf(not fit for a header) = %q, want %q", got, want)
	}
	if got := dispatch.InfoFrom(ctx); got != info {
		t.Errorf("InfoFrom() = %+v, want %+v", got, info)
	}
}

func TestFail(t *testing.T) {
	t.Parallel()
	if dispatch.Fail(nil, 500, nil) != nil {
		t.Error("Fail(nil) is an error")
	}
	cause := fault.Permanent(fault.Newf(fault.Denied, "forbidden"))
	body := []byte("token hunter2 is bad \xff" + strings.Repeat("é", dispatch.MaxExcerpt))
	err := dispatch.Fail(cause, 403, body, "hunter2")
	var f interface{ Response() (int, string) }
	if !errors.As(err, &f) {
		t.Fatalf("Fail() = %T, want something with a Response", err)
	}
	status, excerpt := f.Response()
	if status != 403 || strings.Contains(excerpt, "hunter2") || len(excerpt) > dispatch.MaxExcerpt || !utf8.ValidString(excerpt) {
		t.Errorf("Response() = %d, %d bytes %.40q, want 403 and a clean excerpt", status, len(excerpt), excerpt)
	}
	if !fault.IsPermanent(err) || !fault.Is(err, fault.Denied) || err.Error() != "forbidden" {
		t.Errorf("Fail() = %v, want the cause with its advice", err)
	}
}

func TestExcerptIsShortAndValid(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.SliceOfN(rapid.Byte(), 0, 3*dispatch.MaxExcerpt).Draw(t, "text")
		got := dispatch.Excerpt(text)
		if len(got) > dispatch.MaxExcerpt || !utf8.ValidString(got) {
			t.Fatalf("Excerpt() = %d bytes, valid = %t", len(got), utf8.ValidString(got))
		}
	})
}

func TestForward(t *testing.T) {
	t.Parallel()
	s := newSignal(t, signal.Ext("tenant", "a"), signal.Ext(signal.ExtDispatch, `{"noop":{}}`), signal.Ext(signal.ExtHops, 3))
	c := dispatch.Forward(s)
	if c.Hops() != 4 || c.ExtString("tenant") != "a" || c.ExtString(signal.ExtDispatch) != "" {
		t.Errorf("Forward() has extensions %v, want 4 hops, the tenant and no targets", c.Extensions)
	}
	if s.Hops() != 3 || s.ExtString(signal.ExtDispatch) == "" {
		t.Errorf("Forward() changed its argument: %v", s.Extensions)
	}
	c.Extensions["x"] = "y"
	if _, ok := s.Ext("x"); ok {
		t.Error("Forward() shares the extensions")
	}
	if got := dispatch.Forward(newSignal(t)).Hops(); got != 1 {
		t.Errorf("Forward(no hops) has %d hops, want 1", got)
	}
}
