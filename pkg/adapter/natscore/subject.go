package natscore

import (
	"strings"
	"unicode/utf8"

	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/subject"
)

// maxSubject keeps a subject well inside a line of the protocol.
const maxSubject = 512

// checkSubject says whether messages can be published to subj by somebody who is not the
// system: non-empty tokens without wildcards, spaces or control characters, the first of
// which does not begin with "$" or "_".
func checkSubject(subj string) error {
	if len(subj) > maxSubject || !utf8.ValidString(subj) {
		return fault.Newf(fault.Invalid, "subject is longer than %d bytes or not UTF-8", maxSubject)
	}
	for token := range strings.SplitSeq(subj, ".") {
		switch {
		case token == "":
			return fault.Newf(fault.Invalid, "subject %q has an empty part", subj)
		case strings.ContainsAny(token, "*>"):
			return fault.Newf(fault.Invalid, "subject %q has a wildcard", subj)
		case strings.IndexFunc(token, func(r rune) bool { return r <= ' ' || r == 0x7f }) >= 0:
			return fault.Newf(fault.Invalid, "subject %q has a space or control character", subj)
		}
	}
	if subj[0] == '$' || subj[0] == '_' {
		return fault.Newf(fault.Invalid, "subject %q belongs to the NATS system", subj)
	}
	return nil
}

// checkOutside also refuses the subjects of the mesh with the prefix.
func checkOutside(prefix, subj string) error {
	space, err := subject.NewSpace(prefix)
	if err != nil {
		return err
	}
	if err := checkSubject(subj); err != nil {
		return fault.Permanent(err)
	}
	first, _, _ := strings.Cut(subj, ".")
	if first == space.Prefix() || strings.HasPrefix(first, space.Prefix()+"-") {
		err := fault.Permanent(fault.Newf(fault.Denied, "subject %q belongs to the mesh", subj))
		return fault.Hint(err, "to put signals on a bus use the adapter bus, to call a named target the adapter named")
	}
	return nil
}
