package expr

import (
	"fmt"
	"slices"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"

	"github.com/signalmesh/signalmesh/pkg/signal"
)

// signalType is the name of the CEL type of the variable signal.
const signalType = "signalmesh.Signal"

// attributes is the type provider that lets the checker know the fields of a signal, and
// the evaluator read them from the struct without building a map.
type attributes struct{ types.Provider }

// FindStructType knows the signal's type beside the ones of CEL.
func (a attributes) FindStructType(name string) (*types.Type, bool) {
	if name == signalType {
		return types.NewTypeTypeWithParam(cel.ObjectType(signalType)), true
	}
	return a.Provider.FindStructType(name)
}

// FindStructFieldNames lists the core attributes; extensions have any name.
func (a attributes) FindStructFieldNames(name string) ([]string, bool) {
	if name == signalType {
		return attributeNames(), true
	}
	return a.Provider.FindStructFieldNames(name)
}

// FindStructFieldType finds a core attribute, or takes a well-formed name for an extension.
func (a attributes) FindStructFieldType(name, field string) (*types.FieldType, bool) {
	if name != signalType {
		return a.Provider.FindStructFieldType(name, field)
	}
	if f, ok := core[field]; ok {
		return &types.FieldType{
			Type:    f.typ,
			IsSet:   func(target any) bool { s, ok := target.(*signal.Signal); return ok && f.isSet(s) },
			GetFrom: from(field, f.get),
		}, true
	}
	if !isExtensionName(field) {
		return nil, false
	}
	return &types.FieldType{
		Type: cel.DynType,
		IsSet: func(target any) bool {
			s, ok := target.(*signal.Signal)
			return ok && s.Extensions[field] != nil
		},
		GetFrom: from(field, func(s *signal.Signal) any { return s.Extensions[field] }),
	}, true
}

// from makes a getter that refuses what is not there.
func from(name string, get func(*signal.Signal) any) func(any) (any, error) {
	return func(target any) (any, error) {
		s, ok := target.(*signal.Signal)
		if !ok {
			return nil, fmt.Errorf("not a signal: %T", target)
		}
		v := get(s)
		if v == nil {
			return nil, &missingError{path: "signal." + name}
		}
		return v, nil
	}
}

type attribute struct {
	typ   *cel.Type
	get   func(*signal.Signal) any
	isSet func(*signal.Signal) bool
}

func text(get func(*signal.Signal) string) attribute {
	return attribute{
		cel.StringType,
		func(s *signal.Signal) any { return get(s) },
		func(s *signal.Signal) bool { return get(s) != "" },
	}
}

// core are the attributes that every signal has, if only as "".
var core = map[string]attribute{
	"id":              text(func(s *signal.Signal) string { return s.ID }),
	"source":          text(func(s *signal.Signal) string { return s.Source }),
	"type":            text(func(s *signal.Signal) string { return s.Type }),
	"subject":         text(func(s *signal.Signal) string { return s.Subject }),
	"datacontenttype": text(func(s *signal.Signal) string { return s.DataContentType }),
	"dataschema":      text(func(s *signal.Signal) string { return s.DataSchema }),
	"specversion":     text(func(*signal.Signal) string { return signal.SpecVersion }),
	"time": {
		cel.TimestampType,
		func(s *signal.Signal) any { return s.Time },
		func(s *signal.Signal) bool { return !s.Time.IsZero() },
	},
}

func attributeNames() []string {
	names := make([]string, 0, len(core))
	for name := range core {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func isExtensionName(name string) bool {
	for _, r := range name {
		if (r < 'a' || r > 'z') && (r < '0' || r > '9') {
			return false
		}
	}
	return name != "" && len(name) <= 20 && name != "data"
}

// missingError says that something an expression needs is not there.
type missingError struct{ path string }

func (e *missingError) Error() string { return "no such key: " + e.path }
