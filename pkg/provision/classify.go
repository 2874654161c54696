package provision

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/signalmesh/signalmesh/pkg/internal/plug"
)

// never are settings that the server does not change on an existing stream; once are those
// that it switches on and never off. Checked against nats-server 2.15.2.
var (
	never = []string{"name", "storage", "allow_msg_counter", "persist_mode", "first_seq"}
	once  = []string{"deny_delete", "deny_purge", "allow_msg_ttl", "allow_msg_schedules"}
)

// classify says what the change of f costs the stream, and why.
func classify(f Field, info *jetstream.StreamInfo, want jetstream.StreamConfig) (Class, string) {
	switch {
	case slices.Contains(never, f.Name):
		return Immutable, "fixed when the stream is made"
	case slices.Contains(once, f.Name) && f.To == nil:
		return Immutable, "can't be switched off again"
	}
	switch f.Name {
	case "retention":
		return retention(info.Config.Retention, want.Retention)
	case "mirror":
		if want.Mirror != nil {
			return Immutable, "a mirror can only be removed, which makes it a stream of its own"
		}
		return Lossy, "it no longer follows the other stream"
	case "subjects":
		return subjects(info.Config.Subjects, want.Subjects)
	case "sources":
		return sources(f)
	case "discard":
		if want.Discard == jetstream.DiscardOld {
			return Lossy, "at its limit it drops the oldest message where it refused the newest"
		}
	case "max_age", "max_bytes", "max_msgs", "max_msgs_per_subject", "max_msg_size", "duplicate_window":
		return limit(f, info.State)
	}
	return Safe, ""
}

func retention(from, to jetstream.RetentionPolicy) (Class, string) {
	switch {
	case from == jetstream.WorkQueuePolicy || to == jetstream.WorkQueuePolicy:
		return Immutable, "a stream can't become or cease to be a work queue"
	case to == jetstream.InterestPolicy:
		return Lossy, "what every consumer has acknowledged is dropped"
	}
	return Safe, ""
}

func subjects(from, to []string) (Class, string) {
	for _, old := range from {
		if !slices.ContainsFunc(to, func(s string) bool { return covers(s, old) }) {
			return Lossy, old + " is no longer stored"
		}
	}
	return Safe, ""
}

// sources: a source that is left out stops flowing, one that is added loses nothing.
func sources(f Field) (Class, string) {
	from, _ := f.From.([]any)
	to, _ := f.To.([]any)
	for _, old := range from {
		if !slices.ContainsFunc(to, func(s any) bool { return show(s) == show(old) }) {
			return Lossy, "a source is changed or no longer followed"
		}
	}
	return Safe, ""
}

// limit compares two bounds, of which absent and -1 are the highest.
func limit(f Field, state jetstream.StreamState) (Class, string) {
	from, to := bound(f.From), bound(f.To)
	if f.Name == "duplicate_window" {
		from, to = number(f.From), number(f.To)
	}
	if to >= from {
		return Safe, ""
	}
	switch f.Name {
	case "max_age":
		return age(time.Duration(to), state)
	case "max_bytes":
		return dropped(int64(state.Bytes)-to, func(n int64) string { return plug.Size(n).String() })
	case "max_msgs":
		return dropped(int64(state.Msgs)-to, func(n int64) string { return fmt.Sprintf("%d messages", n) })
	case "max_msgs_per_subject":
		return Lossy, "older messages of a subject are dropped"
	case "max_msg_size":
		return Safe, ""
	}
	return Lossy, "repeats are recognised for a shorter time"
}

func age(to time.Duration, state jetstream.StreamState) (Class, string) {
	if state.Msgs == 0 {
		return Lossy, "messages are dropped sooner; none is stored now"
	}
	oldest := time.Since(state.FirstTime)
	if oldest <= to {
		return Lossy, "messages are dropped sooner; none of those stored now is that old"
	}
	return Lossy, fmt.Sprintf("what is older is dropped, and the oldest of %d messages is of %s",
		state.Msgs, state.FirstTime.UTC().Format(time.RFC3339))
}

func dropped(n int64, text func(int64) string) (Class, string) {
	if n <= 0 {
		return Lossy, "messages are dropped sooner; what is stored now fits"
	}
	return Lossy, "drops the oldest " + text(n)
}

// bound reads a limit; none is the highest.
func bound(v any) int64 {
	if n := number(v); n > 0 {
		return n
	}
	return math.MaxInt64
}

func number(v any) int64 {
	n, _ := v.(json.Number)
	i, _ := n.Int64() // absent is 0
	return i
}
