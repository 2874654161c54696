package signal

import (
	"encoding/base64"
	"encoding/json"
	"strconv"
	"strings"

	"github.com/signalmesh/signalmesh/pkg/fault"
)

// UnmarshalJSON reads a signal in the CloudEvents JSON format. It is strict: it refuses
// malformed JSON and text that is not UTF-8, repeated or unknown-cased names, attributes of a
// wrong type, a specversion other than 1.0 or 1.0.x, missing required attributes, broken
// base64, and data that is not of its content type. Errors about one attribute are
// [*AttributeError]; the code is Invalid, or TooLarge beyond [MaxDepth] or [MaxExtensions].
//
// An attribute that is null is not set, as CloudEvents demands; the data is described in the
// package comment. Bytes in data_base64 that came without a content type and are not JSON get
// application/octet-stream, since no content type means JSON.
//
// Nothing of text is kept. On an error s stays as it was. What was read is a CloudEvent, but
// not every CloudEvent can travel in the mesh: that is for [Signal.Validate] to say.
func (s *Signal) UnmarshalJSON(text []byte) error {
	d := decoder{scanner: scanner{src: text}}
	d.space()
	if err := d.envelope(); err != nil {
		return err
	}
	if err := d.end(); err != nil {
		return err
	}
	return d.finish(s)
}

// The core attributes, in the order of decoder.core.
const (
	coreSpecVersion = iota
	coreID
	coreSource
	coreType
	coreSubject
	coreTime
	coreContentType
	coreSchema
	coreCount
)

var coreNames = [coreCount]string{"specversion", "id", "source", "type", "subject", "time", "datacontenttype", "dataschema"}

func coreIndex(name string) int {
	switch name {
	case "specversion":
		return coreSpecVersion
	case "id":
		return coreID
	case "source":
		return coreSource
	case "type":
		return coreType
	case "subject":
		return coreSubject
	case "time":
		return coreTime
	case "datacontenttype":
		return coreContentType
	case "dataschema":
		return coreSchema
	}
	return -1
}

// decoder notes in one pass where everything is, and then builds the signal with one
// allocation for all text and one for the data.
type decoder struct {
	scanner
	core     [coreCount]span
	seen     [coreCount]bool
	data     span // the whole JSON value
	base64   span // the inside of the string
	hasData  bool
	has64    bool
	count    int          // of extensions
	few      [8]extension // the first of them; a slice alone would have to be on the heap
	rest     []extension
	textSize int
}

type extension struct {
	name  []byte
	value span // null: zero; string: its inside; else the whole value
	kind  byte // first byte of the value
}

// envelope passes the object and notes its members.
func (d *decoder) envelope() error {
	if d.peek() != '{' {
		return d.fail("want a signal in braces")
	}
	d.pos++
	if d.space(); d.peek() == '}' {
		d.pos++
		return nil
	}
	for {
		key, err := d.key()
		if err != nil {
			return err
		}
		name := d.src[key.start:key.end]
		if key.escaped {
			if name, err = unescaped("", name); err != nil {
				return err
			}
		}
		if err := d.member(name); err != nil {
			return err
		}
		if more, err := d.more('}'); !more {
			return err
		}
	}
}

// member notes one member, from its value on.
func (d *decoder) member(name []byte) (err error) {
	switch string(name) {
	case "data":
		if d.hasData {
			return violation("data", "given twice")
		}
		d.hasData = true
		d.data.start = d.pos
		err = d.value(0)
		d.data.end = d.pos
		return err
	case "data_base64":
		if d.has64 {
			return violation("data_base64", "given twice")
		}
		d.has64 = true
		d.base64, err = d.text("data_base64")
		return err
	}
	i := coreIndex(string(name))
	if i < 0 {
		return d.extension(name)
	}
	if d.seen[i] {
		return violation(coreNames[i], "given twice")
	}
	d.seen[i] = true
	d.core[i], err = d.text(coreNames[i])
	d.textSize += d.core[i].len()
	return err
}

func (d *decoder) extension(name []byte) error {
	for i := range d.count {
		if string(d.at(i).name) == string(name) {
			return violation(string(name), "given twice")
		}
	}
	if d.count == MaxExtensions {
		return fault.Newf(fault.TooLarge, "more than %d extension attributes", MaxExtensions)
	}
	if !plainName(name) {
		return checkExtName(string(name))
	}
	sp, kind, err := d.attribute()
	if err == nil && (kind == '{' || kind == '[') {
		err = violation(string(name), "want a string, a whole number or a boolean")
	}
	if d.count >= len(d.few) {
		d.rest = append(d.rest, extension{})
	}
	*d.at(d.count) = extension{name, sp, kind}
	d.count++
	d.textSize += len(name) + sp.len()
	return err
}

// at returns the i-th extension.
func (d *decoder) at(i int) *extension {
	if i < len(d.few) {
		return &d.few[i]
	}
	return &d.rest[i-len(d.few)]
}

