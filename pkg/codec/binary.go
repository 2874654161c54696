package codec

import (
	"strconv"
	"strings"

	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

// headerPrefix starts the name of every header that holds an attribute, in lower case.
const headerPrefix = "ce-"

// attributeName returns the attribute that a header holds, if it holds one. Header names are
// compared without regard to case, on NATS too, though NATS itself keeps it.
func attributeName(header string) (string, bool) {
	if len(header) <= len(headerPrefix) || !strings.EqualFold(header[:len(headerPrefix)], headerPrefix) {
		return "", false
	}
	return strings.ToLower(header[len(headerPrefix):]), true
}

// readHeaders collects the attributes from the headers.
func readHeaders(header map[string][]string) (*builder, error) {
	b := new(builder)
	size := 0
	for key, values := range header {
		name, ok := attributeName(key)
		if !ok {
			continue
		}
		if err := b.once(name); err != nil {
			return nil, err
		}
		if len(values) != 1 {
			return nil, invalid(name, "%d headers of that name, want one", len(values))
		}
		if size += len(key) + len(values[0]); size > MaxHeaderSize {
			return nil, fault.Newf(fault.TooLarge, "more than %d bytes of ce- headers", MaxHeaderSize)
		}
		if err := b.setHeader(name, values[0]); err != nil {
			return nil, err
		}
	}
	return b, nil
}

func (b *builder) setHeader(name, raw string) error {
	decode := decodeValue
	if isURI(name) {
		decode = decodeURI
	}
	value, err := decode(name, raw)
	if err != nil {
		return err
	}
	if n, ok := hopCount(name, value); ok {
		return b.s.SetExt(name, n)
	}
	return b.setText(name, value)
}

// hopCount restores the one extension that the mesh itself writes as a number: headers carry
// text only.
func hopCount(name, value string) (int64, bool) {
	if name != signal.ExtHops {
		return 0, false
	}
	n, err := strconv.ParseUint(value, 10, 31)
	return int64(n), err == nil
}

// withBody completes a signal read from headers. An empty body is no data, except under a
// content type that has a use for zero bytes.
func (b *builder) withBody(body []byte) (*signal.Signal, error) {
	s, err := b.finish()
	switch {
	case err != nil:
		return nil, err
	case len(body) > 0:
		err = s.SetBytes(body)
	case !s.IsJSON():
		s.Data = []byte{}
	}
	if err != nil {
		return nil, err
	}
	return s, nil
}

// eachHeader calls set for every attribute but the content type of the data, with the value
// as text, not encoded yet.
func eachHeader(s *signal.Signal, set func(name, value string)) {
	for _, a := range coreAttributes(s) {
		if !a.unset() {
			set(a.name, a.value)
		}
	}
	for name := range s.Extensions {
		set(name, s.ExtString(name))
	}
}
