package signal

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/signalmesh/signalmesh/pkg/fault"
)

// Limits that [Signal.Validate] enforces. Lengths are in bytes.
const (
	MaxTypeLen    = 256      // of a type
	MaxSegments   = 16       // dot-separated segments of a type
	MaxSegmentLen = 64       // of one segment
	MaxExtensions = 64       // extension attributes of one signal
	MaxExtNameLen = 64       // of an extension name; CloudEvents advises 20 at most
	MaxValueLen   = 16 << 10 // of the value of any other attribute
	MaxDepth      = 256      // nested arrays and objects in JSON data
)

// An AttributeError says what is wrong with one attribute of a signal, or with its data. The
// value itself is never repeated: it may be a secret, or a megabyte.
type AttributeError struct {
	Name   string // as on the wire: "source", "data", or the name of an extension
	Reason string // "required", "not an RFC 3339 time", ...
}

// Error names the attribute and the reason.
func (e *AttributeError) Error() string { return fmt.Sprintf("attribute %.64q: %s", e.Name, e.Reason) }

var _ error = (*AttributeError)(nil)

// violation is an [AttributeError] coded Invalid.
func violation(name, format string, args ...any) error {
	return fault.Wrap(fault.Invalid, &AttributeError{name, fmt.Sprintf(format, args...)})
}

// excess is an [AttributeError] coded TooLarge.
func excess(name, format string, args ...any) error {
	return fault.Wrap(fault.TooLarge, &AttributeError{name, fmt.Sprintf(format, args...)})
}

// Validate reports everything that keeps the signal from travelling, joined into one error:
// missing attributes, characters CloudEvents forbids, names and values out of range, data that
// is not of its content type, and the limits above. Each part is an [*AttributeError]. The
// code is TooLarge when a limit is all that is exceeded, else Invalid.
func (s *Signal) Validate() error {
	var errs []error // stays nil, and off the heap, for a valid signal
	note := func(err error) {
		if err != nil {
			errs = append(errs, err)
		}
	}
	note(checkText("id", s.ID, true))
	note(checkText("source", s.Source, true))
	note(checkType(s.Type))
	note(checkText("subject", s.Subject, false))
	note(checkTime(s.Time))
	note(checkContentType(s.DataContentType))
	note(checkText("dataschema", s.DataSchema, false))
	note(s.checkExtensions())
	note(s.checkData())
	return joinCoded(errs)
}

// joinCoded joins errors and codes them: Invalid if any of them is, else TooLarge.
func joinCoded(errs []error) error {
	if len(errs) == 0 {
		return nil
	}
	for _, err := range errs {
		if !fault.Is(err, fault.TooLarge) {
			return fault.Wrap(fault.Invalid, errors.Join(errs...))
		}
	}
	return fault.Wrap(fault.TooLarge, errors.Join(errs...))
}

func (s *Signal) checkData() error {
	if s.Data == nil || !s.IsJSON() {
		return nil
	}
	if err := ValidJSON(s.Data); err != nil {
		if fault.Is(err, fault.TooLarge) {
			return excess("data", "%v", err)
		}
		return violation("data", "%v", err)
	}
	return nil
}

func (s *Signal) checkExtensions() error {
	if n := len(s.Extensions); n > MaxExtensions {
		return fault.Newf(fault.TooLarge, "%d extension attributes, the limit is %d", n, MaxExtensions)
	}
	var errs []error
	for name, value := range s.Extensions {
		if err := checkExtName(name); err != nil {
			errs = append(errs, err)
		} else if err := checkExtValue(name, value); err != nil {
			errs = append(errs, err)
		}
	}
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return joinCoded(errs)
}

// CheckSpecVersion accepts the CloudEvents versions that can be read: 1.0 and 1.0.x. The error
// is an [*AttributeError].
func CheckSpecVersion(version string) error {
	if version == SpecVersion {
		return nil
	}
	patch, ok := strings.CutPrefix(version, SpecVersion+".")
	if _, err := strconv.ParseUint(patch, 10, 16); ok && err == nil {
		return nil
	}
	if version == "" {
		return violation("specversion", "required")
	}
	return violation("specversion", "%.16q is not supported, want %q", version, SpecVersion)
}

// checkType holds the rules for types: what routing and NATS subjects can carry.
func checkType(typ string) error {
	switch {
	case typ == "":
		return violation("type", "required")
	case len(typ) > MaxTypeLen:
		return excess("type", "longer than %d bytes", MaxTypeLen)
	case strings.Count(typ, ".") >= MaxSegments:
		return excess("type", "more than %d segments", MaxSegments)
	}
	for segment := range strings.SplitSeq(typ, ".") {
		switch {
		case segment == "":
			return violation("type", "empty segment")
		case len(segment) > MaxSegmentLen:
			return excess("type", "a segment is longer than %d bytes", MaxSegmentLen)
		}
	}
	return checkChars("type", typ)
}

func checkText(name, value string, required bool) error {
	switch {
	case value == "" && required:
		return violation(name, "required")
	case len(value) > MaxValueLen:
		return excess(name, "longer than %d bytes", MaxValueLen)
	}
	return checkChars(name, value)
}

// checkContentType wants what an HTTP header can carry as it is.
func checkContentType(contentType string) error {
	for i := range len(contentType) {
		if c := contentType[i]; c < ' ' || c >= 0x7f {
			return violation("datacontenttype", "not printable ASCII at byte %d", i)
		}
	}
	if strings.Trim(contentType, " ") != contentType {
		return violation("datacontenttype", "a space at the beginning or end")
	}
	return checkText("datacontenttype", contentType, false)
}

// checkChars refuses what CloudEvents forbids in strings: control characters, noncharacters
// and anything that is not UTF-8.
func checkChars(name, value string) error {
	for i, r := range value {
		switch {
		case r < 0x20 || r >= 0x7f && r <= 0x9f:
			return violation(name, "control character %U at byte %d", r, i)
		case r < utf8.RuneSelf:
		case r >= 0xfdd0 && r <= 0xfdef || r&0xfffe == 0xfffe:
			return violation(name, "noncharacter %U at byte %d", r, i)
		case r == utf8.RuneError && !strings.HasPrefix(value[i:], string(utf8.RuneError)):
			return violation(name, "not UTF-8 at byte %d", i)
		}
	}
	return nil
}

func checkExtName(name string) error {
	if isCore(name) {
		return violation(name, "a core attribute, not an extension")
	}
	if len(name) > MaxExtNameLen {
		return excess(name, "the name is longer than %d bytes", MaxExtNameLen)
	}
	for i := range len(name) {
		if c := name[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return violation(name, "names hold lower-case letters and digits only")
		}
	}
	if name == "" {
		return violation(name, "a name is required")
	}
	return nil
}

func checkExtValue(name string, value any) error {
	switch v := value.(type) {
	case string:
		return checkText(name, v, false)
	case bool:
		return nil
	case int64:
		if v < math.MinInt32 || v > math.MaxInt32 {
			return violation(name, "CloudEvents integers have 32 bits; carry a larger number as a string")
		}
		return nil
	}
	return violation(name, "a Go %T is not an extension value (string, bool or int64)", value)
}

// isCore reports whether the name belongs to CloudEvents itself.
func isCore(name string) bool {
	switch name {
	case "data", "data_base64":
		return true
	}
	return coreIndex(name) >= 0
}
