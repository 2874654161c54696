package natscore_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
	"go.uber.org/goleak"

	_ "github.com/signalmesh/signalmesh/pkg/adapter/natscore"
	"github.com/signalmesh/signalmesh/pkg/codec"
	"github.com/signalmesh/signalmesh/pkg/dispatch"
	"github.com/signalmesh/signalmesh/pkg/dispatch/dispatchtest"
	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/signal"
	"github.com/signalmesh/signalmesh/pkg/testkit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestPubsubConformance(t *testing.T) {
	for _, mode := range []string{"structured", "binary", "msgpack"} {
		t.Run(mode, func(t *testing.T) {
			dispatchtest.Run(t, func(t *testing.T) *dispatchtest.Subject {
				nc := testkit.Conn(t)
				return &dispatchtest.Subject{
					Adapter:  "pubsub",
					Options:  `{"target":"event_bus","topic":"orders","encoding":"` + mode + `"}`,
					Env:      dispatch.Env{Conn: nc},
					Arrivals: listen(t, nc, "event_bus.orders", nil),
				}
			}, dispatchtest.Features{Signals: true, Keys: true, Hops: true, Remote: true})
		})
	}
}

func TestRequestConformance(t *testing.T) {
	dispatchtest.Run(t, func(t *testing.T) *dispatchtest.Subject {
		nc := testkit.Conn(t)
		outcome := make(chan dispatchtest.Outcome, 1)
		outcome <- dispatchtest.OK
		codes := map[dispatchtest.Outcome]string{dispatchtest.Busy: "503", dispatchtest.Never: "400"}
		answer := func(m *nats.Msg) {
			o := <-outcome
			outcome <- o
			if o == dispatchtest.Hang {
				return
			}
			reply := nats.NewMsg(m.Reply)
			if code := codes[o]; code != "" {
				reply.Header.Set(micro.ErrorCodeHeader, code)
				reply.Header.Set(micro.ErrorHeader, "as asked")
			}
			if err := m.RespondMsg(reply); err != nil {
				t.Errorf("RespondMsg() = %v", err)
			}
		}
		return &dispatchtest.Subject{
			Adapter:  "request",
			Options:  `{"subject":"svc.orders","timeout":"30s"}`,
			Env:      dispatch.Env{Conn: nc},
			Arrivals: listen(t, nc, "svc.orders", answer),
			Answer:   func(o dispatchtest.Outcome) { <-outcome; outcome <- o },
		}
	}, dispatchtest.Features{Signals: true, Keys: true, Hops: true, Outcomes: true, Hangs: true, Remote: true})
}

