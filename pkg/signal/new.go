package signal

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/signalmesh/signalmesh/pkg/fault"
)

// contentTypeBytes is the content type of bytes that came without one.
const contentTypeBytes = "application/octet-stream"

// An Option sets one thing about a signal under construction, in [New], [Define] and
// [Kind.New]. Of two options that set the same thing the later wins.
type Option interface{ apply(*draft) }

// draft is a signal under construction. The cause is applied last, to what is still unset,
// so that explicit options win wherever they stand.
type draft struct {
	s     *Signal
	cause *Signal
	errs  []error
}

type option func(*draft)

func (o option) apply(d *draft) { o(d) }

var _ Option = option(nil)

// New returns a valid signal of the given type. Its id is a fresh [NewID], its time is now,
// and its source is "/" and the name of the program, unless options say otherwise.
//
// The data may be
//
//   - nil: no data;
//   - []byte: carried as it is (the slice is kept, not copied), application/octet-stream
//     unless [ContentType] is given; with a JSON content type it must be JSON text;
//   - json.RawMessage: carried as it is, must be JSON text (the space around it is left out);
//   - string with a [ContentType] that is not JSON: the bytes of the string;
//   - anything else: json.Marshal.
//
// The error, if any, lists everything that is wrong; see [Signal.Validate] for its codes.
func New(typ string, data any, opts ...Option) (*Signal, error) {
	d := &draft{s: &Signal{
		ID:     NewID().String(),
		Source: defaultSource(),
		Type:   typ,
		Time:   time.Now().UTC().Round(0),
	}}
	for _, o := range opts {
		o.apply(d)
	}
	if d.cause != nil {
		d.s.follow(d.cause)
	}
	if err := d.s.setData(data); err != nil {
		d.errs = append(d.errs, err)
	}
	if err := errors.Join(append(d.errs, d.s.Validate())...); err != nil {
		return nil, fmt.Errorf("signal %.64q: %w", typ, err)
	}
	if d.s.IsJSON() {
		d.s.Data = trimJSON(d.s.Data)
	}
	return d.s, nil
}

// setData encodes data according to the content type that is set, or sets the one that fits.
func (s *Signal) setData(data any) error {
	switch v := data.(type) {
	case nil:
		return nil
	case json.RawMessage:
		s.Data = v
	case []byte:
		s.Data = v
		if v != nil && s.DataContentType == "" {
			s.DataContentType = contentTypeBytes
		}
		return nil
	case string:
		if !s.IsJSON() {
			s.Data = []byte(v)
			return nil
		}
	}
	if !s.IsJSON() {
		return violation("data", "a Go %T cannot be encoded as %s", data, s.DataContentType)
	}
	if s.DataContentType == "" {
		s.DataContentType = ContentTypeJSON
	}
	if s.Data != nil {
		return nil
	}
	text, err := json.Marshal(data)
	if err != nil {
		return fault.Wrap(fault.Invalid, fmt.Errorf("data: %w", err))
	}
	s.Data = text
	return nil
}

// defaultSource names this program, for signals made without [From].
var defaultSource = sync.OnceValue(func() string {
	name := strings.TrimSuffix(filepath.Base(os.Args[0]), ".exe")
	return "/" + url.PathEscape(name)
})

// From sets the source: a URI-reference that names the producer, such as "/shop".
func From(source string) Option {
	return option(func(d *draft) { d.s.Source = source })
}

// About sets the subject: what, within the source, the signal is about.
func About(subject string) Option {
	return option(func(d *draft) { d.s.Subject = subject })
}

// WithID sets the id, for producers that have an identity of their own for what happened.
func WithID(id string) Option {
	return option(func(d *draft) { d.s.ID = id })
}

// At sets the time at which it happened. The zero time leaves the signal without one.
func At(t time.Time) Option {
	return option(func(d *draft) { d.s.Time = t.Round(0) })
}

// ContentType sets the media type of the data.
func ContentType(mediaType string) Option {
	return option(func(d *draft) { d.s.DataContentType = mediaType })
}

// Schema sets the URI of the schema that the data adheres to.
func Schema(uri string) Option {
	return option(func(d *draft) { d.s.DataSchema = uri })
}

// Ext sets an extension attribute; see [Signal.SetExt] for the values it takes.
func Ext(name string, value any) Option {
	return option(func(d *draft) {
		if err := d.s.SetExt(name, value); err != nil {
			d.errs = append(d.errs, err)
		}
	})
}

// CausedBy makes the signal an effect of the cause: it gets the cause's id as its causation
// id, the cause's correlation id (or the cause's id where there is none), a child span in the
// cause's trace, and one hop more. Options that set one of these win. A nil cause is no cause.
func CausedBy(cause *Signal) Option {
	return option(func(d *draft) { d.cause = cause })
}

// Correlate sets the correlation id, which every signal of one conversation shares.
func Correlate(id string) Option { return Ext(ExtCorrelation, id) }

// Expires sets the time after which nobody needs the signal any more.
func Expires(t time.Time) Option { return Ext(ExtExpiry, t) }

// Trace sets the W3C trace context: the traceparent, and the tracestate unless it is empty.
func Trace(parent, state string) Option {
	return option(func(d *draft) {
		if _, ok := parseTraceParent(parent); !ok {
			d.errs = append(d.errs, violation(ExtTraceParent, "not a W3C traceparent"))
			return
		}
		Ext(ExtTraceParent, parent).apply(d)
		if state != "" {
			Ext(ExtTraceState, state).apply(d)
		}
	})
}
