package cehttp

import (
	"bytes"
	"encoding/json"
	"strings"
	"text/template"
	"time"

	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

// bodyLimit bounds what a template may make.
const bodyLimit = 10 << 20

var functions = template.FuncMap{
	"json": func(v any) (string, error) {
		b, err := json.Marshal(v)
		return string(b), err
	},
}

// parseTemplate returns nil for an empty text.
func parseTemplate(text string) (*template.Template, error) {
	if text == "" {
		return nil, nil
	}
	t, err := template.New("template").Funcs(functions).Option("missingkey=error").Parse(text)
	if err != nil {
		return nil, fault.Newf(fault.Invalid, "%w", err)
	}
	return t, nil
}

// render executes the template over the signal, in the words that CEL expressions use.
func render(t *template.Template, s *signal.Signal) ([]byte, error) {
	view := map[string]any{
		"id": s.ID, "source": s.Source, "type": s.Type, "subject": s.Subject, "time": "",
		"datacontenttype": s.DataContentType, "dataschema": s.DataSchema, "specversion": signal.SpecVersion,
	}
	if !s.Time.IsZero() {
		view["time"] = s.Time.Format(time.RFC3339Nano)
	}
	for name, value := range s.Extensions {
		view[name] = value
	}
	data, err := dataOf(s)
	if err != nil {
		return nil, err
	}
	var out limited
	if err := t.Execute(&out, map[string]any{"signal": view, "data": data}); err != nil {
		return nil, fault.Newf(fault.Invalid, "%w", err)
	}
	return out.Bytes(), nil
}

// dataOf is JSON data as Go values, whole numbers as int64, and other data as text.
func dataOf(s *signal.Signal) (any, error) {
	switch {
	case s.Data == nil:
		return nil, nil
	case !s.IsJSON():
		return string(s.Data), nil
	}
	dec := json.NewDecoder(bytes.NewReader(s.Data))
	dec.UseNumber()
	var data any
	if err := dec.Decode(&data); err != nil {
		return nil, fault.Newf(fault.Invalid, "data: %w", err)
	}
	return plain(data), nil
}

// plain turns json.Number, which templates can't compare, into int64 or float64.
func plain(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for key, item := range v {
			v[key] = plain(item)
		}
	case []any:
		for i, item := range v {
			v[i] = plain(item)
		}
	case json.Number:
		if n, err := v.Int64(); err == nil && !strings.ContainsAny(v.String(), ".eE") {
			return n
		}
		if f, err := v.Float64(); err == nil {
			return f
		}
		return v.String()
	}
	return v
}

// limited is a buffer that refuses to grow beyond bodyLimit.
type limited struct{ bytes.Buffer }

func (l *limited) Write(p []byte) (int, error) {
	if l.Len()+len(p) > bodyLimit {
		return 0, fault.Newf(fault.TooLarge, "the template makes more than %d bytes", bodyLimit)
	}
	return l.Buffer.Write(p)
}
