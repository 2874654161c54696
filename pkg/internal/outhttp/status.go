package outhttp

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/secret"
)

// Statuses is a range of HTTP statuses, written 204, 2xx or 200-299.
type Statuses struct{ Low, High int }

// UnmarshalText reads the three forms.
func (r *Statuses) UnmarshalText(text []byte) error {
	s := string(text)
	low, high, isRange := strings.Cut(s, "-")
	switch {
	case len(s) == 3 && strings.HasSuffix(strings.ToLower(s), "xx"):
		low, high = s[:1]+"00", s[:1]+"99"
	case !isRange:
		high = low
	}
	a, errA := strconv.Atoi(low)
	b, errB := strconv.Atoi(high)
	if errA != nil || errB != nil || a < 100 || b > 599 || a > b {
		return fault.Newf(fault.Invalid, "%q is not a status such as 204, 2xx or 200-299", s)
	}
	*r = Statuses{a, b}
	return nil
}

// MarshalText writes the shortest of the three forms.
func (r Statuses) MarshalText() ([]byte, error) {
	switch {
	case r.Low == r.High:
		return strconv.AppendInt(nil, int64(r.Low), 10), nil
	case r.Low%100 == 0 && r.High == r.Low+99:
		return append(strconv.AppendInt(nil, int64(r.Low/100), 10), "xx"...), nil
	}
	return []byte(strconv.Itoa(r.Low) + "-" + strconv.Itoa(r.High)), nil
}

// maxRetryAfter bounds what an endpoint may ask for.
const maxRetryAfter = 24 * time.Hour

// classify says what a status that is not a success means to a delivery: 408, 425, 429 and
// 5xx are worth another try, not before Retry-After; everything else is permanent.
func classify(status int, header http.Header, now time.Time, secrets []string) error {
	text := strconv.Itoa(status)
	if name := http.StatusText(status); name != "" {
		text += " " + name
	}
	err := fault.Newf(codeOf(status), "status %s", text)
	switch {
	case status == http.StatusRequestTimeout, status == http.StatusTooEarly, status == http.StatusTooManyRequests, status >= 500:
		if wait, ok := retryAfter(header.Get("Retry-After"), now); ok {
			return fault.RetryAfter(wait, err)
		}
		return err
	case status >= 300 && status < 400 && header.Get("Location") != "":
		err = fault.Hint(err, "redirects are not followed; it points to %s", secret.Redact(secret.URL(header.Get("Location")), secrets...))
	}
	return fault.Permanent(err)
}

func codeOf(status int) fault.Code {
	switch status {
	case http.StatusUnauthorized, http.StatusProxyAuthRequired:
		return fault.Unauthenticated
	case http.StatusForbidden:
		return fault.Denied
	case http.StatusNotFound, http.StatusGone:
		return fault.NotFound
	case http.StatusConflict, http.StatusPreconditionFailed:
		return fault.Conflict
	case http.StatusRequestEntityTooLarge:
		return fault.TooLarge
	case http.StatusTooManyRequests:
		return fault.Exhausted
	case http.StatusRequestTimeout, http.StatusTooEarly:
		return fault.Unavailable
	}
	if status >= 500 {
		return fault.Unavailable
	}
	return fault.Invalid
}

// retryAfter reads both forms of the header: seconds, and a date.
func retryAfter(value string, now time.Time) (time.Duration, bool) {
	value = strings.TrimSpace(value)
	if seconds, err := strconv.ParseUint(value, 10, 63); err == nil {
		return time.Duration(min(seconds, uint64(maxRetryAfter/time.Second))) * time.Second, true
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0, false
	}
	return min(max(at.Sub(now), 0), maxRetryAfter), true
}
