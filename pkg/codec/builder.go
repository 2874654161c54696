package codec

import (
	"fmt"
	"slices"

	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

// builder collects the attributes of a signal, one by one and in any order.
type builder struct {
	s       signal.Signal
	version string
	names   []string // seen so far, set or not
}

// maxAttributes is how many names a message may have: a signal's own, its extensions, data.
const maxAttributes = 9 + signal.MaxExtensions

// once notes a name, and refuses one that came before.
func (b *builder) once(name string) error {
	if slices.Contains(b.names, name) {
		return invalid(name, "given twice")
	}
	if len(b.names) == maxAttributes {
		return fault.Newf(fault.TooLarge, "more than %d attributes", maxAttributes)
	}
	b.names = append(b.names, name)
	return nil
}

// setText stores an attribute that is a string.
func (b *builder) setText(name, value string) (err error) {
	if name == "time" {
		b.s.Time, err = signal.ParseTime(name, value)
		return err
	}
	field := b.core(name)
	if field == nil {
		return b.s.SetExt(name, value)
	}
	*field = value
	return nil
}

// core returns where a core attribute is kept as text, or nil.
func (b *builder) core(name string) *string {
	switch name {
	case "specversion":
		return &b.version
	case "id":
		return &b.s.ID
	case "source":
		return &b.s.Source
	case "type":
		return &b.s.Type
	case "subject":
		return &b.s.Subject
	case "datacontenttype":
		return &b.s.DataContentType
	case "dataschema":
		return &b.s.DataSchema
	}
	return nil
}

// finish returns what was collected, if it has what every CloudEvent has. The data is still
// to be set.
func (b *builder) finish() (*signal.Signal, error) {
	if err := signal.CheckSpecVersion(b.version); err != nil {
		return nil, err
	}
	for _, required := range [...]string{"id", "source", "type"} {
		if *b.core(required) == "" {
			return nil, invalid(required, "required")
		}
	}
	s := b.s // without the names, which the signal would keep alive
	return &s, nil
}

// attribute is a core attribute as text.
type attribute struct{ name, value string }

func (a attribute) unset() bool { return a.value == "" }

// coreAttributes gives the core attributes but the content type of the data, whose place
// differs from form to form. A value of "" means not set.
func coreAttributes(s *signal.Signal) []attribute {
	var at string
	if !s.Time.IsZero() {
		at = signal.FormatTime(s.Time)
	}
	return []attribute{
		{"specversion", signal.SpecVersion},
		{"id", s.ID},
		{"source", s.Source},
		{"type", s.Type},
		{"subject", s.Subject},
		{"time", at},
		{"dataschema", s.DataSchema},
	}
}

// invalid is a [signal.AttributeError] coded Invalid.
func invalid(name, format string, args ...any) error {
	return fault.Wrap(fault.Invalid, &signal.AttributeError{Name: name, Reason: fmt.Sprintf(format, args...)})
}
