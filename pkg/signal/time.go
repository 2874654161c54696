package signal

import "time"

// FormatTime gives the text of a time as it travels: RFC 3339, as many fractional digits as
// it takes, and the offset the time has. Where that offset has seconds in it, as those of
// older zones do, it is UTC instead; the instant is always the same.
func FormatTime(t time.Time) string {
	return string(appendTime(make([]byte, 0, len(time.RFC3339Nano)), t))
}

// ParseTime reads what [FormatTime] writes, and any other RFC 3339 time. The error is an
// [*AttributeError] of the given attribute.
func ParseTime(attribute, text string) (time.Time, error) {
	var t time.Time
	if err := t.UnmarshalText([]byte(text)); err != nil {
		return time.Time{}, violation(attribute, "not an RFC 3339 time")
	}
	return t, nil
}

func appendTime(dst []byte, t time.Time) []byte {
	if _, offset := t.Zone(); offset%60 != 0 || offset <= -86400 || offset >= 86400 {
		t = t.UTC()
	}
	return t.AppendFormat(dst, time.RFC3339Nano)
}

func checkTime(t time.Time) error {
	if year := t.UTC().Year(); year < 0 || year > 9999 || t.Year() < 0 || t.Year() > 9999 {
		return violation("time", "year %d cannot be written as RFC 3339", year)
	}
	return nil
}
