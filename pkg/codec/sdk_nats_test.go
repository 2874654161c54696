package codec_test

import (
	"bytes"
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/protocol/nats_jetstream/v2"
	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/signalmesh/signalmesh/pkg/codec"
	"github.com/signalmesh/signalmesh/pkg/embed"
)

func request(t *testing.T, url string, header http.Header, body []byte) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header = header
	return req
}

// natsStream starts a server with a stream "SIG" on the subjects "sig.>".
func natsStream(t *testing.T) (*nats.Conn, jetstream.JetStream) {
	t.Helper()
	srv, err := embed.Start(t.Context(), embed.Config{Dir: t.TempDir(), Durability: embed.Fast})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(srv.Shutdown)
	nc, err := srv.Connect()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "SIG", Subjects: []string{"sig.>"}}); err != nil {
		t.Fatal(err)
	}
	return nc, js
}

func TestSDKSendsNATS(t *testing.T) {
	t.Parallel()
	nc, js := natsStream(t)
	sender, err := nats_jetstream.NewSenderFromConn(nc, "SIG", "sig.default.any", nil)
	if err != nil {
		t.Fatal(err)
	}
	client, err := cloudevents.NewClient(sender)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := js.Stream(t.Context(), "SIG")
	if err != nil {
		t.Fatal(err)
	}
	sequence := uint64(0)
	for name, event := range sdkEvents(t) {
		for _, ctx := range []context.Context{cloudevents.WithEncodingBinary(t.Context()), cloudevents.WithEncodingStructured(t.Context())} {
			if result := client.Send(ctx, event); cloudevents.IsUndelivered(result) {
				t.Fatalf("%s: Send = %v", name, result)
			}
			sequence++
			msg, err := stream.GetMsg(t.Context(), sequence)
			if err != nil {
				t.Fatal(err)
			}
			s, err := codec.FromNATS(msg.Header, msg.Data)
			if err != nil {
				t.Errorf("%s: FromNATS(%v, %s) = %v", name, msg.Header, msg.Data, err)
				continue
			}
			sameEvent(t, s, &event)
		}
	}
}

func TestSDKReceivesNATS(t *testing.T) {
	t.Parallel()
	nc, js := natsStream(t)
	consumer, err := nats_jetstream.NewConsumerFromConn(nc, "SIG", "sig.>", nil, []nats.SubOpt{nats.AckNone(), nats.DeliverAll()})
	if err != nil {
		t.Fatal(err)
	}
	client, err := cloudevents.NewClient(consumer)
	if err != nil {
		t.Fatal(err)
	}
	received := make(chan cloudevents.Event)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { // until cancel
		done <- client.StartReceiver(ctx, func(e cloudevents.Event) { received <- e })
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("StartReceiver = %v", err)
		}
	})
	for name, s := range ourSignals(t) {
		for _, mode := range []codec.Mode{codec.Structured, codec.Binary} {
			header, body, err := codec.ToNATS(s, mode)
			if err != nil {
				t.Fatal(err)
			}
			msg := &nats.Msg{Subject: "sig.default.order.created", Header: header, Data: body}
			if _, err := js.PublishMsg(t.Context(), msg); err != nil {
				t.Fatal(err)
			}
			select {
			case event := <-received:
				sameEvent(t, s, &event)
			case <-time.After(10 * time.Second):
				t.Fatalf("%s %v: the SDK received nothing of %v %s", name, mode, header, body)
			}
		}
	}
}
