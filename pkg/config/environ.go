package config

import (
	"strings"

	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/internal/plug"
)

// environment turns the SIGNALD_ variables into documents to be laid over the files. They
// set single values of a section; those of a list are separated by commas and come after
// the list's in the files. An unknown variable is an error, because a misspelt one would
// silently leave the default in force. An empty one counts as not set.
func environment(environ []string) ([]plug.Node, error) {
	settings := variables()
	var nodes []plug.Node
	var errs []error
	for _, entry := range environ {
		name, value, _ := strings.Cut(entry, "=")
		if !strings.HasPrefix(name, EnvPrefix) || value == "" {
			continue
		}
		f, ok := settings[name]
		if !ok {
			errs = append(errs, unknownVariable(name))
			continue
		}
		section, key, _ := strings.Cut(f.Path, ".")
		nodes = append(nodes, variable(f, name, value).Under(section, key))
	}
	return nodes, plug.Join(errs...)
}

func unknownVariable(name string) error {
	names := make([]string, 0, 32)
	for known := range variables() {
		names = append(names, known)
	}
	text := "there is no such setting"
	if best := plug.Closest(name, names); best != "" {
		text += ", did you mean " + best + "?"
	}
	return fault.Newf(fault.Invalid, "%s: %s", name, text)
}

// variables are the settings that have a variable, by its name.
func variables() map[string]plug.Field {
	names := make(map[string]plug.Field)
	for _, f := range plug.Fields(Config{}) {
		if name := variableOf(f); name != "" {
			names[name] = f
		}
	}
	return names
}

// variableOf is the name of the variable that sets the field, "" if there is none.
func variableOf(f plug.Field) string {
	if strings.Count(f.Path, ".") != 1 || strings.Contains(f.Path, "[") || f.Type == "map" {
		return ""
	}
	return EnvPrefix + strings.ToUpper(strings.ReplaceAll(f.Path, ".", "_"))
}

// variable reads a value as the field wants it: the text 8080 is a string to a field that
// takes one.
func variable(f plug.Field, name, value string) plug.Node {
	switch {
	case strings.HasPrefix(f.Type, "list of"):
		var items []plug.Node
		for item := range strings.SplitSeq(value, ",") {
			items = append(items, plug.Text(strings.TrimSpace(item), name))
		}
		return plug.List(name, items...)
	case f.Type == "bool", f.Type == "integer", f.Type == "number", f.Type == "size":
		return plug.Scalar(value, name)
	}
	return plug.Text(value, name)
}