// plainName tells whether the name is what an extension may have, without allocating.
func plainName(name []byte) bool {
	for _, c := range name {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return false
		}
	}
	return len(name) > 0 && len(name) <= MaxExtNameLen
}

// text passes the value of an attribute that must be a string, or null, which gives the zero
// span.
func (d *decoder) text(name string) (span, error) {
	sp, kind, err := d.attribute()
	if err == nil && kind != '"' && kind != 'n' {
		err = violation(name, "want a string")
	}
	return sp, err
}

// attribute passes an attribute value. It gives the inside of a string, the whole of any
// other value, the zero span for null, and the first byte, which tells the kind.
func (d *decoder) attribute() (sp span, kind byte, err error) {
	if kind = d.peek(); kind == '"' {
		sp, err = d.str()
		return sp, kind, err
	}
	start := d.pos
	if err = d.value(0); err != nil || kind == 'n' {
		return span{}, kind, err
	}
	return span{start: start, end: d.pos}, kind, nil
}

// finish builds the signal from what was noted, into s if all is well.
func (d *decoder) finish(s *Signal) error {
	var arena strings.Builder
	arena.Grow(d.textSize)
	var text [coreCount]string
	for i, sp := range d.core {
		var err error
		if text[i], err = d.attributeText(&arena, coreNames[i], sp); err != nil {
			return err
		}
	}
	if err := CheckSpecVersion(text[coreSpecVersion]); err != nil {
		return err
	}
	for _, i := range [...]int{coreID, coreSource, coreType} {
		if text[i] == "" {
			return violation(coreNames[i], "required")
		}
	}
	built := Signal{
		ID:              text[coreID],
		Source:          text[coreSource],
		Type:            text[coreType],
		Subject:         text[coreSubject],
		DataContentType: text[coreContentType],
		DataSchema:      text[coreSchema],
	}
	if at := text[coreTime]; at != "" {
		var err error
		if built.Time, err = ParseTime("time", at); err != nil {
			return err
		}
	}
	if err := d.finishExtensions(&built, &arena); err != nil {
		return err
	}
	if err := d.finishData(&built); err != nil {
		return err
	}
	*s = built
	return nil
}

// attributeText gives the text of a string attribute, kept in the arena.
func (d *decoder) attributeText(arena *strings.Builder, name string, sp span) (string, error) {
	inside := d.src[sp.start:sp.end]
	start := arena.Len()
	if !sp.escaped {
		arena.Write(inside)
		return arena.String()[start:], nil
	}
	plain, err := unescaped(name, inside)
	if err != nil {
		return "", err
	}
	arena.Write(plain)
	return arena.String()[start:], nil
}

func (d *decoder) finishExtensions(s *Signal, arena *strings.Builder) error {
	if d.count == 0 {
		return nil
	}
	s.Extensions = make(map[string]any, d.count)
	for i := range d.count {
		e := d.at(i)
		if e.kind == 'n' {
			continue
		}
		start := arena.Len()
		arena.Write(e.name)
		name := arena.String()[start:]
		var err error
		if s.Extensions[name], err = d.extensionValue(arena, name, e); err != nil {
			return err
		}
	}
	return nil
}

func (d *decoder) extensionValue(arena *strings.Builder, name string, e *extension) (any, error) {
	switch e.kind {
	case '"':
		return d.attributeText(arena, name, e.value)
	case 't', 'f':
		return e.kind == 't', nil
	}
	n, err := strconv.ParseInt(string(d.src[e.value.start:e.value.end]), 10, 64)
	if err != nil {
		return nil, violation(name, "not a whole number in range")
	}
	return n, nil
}

// finishData sets the data, and checks it against the content type where that takes more than
// was seen while scanning.
func (d *decoder) finishData(s *Signal) error {
	raw := d.src[d.data.start:d.data.end]
	null := string(raw) == "null"
	switch {
	case d.base64.start > 0 && d.hasData && !null:
		return violation("data", "given beside data_base64")
	case d.base64.start > 0:
		return d.finishBase64(s)
	case !d.hasData:
		return nil
	case s.IsJSON():
		s.Data = append(make([]byte, 0, len(raw)), raw...)
		return nil
	case null:
		return nil
	case raw[0] != '"':
		return violation("data", "want a string for %.64q", s.DataContentType)
	}
	text, err := unescaped("data", raw[1:len(raw)-1])
	s.Data = text
	return err
}

func (d *decoder) finishBase64(s *Signal) error {
	inside, err := unescaped("data_base64", d.src[d.base64.start:d.base64.end])
	if err != nil {
		return err
	}
	data := make([]byte, base64.StdEncoding.DecodedLen(len(inside)))
	n, err := base64.StdEncoding.Strict().Decode(data, inside)
	if err != nil {
		return violation("data_base64", "not base64")
	}
	return s.SetBytes(data[:n])
}

var _ json.Unmarshaler = (*Signal)(nil)
