package streams_test

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/signalmesh/signalmesh/pkg/embed"
	"github.com/signalmesh/signalmesh/pkg/provision"
	"github.com/signalmesh/signalmesh/pkg/subject"
	"github.com/signalmesh/signalmesh/streams"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var space subject.Space

// provided starts a server in dir and makes the definitions of one file.
func provided(t *testing.T, dir, file string) (*embed.Server, jetstream.JetStream) {
	t.Helper()
	s, err := embed.Start(t.Context(), embed.Config{Dir: dir, Durability: embed.Fast})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Shutdown)
	nc, err := s.Connect()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	defs, err := provision.Load(streams.FS, provision.Vars{}, file)
	if err != nil {
		t.Fatal(err)
	}
	if err := provision.Ensure(t.Context(), js, defs...); err != nil {
		t.Fatal(err)
	}
	return s, js
}

func refusesRollup(t *testing.T, js jetstream.JetStream, subj string) {
	t.Helper()
	m := nats.NewMsg(subj)
	m.Header.Set("Nats-Rollup", "all")
	if _, err := js.PublishMsg(t.Context(), m); err == nil {
		t.Errorf("a rollup header published to %s empties its stream", subj)
	}
}

func TestSignals(t *testing.T) {
	t.Parallel()
	_, js := provided(t, t.TempDir(), streams.Signals)
	subj, err := space.Signal("default", "order.created")
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []bool{false, true} {
		ack, err := js.Publish(t.Context(), subj, []byte("x"), jetstream.WithMsgID(subject.MsgID("/shop", "1")))
		if err != nil {
			t.Fatal(err)
		}
		if ack.Stream != space.Stream("default") || ack.Duplicate != want {
			t.Errorf("publish %d = %+v, want duplicate %t", i, ack, want)
		}
	}
	if _, err := js.Publish(t.Context(), subj, nil, jetstream.WithMsgTTL(time.Hour)); err != nil {
		t.Errorf("publish with a lifetime: %v", err)
	}
	refusesRollup(t, js, subj)
}

func schedule(t *testing.T, js jetstream.JetStream, key string, at time.Time) {
	t.Helper()
	m := nats.NewMsg(space.Scheduled("default", key))
	m.Data = []byte(key)
	m.Header.Set("Nats-Schedule", "@at "+at.Format(time.RFC3339Nano))
	m.Header.Set("Nats-Schedule-Target", space.Later("default", "route", "r"))
	if _, err := js.PublishMsg(t.Context(), m); err != nil {
		t.Fatal(err)
	}
}

