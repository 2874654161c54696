package provision_test

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/provision"
)

func TestPlanClasses(t *testing.T) {
	t.Parallel()
	const base = "stream: {name: A, subjects: [a, b], max_age: 2h, max_msgs: 10, max_bytes: 1MiB, metadata: {x: '1'}"
	for name, tc := range map[string]struct {
		from, to string
		field    string
		class    provision.Class
	}{
		"same":             {base + "}", base + "}", "", provision.Safe},
		"order":            {base + "}", "stream: {name: A, subjects: [b, a], max_age: 2h, max_msgs: 10, max_bytes: 1MiB, metadata: {x: '1'}}", "", provision.Safe},
		"description":      {base + "}", base + ", description: d}", "description", provision.Safe},
		"higher age":       {"stream: {name: A, subjects: [a], max_age: 2h}", "stream: {name: A, subjects: [a]}", "max_age", provision.Safe},
		"lower age":        {"stream: {name: A, subjects: [a]}", "stream: {name: A, subjects: [a], max_age: 2h}", "max_age", provision.Lossy},
		"lower count":      {"stream: {name: A, subjects: [a]}", "stream: {name: A, subjects: [a], max_msgs: 2}", "max_msgs", provision.Lossy},
		"lower size":       {"stream: {name: A, subjects: [a], max_bytes: 2KiB}", "stream: {name: A, subjects: [a], max_bytes: 1KiB}", "max_bytes", provision.Lossy},
		"higher size":      {"stream: {name: A, subjects: [a], max_bytes: 1KiB}", "stream: {name: A, subjects: [a], max_bytes: 2KiB}", "max_bytes", provision.Safe},
		"per subject":      {"stream: {name: A, subjects: [a]}", "stream: {name: A, subjects: [a], max_msgs_per_subject: 1}", "max_msgs_per_subject", provision.Lossy},
		"window":           {"stream: {name: A, subjects: [a]}", "stream: {name: A, subjects: [a], duplicate_window: 1m}", "duplicate_window", provision.Lossy},
		"more subjects":    {"stream: {name: A, subjects: [a.b]}", "stream: {name: A, subjects: [a.>]}", "subjects", provision.Safe},
		"fewer subjects":   {"stream: {name: A, subjects: [a.>]}", "stream: {name: A, subjects: [a.b]}", "subjects", provision.Lossy},
		"to interest":      {"stream: {name: A, subjects: [a]}", "stream: {name: A, subjects: [a], retention: interest}", "retention", provision.Lossy},
		"to workqueue":     {"stream: {name: A, subjects: [a]}", "stream: {name: A, subjects: [a], retention: workqueue}", "retention", provision.Immutable},
		"storage":          {"stream: {name: A, subjects: [a]}", "stream: {name: A, subjects: [a], storage: memory}", "storage", provision.Immutable},
		"counter":          {"stream: {name: A, subjects: [a]}", "stream: {name: A, subjects: [a], allow_msg_counter: true}", "allow_msg_counter", provision.Immutable},
		"allow deletes":    {"stream: {name: A, subjects: [a], deny_delete: true}", "stream: {name: A, subjects: [a]}", "deny_delete", provision.Immutable},
		"deny deletes":     {"stream: {name: A, subjects: [a]}", "stream: {name: A, subjects: [a], deny_delete: true}", "deny_delete", provision.Safe},
		"ttl off":          {"stream: {name: A, subjects: [a], allow_msg_ttl: true}", "stream: {name: A, subjects: [a]}", "allow_msg_ttl", provision.Immutable},
		"schedules off":    {"stream: {name: A, subjects: [a], allow_msg_schedules: true, allow_rollup_hdrs: true}", "stream: {name: A, subjects: [a], allow_rollup_hdrs: true}", "allow_msg_schedules", provision.Immutable},
		"discard":          {"stream: {name: A, subjects: [a], discard: new}", "stream: {name: A, subjects: [a]}", "discard", provision.Lossy},
		"promote a mirror": {"stream: {name: A, mirror: {name: B}}", "stream: {name: A, subjects: [a]}", "mirror", provision.Lossy},
		"other mirror":     {"stream: {name: A, mirror: {name: B}}", "stream: {name: A, mirror: {name: C}}", "mirror", provision.Immutable},
		"drop a source":    {"stream: {name: A, sources: [{name: B}]}", "stream: {name: A, subjects: [a]}", "sources", provision.Lossy},
		"add a source":     {"stream: {name: A, subjects: [a]}", "stream: {name: A, subjects: [a], duplicate_window: 2m, sources: [{name: B}]}", "sources", provision.Safe},
		"history":          {"bucket: {name: A, history: 5}", "bucket: {name: A, history: 2}", "max_msgs_per_subject", provision.Lossy},
		"metadata":         {base + "}", "stream: {name: A, subjects: [a, b], max_age: 2h, max_msgs: 10, max_bytes: 1MiB, metadata: {x: '2'}}", "metadata", provision.Safe},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			js := server(t)
			ensure(t, js, tc.from)
			p := plan(t, js, tc.to)
			change := p.Changes()[0]
			if change.Class != tc.class {
				t.Fatalf("class = %s, want %s\n%s", change.Class, tc.class, p)
			}
			if tc.field == "" {
				if !p.Empty() {
					t.Errorf("plan is not empty:\n%s", p)
				}
				return
			}
			var found bool
			for _, f := range change.Fields {
				found = found || f.Name == tc.field && f.Class == tc.class
			}
			if !found {
				t.Errorf("no %s change of %s in\n%s", tc.class, tc.field, p)
			}
			if got := p.Destructive(); got != (tc.class == provision.Lossy) {
				t.Errorf("Destructive() = %t for class %s", got, tc.class)
			}
			checkApply(t, js, p, tc.to)
		})
	}
}

