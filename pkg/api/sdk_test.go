package api_test

import (
	"net/http"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"

	"github.com/signalmesh/signalmesh/pkg/signal"
)

// event is one that needs all the escaping there is.
func event(t *testing.T, id string) cloudevents.Event {
	t.Helper()
	e := cloudevents.NewEvent()
	e.SetID(id)
	e.SetSource("/shop/caf%C3%A9?region=eu")
	e.SetType("com.example/order created.v1")
	e.SetSubject(`50% of "café" – now`)
	e.SetTime(time.Date(2026, 11, 23, 12, 0, 0, 123456789, time.UTC))
	e.SetDataSchema("https://schemas.example/order#1")
	e.SetExtension("comexampleext", "value with spaces, \"quotes\" and ü")
	e.SetExtension("partitionkey", "k-1")
	if err := e.SetData(cloudevents.ApplicationJSON, map[string]any{"n": 1, "text": "naïve"}); err != nil {
		t.Fatal(err)
	}
	return e
}

// checkEvent compares what is stored with what the SDK was given.
func checkEvent(t *testing.T, mode string, s *signal.Signal, e cloudevents.Event) {
	t.Helper()
	got := []string{s.ID, s.Source, s.Type, s.Subject, s.DataSchema, s.Time.Format(time.RFC3339Nano), s.ExtString("comexampleext"), s.ExtString("partitionkey"), string(s.Data)}
	want := []string{e.ID(), e.Source(), e.Type(), e.Subject(), e.DataSchema(), e.Time().Format(time.RFC3339Nano), "value with spaces, \"quotes\" and ü", "k-1", string(e.Data())}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("%s: stored is %q, want %q", mode, got[i], want[i])
		}
	}
	if !s.IsJSON() {
		t.Errorf("%s: content type is %q", mode, s.DataContentType)
	}
}

// TestSDK: an unmodified CloudEvents client sends to us in every mode it has.
func TestSDK(t *testing.T) {
	t.Parallel()
	w := serve(t, nil)
	client, err := cloudevents.NewClientHTTP(
		cloudevents.WithTarget(w.url+"/v1/signals"),
		cloudevents.WithRoundTripper(w.client.Transport),
	)
	if err != nil {
		t.Fatal(err)
	}
	binary, structured := event(t, "binary-1"), event(t, "structured-1")
	if res := client.Send(cloudevents.WithEncodingBinary(t.Context()), binary); !cloudevents.IsACK(res) {
		t.Fatalf("Send(binary) = %v", res)
	}
	if res := client.Send(cloudevents.WithEncodingStructured(t.Context()), structured); !cloudevents.IsACK(res) {
		t.Fatalf("Send(structured) = %v", res)
	}
	batch := []cloudevents.Event{event(t, "batch-1"), event(t, "batch-2")}
	req, err := cloudevents.NewHTTPRequestFromEvents(t.Context(), w.url+"/v1/signals", batch)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := w.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusAccepted {
		t.Fatalf("POST of the SDK's batch = %d", resp.StatusCode)
	}
	stored := w.stored()
	if len(stored) != 4 {
		t.Fatalf("%d signals are stored, want 4", len(stored))
	}
	checkEvent(t, "binary", stored[0], binary)
	checkEvent(t, "structured", stored[1], structured)
	checkEvent(t, "batch", stored[2], batch[0])
	checkEvent(t, "batch", stored[3], batch[1])

	// and reads what we answer with
	get, err := w.client.Get(w.url + "/v1/signals/structured-1")
	if err != nil {
		t.Fatal(err)
	}
	defer get.Body.Close()
	read, err := cloudevents.NewEventFromHTTPResponse(get)
	if err != nil {
		t.Fatal(err)
	}
	checkEvent(t, "read back", stored[1], *read)
}

// TestSDKRefused: what the SDK calls a NACK is not acknowledged here.
func TestSDKRefused(t *testing.T) {
	t.Parallel()
	w := serve(t, nil)
	client, err := cloudevents.NewClientHTTP(
		cloudevents.WithTarget(w.url+"/v1/signals"), cloudevents.WithRoundTripper(w.client.Transport),
	)
	if err != nil {
		t.Fatal(err)
	}
	e := event(t, "bad-1")
	e.SetType("a..b")
	if res := client.Send(t.Context(), e); cloudevents.IsACK(res) {
		t.Errorf("Send(a bad type) = %v, want it refused", res)
	}
}
