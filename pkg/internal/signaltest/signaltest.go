// Package signaltest draws signals for property tests: valid ones that use everything a signal
// may have, in every combination, so that what loses or bends any of it is found out.
package signaltest

import (
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/signalmesh/signalmesh/pkg/signal"
)

// Signals draws valid signals with attributes of any characters, extensions of every kind, and
// data that is JSON of every kind, text, bytes, empty or none.
func Signals() *rapid.Generator[*signal.Signal] {
	return rapid.Custom(func(t *rapid.T) *signal.Signal {
		s := &signal.Signal{
			ID:         Text().Draw(t, "id"),
			Source:     Text().Draw(t, "source"),
			Type:       Types().Draw(t, "type"),
			Subject:    optional(Text()).Draw(t, "subject"),
			DataSchema: optional(Text()).Draw(t, "dataschema"),
			Time:       Times().Draw(t, "time"),
			Extensions: Extensions().Draw(t, "extensions"),
		}
		drawData(t, s)
		return s
	})
}

// Diff compares two signals and returns "" when they are the same: times by instant and
// offset, no extensions like none, no data unlike empty data.
func Diff(want, got *signal.Signal) string {
	a, b := *want, *got
	if len(a.Extensions) == 0 {
		a.Extensions = nil
	}
	if len(b.Extensions) == 0 {
		b.Extensions = nil
	}
	if x, y := signal.FormatTime(a.Time), signal.FormatTime(b.Time); x != y {
		return "Time: " + x + " != " + y
	}
	a.Time = b.Time
	return cmp.Diff(a, b)
}

// Text draws attribute values: 1 to 24 characters of all that CloudEvents allows.
func Text() *rapid.Generator[string] {
	tricky := rapid.SampledFrom([]rune("\"%\\ ,;=&<>./+*'€ß😀\u00a0\u2028\ufffd~09azAZ"))
	char := rapid.OneOf(rapid.RuneFrom([]rune("abcdefgh0123/.-")), tricky, rapid.Rune().Filter(allowed))
	return rapid.StringOfN(char, 1, 24, -1)
}

func allowed(r rune) bool {
	return r >= 0x20 && (r < 0x7f || r > 0x9f) && (r < 0xfdd0 || r > 0xfdef) && r&0xfffe != 0xfffe
}

// Types draws signal types, most of them canonical, some foreign.
func Types() *rapid.Generator[string] {
	segment := rapid.OneOf(
		rapid.StringMatching(`[A-Za-z0-9_-]{1,12}`),
		rapid.StringMatching(`[a-z]{1,5}/[a-z "%=>*€]{1,5}`),
	)
	return rapid.Custom(func(t *rapid.T) string {
		return strings.Join(rapid.SliceOfN(segment, 1, 6).Draw(t, "segments"), ".")
	})
}

// Times draws times of years 1 to 9999, to the nanosecond, in UTC and at other offsets, and
// now and then none.
func Times() *rapid.Generator[time.Time] {
	return rapid.Custom(func(t *rapid.T) time.Time {
		if rapid.IntRange(0, 9).Draw(t, "none") == 0 {
			return time.Time{}
		}
		const year2, year9999 = -62104060800, 253370764800
		at := time.Unix(rapid.Int64Range(year2, year9999).Draw(t, "seconds"), rapid.Int64Range(0, 999_999_999).Draw(t, "nanos")).UTC()
		if offset := rapid.SampledFrom([]int{0, 0, 330, -210, 60, 840}).Draw(t, "offset"); offset != 0 {
			at = at.In(time.FixedZone("", offset*60))
		}
		return at
	})
}

// Extensions draws up to six extension attributes of every kind.
func Extensions() *rapid.Generator[map[string]any] {
	name := rapid.StringMatching(`[a-z0-9]{1,20}`).Filter(func(name string) bool { return !slices.Contains(core, name) })
	value := rapid.OneOf(
		rapid.OneOf(Text(), rapid.Just("")).AsAny(),
		rapid.Bool().AsAny(),
		rapid.Map(rapid.Int32(), func(n int32) int64 { return int64(n) }).AsAny(),
	)
	return rapid.MapOfN(name, value, 0, 6)
}

var core = []string{"specversion", "id", "source", "type", "subject", "time", "datacontenttype", "dataschema", "data"}

func drawData(t *rapid.T, s *signal.Signal) {
	switch rapid.SampledFrom([]string{"none", "json", "json", "text", "bytes"}).Draw(t, "data kind") {
	case "json":
		s.DataContentType = rapid.SampledFrom([]string{"", "application/json", "text/json", "application/x.y+JSON; charset=utf-8"}).Draw(t, "json type")
		s.Data = []byte(JSON(4).Draw(t, "json"))
	case "text":
		s.DataContentType = rapid.SampledFrom([]string{"text/plain", "text/csv; charset=latin1", "application/xml"}).Draw(t, "text type")
		s.Data = rapid.OneOf(rapid.Map(rapid.String(), func(s string) []byte { return []byte(s) }), rapid.SliceOf(rapid.Byte())).Draw(t, "text")
	case "bytes":
		s.DataContentType = rapid.SampledFrom([]string{"application/octet-stream", "image/png", "x"}).Draw(t, "bytes type")
		s.Data = rapid.SliceOf(rapid.Byte()).Draw(t, "bytes")
	}
}

// JSON draws JSON text of every kind, nested up to the depth, with numbers no float64 holds and
// spaces where they may be.
func JSON(depth int) *rapid.Generator[string] {
	scalar := rapid.OneOf(
		rapid.SampledFrom([]string{"null", "true", "false", `""`, "0", "{}", "[]", `"\ud834\udd1e\/\u0000"`}),
		rapid.StringMatching(`-?(0|[1-9][0-9]{0,30})(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?`),
		rapid.Map(rapid.String(), quote),
	)
	if depth == 0 {
		return scalar
	}
	inner := JSON(depth - 1)
	space := rapid.SampledFrom([]string{"", "", " ", "\n\t"})
	array := rapid.Custom(func(t *rapid.T) string {
		items := rapid.SliceOfN(inner, 0, 4).Draw(t, "items")
		sp := space.Draw(t, "space")
		return "[" + sp + strings.Join(items, sp+","+sp) + sp + "]"
	})
	object := rapid.Custom(func(t *rapid.T) string {
		var members []string
		for key, value := range rapid.MapOfN(rapid.String(), inner, 0, 4).Draw(t, "members") {
			members = append(members, quote(key)+space.Draw(t, "space")+":"+value)
		}
		return "{" + strings.Join(members, ",") + "}"
	})
	return rapid.OneOf(scalar, array, object)
}

func quote(s string) string {
	text, err := json.Marshal(s)
	if err != nil {
		panic(err) // strings always marshal
	}
	return string(text)
}

func optional(gen *rapid.Generator[string]) *rapid.Generator[string] {
	return rapid.OneOf(rapid.Just(""), gen)
}