func runner(t *testing.T, js jetstream.JetStream) jetstream.Consumer {
	t.Helper()
	c, err := js.CreateOrUpdateConsumer(t.Context(), space.LaterStream("default"), jetstream.ConsumerConfig{
		Durable: "later", FilterSubject: "sig-later.default.run.>", AckPolicy: jetstream.AckExplicitPolicy,
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func next(t *testing.T, c jetstream.Consumer, want string) {
	t.Helper()
	m, err := c.Next(jetstream.FetchMaxWait(10 * time.Second))
	if err != nil {
		t.Fatalf("waiting for %s: %v", want, err)
	}
	if got := string(m.Data()); got != want {
		t.Errorf("ran %s, want %s", got, want)
	}
	if err := m.DoubleAck(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// A parked delivery runs at its time, also when the server was down then; once run it is
// gone, and a consumer made anew doesn't run it again.
func TestLater(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, js := provided(t, dir, streams.Later)
	begin := time.Now()
	schedule(t, js, "first", begin.Add(300*time.Millisecond))
	next(t, runner(t, js), "first")
	if took := time.Since(begin); took < 300*time.Millisecond {
		t.Errorf("ran after %s, before its time", took)
	}
	if _, err := js.Publish(t.Context(), space.Later("default", "route", "r"), []byte("redrive")); err != nil {
		t.Fatal(err)
	}
	next(t, runner(t, js), "redrive")
	schedule(t, js, "second", time.Now().Add(200*time.Millisecond))
	schedule(t, js, "never", time.Now().Add(time.Hour))
	s.Shutdown()

	_, js = provided(t, dir, streams.Later)
	if err := js.DeleteConsumer(t.Context(), space.LaterStream("default"), "later"); err != nil {
		t.Fatal(err)
	}
	next(t, runner(t, js), "second")
	stream, err := js.Stream(t.Context(), space.LaterStream("default"))
	if err != nil {
		t.Fatal(err)
	}
	info, err := stream.Info(t.Context(), jetstream.WithSubjectFilter(">"))
	if err != nil {
		t.Fatal(err)
	}
	if got := info.State.Subjects; len(got) != 1 || got[space.Scheduled("default", "never")] != 1 {
		t.Errorf("what waits = %v, want the schedule that is not due", got)
	}
	m, err := stream.GetMsg(t.Context(), 1, jetstream.WithGetMsgSubject("sig-later.default.at.>"))
	if err != nil || string(m.Data) != "never" {
		t.Errorf("looking through what waits = %v, %v, want it", m, err)
	}
}

// The journal reads like a bucket, keeps one value per key, and drops the oldest keys
// where a bucket would refuse new ones.
func TestJournal(t *testing.T) {
	t.Parallel()
	_, js := provided(t, t.TempDir(), streams.Journal)
	kv, err := js.KeyValue(t.Context(), space.JournalBucket("default"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range 2 {
		if _, err := kv.Put(t.Context(), "s.1", fmt.Append(nil, i)); err != nil {
			t.Fatal(err)
		}
	}
	e, err := kv.Get(t.Context(), "s.1")
	if err != nil || string(e.Value()) != "1" {
		t.Errorf("Get(s.1) = %v, %v, want 1", e, err)
	}
	refusesRollup(t, js, "$KV."+space.JournalBucket("default")+".s.2")

	stream, err := js.Stream(t.Context(), space.JournalStream("default"))
	if err != nil {
		t.Fatal(err)
	}
	cfg := stream.CachedInfo().Config
	if cfg.MaxBytes <= 0 || cfg.MaxAge <= 0 {
		t.Errorf("the journal is not bounded: max_bytes %d, max_age %s", cfg.MaxBytes, cfg.MaxAge)
	}
	cfg.MaxBytes = 64 << 10
	if _, err := js.UpdateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		if _, err := kv.Put(t.Context(), fmt.Sprintf("s.%d", i), bytes.Repeat([]byte("x"), 8<<10)); err != nil {
			t.Fatalf("put %d into a full journal: %v", i, err)
		}
	}
	if _, err := kv.Get(t.Context(), "s.0"); !errors.Is(err, jetstream.ErrKeyNotFound) {
		t.Errorf("Get of the oldest key = %v, want not found", err)
	}
}

func TestBuckets(t *testing.T) {
	t.Parallel()
	for file, want := range map[string]struct {
		bucket  string
		history int64
		ttl     time.Duration
		marker  time.Duration
	}{
		streams.Routes: {space.RoutesBucket(), 20, 0, 0},
		streams.Nodes:  {space.NodesBucket(), 1, 15 * time.Second, time.Minute},
	} {
		t.Run(file, func(t *testing.T) {
			t.Parallel()
			_, js := provided(t, t.TempDir(), file)
			kv, err := js.KeyValue(t.Context(), want.bucket)
			if err != nil {
				t.Fatal(err)
			}
			s, err := kv.Status(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if s.History() != want.history || s.TTL() != want.ttl || s.LimitMarkerTTL() != want.marker {
				t.Errorf("history %d, ttl %s, marker %s, want %+v", s.History(), s.TTL(), s.LimitMarkerTTL(), want)
			}
			if _, err := kv.Put(t.Context(), "k", nil); err != nil {
				t.Fatal(err)
			}
			if err := kv.Purge(t.Context(), "k"); err != nil {
				t.Errorf("Purge: %v", err)
			}
		})
	}
}