// checkApply applies p and wants the server to agree with its class.
func checkApply(t *testing.T, js jetstream.JetStream, p *provision.Plan, to string) {
	t.Helper()
	err := p.Apply(t.Context())
	if p.Blocked() {
		if !fault.Is(err, fault.Conflict) {
			t.Errorf("Apply of what can't be done = %v, want a conflict", err)
		}
		_, err := js.UpdateStream(t.Context(), load(t, to)[0].Config)
		if err == nil {
			t.Error("the server does what the plan calls immutable")
		}
		return
	}
	if err != nil {
		t.Fatalf("Apply: %v", err)
	}
	if again := plan(t, js, to); !again.Empty() {
		t.Errorf("plan after Apply:\n%s", again)
	}
}

func TestApplyKeepsWhatFilesCannotSay(t *testing.T) {
	t.Parallel()
	js := server(t)
	ensure(t, js, "stream: {name: A, subjects: [a]}")
	s, err := js.Stream(t.Context(), "A")
	if err != nil {
		t.Fatal(err)
	}
	c := s.CachedInfo().Config
	c.NoAck = true
	if _, err := js.UpdateStream(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if err := plan(t, js, "stream: {name: A, subjects: [a], description: d}").Apply(t.Context()); err != nil {
		t.Fatal(err)
	}
	info, err := s.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !info.Config.NoAck || info.Config.Description != "d" || info.Config.Metadata["_nats.ver"] == "" {
		t.Errorf("config after Apply = %+v, want no_ack kept, the description, and the server's metadata", info.Config)
	}
}

func TestApplyRefusesAMovedStream(t *testing.T) {
	t.Parallel()
	js := server(t)
	ensure(t, js, "stream: {name: A, subjects: [a]}")
	p := plan(t, js, "stream: {name: A, subjects: [a], description: mine}")
	if err := plan(t, js, "stream: {name: A, subjects: [a], description: theirs}").Apply(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := p.Apply(t.Context()); !fault.Is(err, fault.Conflict) {
		t.Errorf("Apply of an old plan = %v, want a conflict", err)
	}
}

func TestPlanText(t *testing.T) {
	t.Parallel()
	js := server(t)
	ensure(t, js, "stream: {name: OLD, subjects: [old], max_age: 7d}\n---\nbucket: {name: SAME}\n")
	for range 3 {
		if _, err := js.Publish(t.Context(), "old", nil); err != nil {
			t.Fatal(err)
		}
	}
	p := plan(t, js, `
stream: {name: NEW, subjects: [new.>], max_age: 1d, compression: s2}
---
stream: {name: OLD, subjects: [old, older], max_msgs: 2, max_age: 7d, storage: memory}
---
bucket: {name: SAME}
`)
	want := `+ stream NEW (x.yaml:2)
    compression: s2
    discard: old
    duplicate_window: 2m
    max_age: 24h
    num_replicas: 1
    retention: limits
    storage: file
    subjects: new.>

! stream OLD (x.yaml:4)
    max_msgs: unlimited -> 2  [lossy: drops the oldest 1 messages]
    storage: file -> memory  [immutable: fixed when the stream is made]
    subjects: old -> old, older

1 to create, 1 to update, 1 as defined. Some of it can't be done on existing streams.
`
	if d := cmp.Diff(want, p.String()); d != "" {
		t.Errorf("String() (-want +got):\n%s", d)
	}
	text, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Empty, Destructive, Blocked bool
		Changes                     []struct {
			Name, Action, Class string
			Fields              []struct {
				Field    string
				From, To any
			}
		}
	}
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	if !got.Blocked || len(got.Changes) != 3 || got.Changes[1].Class != "immutable" || got.Changes[1].Fields[0].From != "unlimited" {
		t.Errorf("JSON = %s", text)
	}
	if err := p.Apply(t.Context()); !fault.Is(err, fault.Conflict) {
		t.Errorf("Apply = %v, want a conflict", err)
	}
	if _, err := js.Stream(t.Context(), "NEW"); !errors.Is(err, jetstream.ErrStreamNotFound) {
		t.Errorf("a refused plan created NEW: %v", err)
	}
}
