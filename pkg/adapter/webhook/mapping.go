package webhook

import (
	"errors"
	"fmt"
	"strings"

	"github.com/signalmesh/signalmesh/pkg/expr"
	"github.com/signalmesh/signalmesh/pkg/ingress"
	"github.com/signalmesh/signalmesh/pkg/internal/plug"
)

// mapping is an ingress.Mapping, compiled. Expressions that were not given are nil.
type mapping struct{ id, typ, source, subject *expr.Mapping }

// compileMapping reports every expression that does not compile.
func compileMapping(m ingress.Mapping) (mapping, error) {
	var out mapping
	var errs []error
	for _, e := range []struct {
		name, text string
		into       **expr.Mapping
	}{
		{"id", m.ID, &out.id}, {"type", m.Type, &out.typ}, {"source", m.Source, &out.source}, {"subject", m.Subject, &out.subject},
	} {
		if e.text == "" {
			continue
		}
		compiled, err := expr.CompileMapping(e.text)
		if err != nil {
			errs = append(errs, plug.At(err, e.name))
		}
		*e.into = compiled
	}
	return out, errors.Join(errs...)
}

func (m mapping) isZero() bool { return m == mapping{} }

// attribute is the value of an expression, or when there is none what the preset says.
func (m mapping) attribute(name string, e *expr.Mapping, d *delivery, preset func(*delivery) (string, error)) (string, error) {
	if e == nil {
		return preset(d)
	}
	return m.eval(name, e, d)
}

func (m mapping) eval(name string, e *expr.Mapping, d *delivery) (string, error) {
	value, err := e.String(d.input())
	if err != nil {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	return value, nil
}

// input is what expressions see of a delivery: the body, the headers by lower-case name
// and the query. Of repeated query parameters it is the first. Headers that prove who sends
// are left out, so that no attribute and no error can carry them.
func (d *delivery) input() expr.Input {
	in := expr.Input{Body: d.body, Headers: map[string]string{}, Query: map[string]string{}}
	for name, values := range d.request.Header {
		if !ingress.IsPrivate(name) {
			in.Headers[strings.ToLower(name)] = strings.Join(values, ", ")
		}
	}
	for name, values := range d.request.Query {
		in.Query[name] = values[0]
	}
	return in
}
