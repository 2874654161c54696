package e2e_test

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	cejsm "github.com/cloudevents/sdk-go/protocol/nats_jetstream/v2"
	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/cloudevents/sdk-go/v2/binding"
	"github.com/nats-io/nats.go"
)

// awkward is what attributes may hold and naive encodings lose.
const awkward = `order "7" is 100% für alle` + "\u20ac"

// TestCloudEventsSDK drives a node with the unmodified CloudEvents SDK: it sends over HTTP
// in every mode and over JetStream to a subject of ours, its events are routed, and it reads
// from our stream what was published.
func TestCloudEventsSDK(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	subjects := map[string]string{} // of what the target got, by id
	target := receive(t, 0, func(r *http.Request, body []byte) (string, error) {
		id, err := cloudEvent(r, body)
		event := cloudevents.NewEvent()
		if err == nil {
			err = event.UnmarshalJSON(body)
		}
		mu.Lock()
		defer mu.Unlock()
		subjects[id] = event.Subject()
		return id, err
	})
	d := start(t, nil, "run", "--config", write(t, "signald.yaml", fmt.Sprintf(`
node: {name: sdk, data: %q}
nats: {listen: 127.0.0.1:0}
http: {listen: 127.0.0.1:0}
network: {allow: [127.0.0.0/8]}
routes:
  - {name: out, on: order.**, to: [{http: {url: %q}}]}
`, t.TempDir(), target.URL)))

	ctx := cloudevents.ContextWithTarget(t.Context(), d.HTTP+"/v1/signals")
	client, err := cloudevents.NewClientHTTP()
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]bool{"binary": true, "structured": true, "batch-1": true, "batch-2": true, "jetstream": true, "jetstream-structured": true}
	for id, ctx := range map[string]context.Context{
		"binary": binding.WithForceBinary(ctx), "structured": binding.WithForceStructured(ctx),
	} {
		if result := client.Send(ctx, order(t, id)); !cloudevents.IsACK(result) {
			t.Errorf("send %s = %v", id, result)
		}
	}
	sendBatch(t, d.HTTP, order(t, "batch-1"), order(t, "batch-2"))

	sender, err := cejsm.NewSender(d.NATS, "SIG_default", "sig.default.order.created", cejsm.NatsOptions(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer sender.Close(t.Context())
	js, err := cloudevents.NewClient(sender)
	if err != nil {
		t.Fatal(err)
	}
	for id, ctx := range map[string]context.Context{
		"jetstream": t.Context(), "jetstream-structured": binding.WithForceStructured(t.Context()),
	} {
		if result := js.Send(ctx, order(t, id)); cloudevents.IsUndelivered(result) {
			t.Errorf("send %s = %v", id, result)
		}
	}

	until(t, 20*time.Second, "every event at the target", func() bool { return len(target.seen()) >= len(want) })
	target.check(t, "target", want)
	mu.Lock()
	for id, subject := range subjects {
		if subject != awkward {
			t.Errorf("subject of %s = %q, want %q", id, subject, awkward)
		}
	}
	mu.Unlock()
	consume(t, d.NATS, want)
}

// order is an event whose attributes are awkward.
func order(t *testing.T, id string) cloudevents.Event {
	t.Helper()
	e := cloudevents.NewEvent()
	e.SetID(id)
	e.SetSource("/sdk/" + id)
	e.SetType("order.created")
	e.SetSubject(awkward)
	e.SetExtension("note", awkward)
	if err := e.SetData(cloudevents.ApplicationJSON, map[string]any{"id": id}); err != nil {
		t.Fatal(err)
	}
	return e
}

func sendBatch(t *testing.T, base string, events ...cloudevents.Event) {
	t.Helper()
	req, err := cloudevents.NewHTTPRequestFromEvents(t.Context(), base+"/v1/signals", events)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusAccepted {
		t.Errorf("batch = %d, want 202", resp.StatusCode)
	}
}

// consume reads our stream with the SDK's consumer until every event was seen.
func consume(t *testing.T, url string, want map[string]bool) {
	t.Helper()
	consumer, err := cejsm.NewConsumer(url, "SIG_default", "sig.default.order.*", cejsm.NatsOptions(), nil, []nats.SubOpt{nats.DeliverAll()})
	if err != nil {
		t.Fatal(err)
	}
	client, err := cloudevents.NewClient(consumer)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithTimeout(t.Context(), 20*time.Second)
	defer stop()
	var mu sync.Mutex
	got := map[string]bool{}
	err = client.StartReceiver(ctx, func(e cloudevents.Event) {
		mu.Lock()
		defer mu.Unlock()
		// An SDK's own binary messages come back as the SDK writes them, others as we do.
		if e.Subject() != awkward || e.Extensions()["note"] != awkward {
			t.Errorf("the SDK read %s with subject %q, note %q", e.ID(), e.Subject(), e.Extensions()["note"])
		}
		if got[e.ID()] = true; len(got) == len(want) {
			stop()
		}
	})
	_ = consumer.Close(context.Background())
	if err != nil || len(got) != len(want) {
		t.Errorf("the SDK read %v from the stream (%v), want %v", got, err, want)
	}
}
