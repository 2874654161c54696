package webhook

import (
	"encoding/json"
	"fmt"
	"mime"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/signalmesh/signalmesh/pkg/expr"
	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/ingress"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

// A preset is what is known about one kind of sender: how its deliveries become signals.
// Functions that are nil leave their attribute empty.
type preset struct {
	json    bool // bodies are JSON whatever the content type says, or forms
	events  bool // a CloudEvent is taken as it is
	id      func(d *delivery) string
	typ     func(d *delivery) (string, error)
	source  func(d *delivery) string
	subject func(d *delivery) string
	time    func(d *delivery) time.Time

	// reply gives the answer the sender waits for; a handshake makes no signal.
	reply func(d *delivery) (r *ingress.Reply, handshake bool)
}

// A delivery is one authentic request, decoded as far as attributes may depend on it.
type delivery struct {
	name        string // of the source
	request     *ingress.Request
	data        []byte // of the signal
	contentType string // of data
	body        any    // data, decoded: JSON values, or the text of anything else
	form        bool   // the request was a form
}

// newDelivery decodes an authentic request. What is not what it says it is, is
// [fault.Invalid].
func newDelivery(name string, r *ingress.Request, p *preset) (*delivery, error) {
	d := &delivery{name: name, request: r, data: r.Body, contentType: r.Header.Get("Content-Type")}
	mediaType, _, err := mime.ParseMediaType(d.contentType)
	switch {
	case mediaType == "application/x-www-form-urlencoded":
		d.form = true
		return d, d.decodeForm()
	case p.json:
		return d, d.decodeJSON(r.Body, signal.ContentTypeJSON)
	case err != nil && d.contentType != "":
		return nil, fault.Newf(fault.Invalid, "content type %.64q is malformed", d.contentType)
	case isJSON(mediaType):
		return d, d.decodeJSON(r.Body, d.contentType)
	case len(r.Body) == 0:
		d.data, d.contentType = nil, ""
	case d.contentType == "" && signal.ValidJSON(r.Body) == nil:
		return d, d.decodeJSON(r.Body, signal.ContentTypeJSON)
	case d.contentType == "":
		d.contentType = "application/octet-stream"
	}
	if utf8.Valid(r.Body) {
		d.body = string(r.Body)
	}
	return d, nil
}

func isJSON(mediaType string) bool {
	return mediaType == signal.ContentTypeJSON || mediaType == "text/json" || strings.HasSuffix(mediaType, "+json")
}

func (d *delivery) decodeJSON(text []byte, contentType string) error {
	if err := signal.ValidJSON(text); err != nil {
		return fmt.Errorf("body is not JSON: %w", err)
	}
	body, err := expr.DecodeJSON(text)
	if err != nil {
		return fault.Newf(fault.Invalid, "body is %w", err)
	}
	d.body, d.data, d.contentType = body, text, contentType
	return nil
}

// decodeForm takes the JSON in the field payload, as GitHub and Slack send it; any other
// form becomes an object with a string for each field, or a list where one is repeated.
func (d *delivery) decodeForm() error {
	fields, err := url.ParseQuery(string(d.request.Body))
	if err != nil {
		return fault.Newf(fault.Invalid, "body is not a form: %w", err)
	}
	if fields.Has("payload") {
		return d.decodeJSON([]byte(fields.Get("payload")), signal.ContentTypeJSON)
	}
	object := map[string]any{}
	for name, values := range fields {
		if object[name] = values; len(values) == 1 {
			object[name] = values[0]
		}
	}
	text, err := json.Marshal(object)
	if err != nil {
		return fault.Newf(fault.Invalid, "body is not a form: %w", err)
	}
	return d.decodeJSON(text, signal.ContentTypeJSON)
}

// header is the value of a request header, "" when there is none.
func (d *delivery) header(name string) string { return d.request.Header.Get(name) }

// text is the string, number or bool at a path of keys in the body, "" for anything else.
func (d *delivery) text(path ...string) string {
	value := d.body
	for _, key := range path {
		object, ok := value.(map[string]any)
		if !ok {
			return ""
		}
		value = object[key]
	}
	switch v := value.(type) {
	case string:
		return v
	case json.Number:
		return v.String()
	case bool:
		return strconv.FormatBool(v)
	}
	return ""
}

// first is the first text that is not empty.
func first(texts ...string) string {
	for _, t := range texts {
		if t != "" {
			return t
		}
	}
	return ""
}

// under puts prefix before a text that is not empty.
func under(prefix, text string) string {
	if text == "" {
		return ""
	}
	return prefix + text
}

// dotted joins the parts that are not empty.
func dotted(parts ...string) string {
	kept := parts[:0:0]
	for _, p := range parts {
		if p != "" {
			kept = append(kept, p)
		}
	}
	return strings.Join(kept, ".")
}
