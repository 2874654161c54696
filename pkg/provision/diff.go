package provision

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/signalmesh/signalmesh/pkg/internal/plug"
)

// Class says what a change costs.
type Class string

// The classes, from harmless to impossible.
const (
	Safe      Class = "safe"
	Lossy     Class = "lossy"     // messages, or a promise about them, are given up
	Immutable Class = "immutable" // the server does not allow it on an existing stream
)

func worse(a, b Class) Class {
	rank := []Class{Safe, Lossy, Immutable}
	return rank[max(slices.Index(rank, a), slices.Index(rank, b), 0)]
}

// A Field is one setting that differs. From and To are JSON values, durations and sizes as
// text; a setting that is not there is nil.
type Field struct {
	Name  string `json:"field"` // as in files and in NATS' JSON
	From  any    `json:"from"`
	To    any    `json:"to"`
	Class Class  `json:"class"`
	Note  string `json:"note,omitempty"` // what is lost, or why it can't be done
}

func (f Field) String() string {
	text := fmt.Sprintf("%s: %s -> %s", f.Name, show(f.From), show(f.To))
	if f.Class != Safe {
		text += fmt.Sprintf("  [%s: %s]", f.Class, f.Note)
	}
	return text
}

// kept are settings that files can't say; an update leaves them as they are.
var kept = []string{"sealed", "no_ack", "template_owner"}

// diff lists the settings in which live and want differ, in the order of their names.
func diff(info *jetstream.StreamInfo, want jetstream.StreamConfig) []Field {
	from, to := settings(withDefaults(info.Config)), settings(want)
	if want.Mirror != nil {
		delete(from, "mirror_direct") // taken over from the other stream
		delete(to, "mirror_direct")
	}
	var fields []Field
	for _, name := range names(from, to) {
		if reflect.DeepEqual(from[name], to[name]) || slices.Contains(kept, name) {
			continue
		}
		f := Field{Name: name, From: from[name], To: to[name]}
		f.Class, f.Note = classify(f, info, want)
		f.From, f.To = readable(name, f.From), readable(name, f.To)
		fields = append(fields, f)
	}
	return fields
}

// fieldsOf lists what a new stream will be, leaving out what is unlimited.
func fieldsOf(want jetstream.StreamConfig) []Field {
	var fields []Field
	to := settings(want)
	for _, name := range names(to) {
		if v := readable(name, to[name]); name != "name" && v != "unlimited" {
			fields = append(fields, Field{Name: name, To: v, Class: Safe})
		}
	}
	return fields
}

// settings is the configuration as the server sees it: a JSON object without what is empty.
func settings(c jetstream.StreamConfig) map[string]any {
	c.Subjects = slices.Sorted(slices.Values(c.Subjects))
	text, err := json.Marshal(c)
	if err != nil {
		panic(err) // a struct of plain values
	}
	m := map[string]any{}
	dec := json.NewDecoder(strings.NewReader(string(text)))
	dec.UseNumber()
	if err := dec.Decode(&m); err != nil {
		panic(err) // our own JSON
	}
	for name, v := range m {
		if empty(v) {
			delete(m, name)
		}
	}
	return m
}

func empty(v any) bool {
	switch v := v.(type) {
	case bool:
		return !v
	case string:
		return v == ""
	case json.Number:
		return v == "0"
	case map[string]any:
		return len(v) == 0
	case []any:
		return len(v) == 0
	}
	return v == nil
}

func names(ms ...map[string]any) []string {
	var all []string
	for _, m := range ms {
		for name := range m {
			all = append(all, name)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// readable turns the server's nanoseconds and bytes into what people write.
func readable(name string, v any) any {
	n, ok := v.(json.Number)
	if !ok {
		return v
	}
	i, err := n.Int64()
	switch {
	case err != nil:
		return v
	case i == -1:
		return "unlimited"
	case name == "max_age" || name == "duplicate_window" || name == "subject_delete_marker_ttl":
		return plug.FormatDuration(time.Duration(i))
	case name == "max_bytes" || name == "max_msg_size":
		return plug.Size(i).String()
	}
	return v
}

func show(v any) string {
	switch v := v.(type) {
	case nil:
		return "none"
	case string:
		return v
	case []any:
		parts := make([]string, len(v))
		for i, e := range v {
			parts[i] = show(e)
		}
		return strings.Join(parts, ", ")
	}
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(text)
}
