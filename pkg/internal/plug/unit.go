package plug

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Size is a number of bytes, written "512KiB", "10MB" or 1048576.
type Size int64

var sizeUnits = []struct {
	name   string
	factor float64
}{
	{"KiB", 1 << 10},
	{"MiB", 1 << 20},
	{"GiB", 1 << 30},
	{"TiB", 1 << 40},
	{"kB", 1e3},
	{"KB", 1e3},
	{"MB", 1e6},
	{"GB", 1e9},
	{"TB", 1e12},
	{"B", 1},
}

// ParseSize reads a number of bytes with an optional unit: B, kB, MB, GB, TB (powers of
// 1000), KiB, MiB, GiB, TiB (powers of 1024).
func ParseSize(text string) (Size, error) {
	number, factor := strings.TrimSpace(text), 1.0
	for _, u := range sizeUnits {
		if before, ok := strings.CutSuffix(number, u.name); ok {
			number, factor = strings.TrimSpace(before), u.factor
			break
		}
	}
	if i, err := strconv.ParseInt(strings.ReplaceAll(number, "_", ""), 10, 64); err == nil && factor == 1 {
		return Size(i), nil
	}
	f, err := strconv.ParseFloat(number, 64)
	if err != nil || math.IsNaN(f) || math.Abs(f*factor) >= math.MaxInt64 {
		return 0, fmt.Errorf("%q is not a size such as 512KiB or 10MB", text)
	}
	return Size(math.Round(f * factor)), nil
}

// String writes s in the largest unit that loses nothing: "10MB", "512KiB", "0".
func (s Size) String() string {
	if s == 0 {
		return "0"
	}
	best, unit := int64(s), "B"
	for _, u := range sizeUnits {
		f := int64(u.factor)
		if u.name != "KB" && int64(s)%f == 0 && abs(int64(s)/f) < abs(best) {
			best, unit = int64(s)/f, u.name
		}
	}
	return strconv.FormatInt(best, 10) + unit
}

// MarshalText is [Size.String].
func (s Size) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

func abs(i int64) int64 {
	if i < 0 {
		return -i
	}
	return i
}

const day = 24 * time.Hour

// ParseDuration is [time.ParseDuration] that also knows days and weeks, in front of the
// rest: "7d", "1d12h", "2w".
func ParseDuration(text string) (time.Duration, error) {
	rest, sign := strings.TrimSpace(text), 1.0
	if after, ok := strings.CutPrefix(rest, "-"); ok {
		rest, sign = after, -1
	}
	var total float64
	var days bool
	for _, u := range []struct {
		name   string
		factor time.Duration
	}{{"w", 7 * day}, {"d", day}} {
		number, after, ok := strings.Cut(rest, u.name)
		if !ok {
			continue
		}
		f, err := strconv.ParseFloat(number, 64)
		if err != nil {
			return 0, fmt.Errorf("%q is not a duration such as 500ms, 5s or 7d", text)
		}
		total += f * float64(u.factor)
		rest, days = after, true
	}
	if rest != "" || !days {
		d, err := time.ParseDuration(rest)
		if err != nil || d < 0 {
			return 0, fmt.Errorf("%q is not a duration such as 500ms, 5s or 7d", text)
		}
		if !days { // keep whole nanoseconds exact
			return time.Duration(sign) * d, nil
		}
		total += float64(d)
	}
	if total >= math.MaxInt64 {
		return 0, errors.New("the duration is longer than 292 years")
	}
	return time.Duration(sign * math.Round(total)), nil
}

// FormatDuration writes d as Go does, without the zero parts at the end: "1m", not "1m0s".
func FormatDuration(d time.Duration) string {
	text := d.String()
	if before, ok := strings.CutSuffix(text, "m0s"); ok {
		text = before + "m"
	}
	if before, ok := strings.CutSuffix(text, "h0m"); ok {
		text = before + "h"
	}
	return text
}