// listen hands over what is published to the subject, and then answers it.
func listen(t *testing.T, nc *nats.Conn, subject string, answer func(*nats.Msg)) <-chan dispatchtest.Arrival {
	t.Helper()
	arrivals, end := make(chan dispatchtest.Arrival), make(chan struct{})
	sub, err := nc.Subscribe(subject, func(m *nats.Msg) {
		s, err := codec.FromNATS(m.Header, m.Data)
		if err != nil {
			t.Errorf("FromNATS(%v, %q) = %v", m.Header, m.Data, err)
			return
		}
		select {
		case arrivals <- dispatchtest.Arrival{Signal: s, Key: m.Header.Get(nats.MsgIdHdr)}:
		case <-end:
		}
		if answer != nil {
			answer(m)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		close(end)
		if err := sub.Unsubscribe(); err != nil {
			t.Error(err)
		}
	})
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	return arrivals
}

func TestSubjects(t *testing.T) {
	t.Parallel()
	nc := testkit.Conn(t)
	tests := []struct {
		target, topic, space string
		want                 fault.Code
	}{
		{target: "event_bus", topic: "orders"},
		{target: "a.b", topic: "room:1.c"},
		{target: "alone"},
		{target: "signals"},
		{target: "sigma", topic: "x"},
		{target: "sig", space: "acme"},
		{target: "", want: fault.Invalid},
		{target: "a b", want: fault.Invalid},
		{target: "a\tb", want: fault.Invalid},
		{target: "a\x7f", want: fault.Invalid},
		{target: "a", topic: "*", want: fault.Invalid},
		{target: "a", topic: "b>", want: fault.Invalid},
		{target: "a.", topic: "b", want: fault.Invalid},
		{target: "a", topic: ".b", want: fault.Invalid},
		{target: ".", want: fault.Invalid},
		{target: "$JS", topic: "API.STREAM.DELETE.SIG_default", want: fault.Invalid},
		{target: "$KV", topic: "SIGMESH_ROUTES.x", want: fault.Invalid},
		{target: "_INBOX", topic: "x", want: fault.Invalid},
		{target: "_R_", want: fault.Invalid},
		{target: "a" + strings.Repeat(".aaaaaaaa", 60), want: fault.Invalid},
		{target: "sig", topic: "default.order.created", want: fault.Denied},
		{target: "sig-dlq", topic: "default.x", want: fault.Denied},
		{target: "sig-named", topic: "x", want: fault.Denied},
		{target: "sig-later.default.run.route", topic: "x", want: fault.Denied},
		{target: "acme-named", topic: "x", space: "acme", want: fault.Denied},
	}
	for _, tt := range tests {
		options := fmt.Sprintf(`{"target":%q,"topic":%q}`, tt.target, tt.topic)
		env := dispatch.Env{Conn: nc, Space: tt.space}
		a, err := dispatch.Open(t.Context(), "pubsub", []byte(options), env)
		if fault.CodeOf(err) != tt.want {
			t.Errorf("Open(pubsub %s) = %v, want %q", options, err, tt.want)
		}
		subject := strings.TrimSuffix(tt.target+"."+tt.topic, ".")
		if err == nil && dispatch.Endpoint(a) != subject {
			t.Errorf("Endpoint() = %q, want %q", dispatch.Endpoint(a), subject)
		}
		if tt.target == "" || tt.topic == "" && strings.HasSuffix(tt.target, ".") {
			continue
		}
		_, err = dispatch.Open(t.Context(), "request", fmt.Appendf(nil, `{"subject":%q}`, subject), env)
		if fault.CodeOf(err) != tt.want {
			t.Errorf("Open(request %s) = %v, want %q", subject, err, tt.want)
		}
	}
	if _, err := dispatch.Open(t.Context(), "pubsub", []byte(`{"target":"a"}`), dispatch.Env{}); !fault.Is(err, fault.Unavailable) {
		t.Errorf("Open(no connection) = %v, want Unavailable", err)
	}
}

func newSignal(t *testing.T, data any, opts ...signal.Option) *signal.Signal {
	t.Helper()
	s, err := signal.New("order.created", data, append(opts, signal.About("o-1"))...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// When a delivery is over the server has the message, and has passed it on before it says
// so: one round trip later another connection has it.
func TestPubsubReachesTheServer(t *testing.T) {
	t.Parallel()
	nc, other := testkit.Conn(t), testkit.Conn(t)
	sub, err := other.SubscribeSync("event_bus.>")
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Flush(); err != nil {
		t.Fatal(err)
	}
	a, err := dispatch.Open(t.Context(), "pubsub", []byte(`{"target":"event_bus","topic":"orders"}`), dispatch.Env{Conn: nc})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		if err := a.Deliver(t.Context(), newSignal(t, i)); err != nil {
			t.Fatal(err)
		}
		if err := other.Flush(); err != nil {
			t.Fatal(err)
		}
		if waiting, _, err := sub.Pending(); err != nil || waiting != i+1 {
			t.Fatalf("after %d deliveries %d messages arrived, %v", i+1, waiting, err)
		}
	}
}

func TestPubsubErrors(t *testing.T) {
	t.Parallel()
	nc := testkit.Conn(t)
	a, err := dispatch.Open(t.Context(), "pubsub", []byte(`{"target":"event_bus"}`), dispatch.Env{Conn: nc})
	if err != nil {
		t.Fatal(err)
	}
	large := newSignal(t, strings.Repeat("x", int(nc.MaxPayload())))
	if err := a.Deliver(t.Context(), large); !fault.Is(err, fault.TooLarge) || !fault.IsPermanent(err) {
		t.Errorf("Deliver(over the limit) = %v, want a permanent TooLarge", err)
	}
	nc.Close()
	if err := a.Deliver(t.Context(), newSignal(t, nil)); !fault.Is(err, fault.Unavailable) || fault.IsPermanent(err) {
		t.Errorf("Deliver(closed connection) = %v, want a temporary Unavailable", err)
	}
}

func TestRequest(t *testing.T) {
	t.Parallel()
	nc := testkit.Conn(t)
	const event = `{"specversion":"1.0","id":"s-1","source":"/air","type":"seat.taken","data":{"seat":"2A"}}`
	tests := []struct {
		name, reply string
		header      nats.Header
		body        string
		typ, data   string
		code        fault.Code
		permanent   bool
	}{
		{"typed", `{"type":"flight.reserved"}`, nil, `{"seat":"2A"}`, "flight.reserved", `{"seat":"2A"}`, "", false},
		{"event", `{}`, nil, event, "seat.taken", `{"seat":"2A"}`, "", false},
		{"no event", `{}`, nil, `+OK`, "", "", "", false},
		{"busy", `{"type":"a"}`, nats.Header{micro.ErrorCodeHeader: {"429"}}, ``, "", "", fault.Exhausted, false},
		{"odd", `{"type":"a"}`, nats.Header{micro.ErrorCodeHeader: {"E17"}, micro.ErrorHeader: {"odd"}}, ``, "", "", fault.Unavailable, false},
		{"gone", `{"type":"a"}`, nats.Header{micro.ErrorCodeHeader: {"404"}}, ``, "", "", fault.NotFound, true},
		{"denied", `{"type":"a"}`, nats.Header{micro.ErrorCodeHeader: {"403"}}, ``, "", "", fault.Denied, true},
		{"failure", `{"failure_type":"flight.failed"}`, nats.Header{micro.ErrorCodeHeader: {"409"}}, `full`, "flight.failed", "", "", false},
	}
	for _, tt := range tests {
		subject := "svc." + strings.ReplaceAll(tt.name, " ", "_")
		sub, err := nc.Subscribe(subject, func(m *nats.Msg) {
			if err := m.RespondMsg(&nats.Msg{Header: tt.header, Data: []byte(tt.body)}); err != nil {
				t.Errorf("RespondMsg() = %v", err)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		a, err := dispatch.Open(t.Context(), "request", []byte(`{"subject":"`+subject+`","reply":`+tt.reply+`}`), dispatch.Env{Conn: nc})
		if err != nil {
			t.Fatal(err)
		}
		s := newSignal(t, nil)
		got, err := dispatch.Send(t.Context(), a, s)
		if fault.CodeOf(err) != tt.code || fault.IsPermanent(err) != tt.permanent || (got != nil) != (tt.typ != "") {
			t.Errorf("%s: Send() = %+v, %v, want %q, %q", tt.name, got, err, tt.typ, tt.code)
		}
		if got != nil && (got.Type != tt.typ || tt.data != "" && string(got.Data) != tt.data) {
			t.Errorf("%s: reply is %s %s, want %s %s", tt.name, got.Type, got.Data, tt.typ, tt.data)
		}
		if got != nil && tt.reply != `{}` && (got.Causation() != s.ID || got.Source != "nats:"+subject || got.Subject != "o-1") {
			t.Errorf("%s: reply is %+v, want one that the signal caused", tt.name, got)
		}
		if err := sub.Unsubscribe(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestRequestWithoutAnswer(t *testing.T) {
	t.Parallel()
	nc := testkit.Conn(t)
	ask := func(subject, options string) error {
		a, err := dispatch.Open(t.Context(), "request", []byte(`{"subject":"`+subject+`"`+options+`}`), dispatch.Env{Conn: nc})
		if err != nil {
			t.Fatal(err)
		}
		return a.Deliver(t.Context(), newSignal(t, nil))
	}
	if err := ask("svc.nobody", ""); !fault.Is(err, fault.Unavailable) || fault.IsPermanent(err) || !strings.Contains(err.Error(), "nobody answers") {
		t.Errorf("Deliver(no responder) = %v, want a temporary Unavailable", err)
	}
	if _, err := nc.Subscribe("svc.silent", func(*nats.Msg) {}); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	if err := ask("svc.silent", `,"timeout":"30ms"`); !fault.Is(err, fault.Unavailable) || !strings.Contains(err.Error(), "30ms") {
		t.Errorf("Deliver(silent responder) = %v, want Unavailable after 30ms", err)
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("Deliver(silent responder) took %s", took)
	}
}
