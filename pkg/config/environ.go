package config

import (
	"slices"
	"strings"

	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/internal/plug"
)

// environment turns the SIGNALD_ variables into documents to be laid over the files. Only
// values of a section can be set so, not lists; an unknown variable is an error, because a
// misspelt one would silently leave the default in force.
func environment(environ []string) ([]plug.Node, error) {
	keys := variables()
	var nodes []plug.Node
	var errs []error
	for _, entry := range environ {
		name, value, _ := strings.Cut(entry, "=")
		if !strings.HasPrefix(name, EnvPrefix) {
			continue
		}
		path, ok := keys[name]
		if !ok {
			errs = append(errs, fault.Newf(fault.Invalid, "environment variable %s: there is no such setting; see signald config doc", name))
			continue
		}
		section, key, _ := strings.Cut(path, ".")
		n, err := plug.Parse([]byte(section+":\n  "+key+": "+scalar(value)+"\n"), name)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		nodes = append(nodes, n)
	}
	return nodes, plug.Join(errs...)
}

// variables maps the names of variables to the keys that they set.
func variables() map[string]string {
	names := make(map[string]string)
	for _, f := range plug.Fields(Config{}) {
		if strings.Count(f.Path, ".") == 1 && !strings.Contains(f.Path, "[") {
			names[EnvPrefix+strings.ToUpper(strings.ReplaceAll(f.Path, ".", "_"))] = f.Path
		}
	}
	return names
}

// scalar writes a variable's value as YAML. Bools, numbers and flow lists are what they
// look like; anything else is text.
func scalar(value string) string {
	plain := slices.Contains([]string{"true", "false"}, value) || strings.HasPrefix(value, "[") ||
		strings.Trim(value, "0123456789") == "" && value != ""
	if plain {
		return value
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(value) + `"`
}
