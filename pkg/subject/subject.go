package subject

import (
	"fmt"
	"strings"

	"github.com/signalmesh/signalmesh/pkg/fault"
)

// DefaultPrefix begins all names of the zero [Space].
const DefaultPrefix = "sig"

// A Space is the names that share a prefix. Meshes in one NATS account that must not see
// each other have a prefix each. The zero Space has the prefix "sig".
type Space struct{ prefix string }

// NewSpace makes the space with this prefix; "" stands for [DefaultPrefix]. A prefix is a
// lower-case letter followed by at most 15 lower-case letters and digits, because "-", "_"
// and case are what keeps the names of one prefix apart from those of another.
func NewSpace(prefix string) (Space, error) {
	if prefix == "" {
		return Space{}, nil
	}
	if prefix == "kv" || prefix == "obj" {
		return Space{}, fault.Newf(fault.Invalid, "prefix %q: NATS names its own streams so", prefix)
	}
	ok := len(prefix) <= 16 && 'a' <= prefix[0] && prefix[0] <= 'z'
	for _, c := range []byte(prefix) {
		ok = ok && ('a' <= c && c <= 'z' || '0' <= c && c <= '9')
	}
	if !ok {
		return Space{}, fault.Newf(fault.Invalid,
			"prefix %q: want a lower-case letter and at most 15 more lower-case letters or digits", prefix)
	}
	if prefix == DefaultPrefix {
		return Space{}, nil // equal spaces are ==
	}
	return Space{prefix: prefix}, nil
}

// Prefix is the first part of all names, "sig" for the zero Space.
func (sp Space) Prefix() string {
	if sp.prefix == "" {
		return DefaultPrefix
	}
	return sp.prefix
}

// Signal is the subject of signals of the type on the bus. An invalid bus name or type is
// an error with the code [fault.Invalid], or [fault.TooLarge] when it is over a limit.
func (sp Space) Signal(bus, typ string) (string, error) {
	if err := CheckName("bus", bus); err != nil {
		return "", err
	}
	if err := checkType(typ); err != nil {
		return "", err
	}
	return sp.Prefix() + "." + bus + "." + escape(typ), nil
}

// Parse is the reverse of [Space.Signal]. A subject that Signal never gives is an error
// with the code [fault.Invalid], or [fault.TooLarge] when its type is over a limit.
func (sp Space) Parse(subject string) (bus, typ string, err error) {
	rest, ok := strings.CutPrefix(subject, sp.Prefix()+".")
	if !ok {
		return "", "", fault.Newf(fault.Invalid, "subject %s is not under %s.", brief(subject), sp.Prefix())
	}
	bus, escaped, ok := strings.Cut(rest, ".")
	if !ok {
		return "", "", fault.Newf(fault.Invalid, "subject %s has no type", brief(subject))
	}
	if err = CheckName("bus", bus); err == nil {
		typ, err = unescape(escaped)
	}
	if err == nil {
		err = checkType(typ)
	}
	if err != nil {
		return "", "", fmt.Errorf("subject %s: %w", brief(subject), err)
	}
	return bus, typ, nil
}

// All is the filter of every signal on the bus.
func (sp Space) All(bus string) string { return sp.Prefix() + "." + bus + ".>" }
