package route

import "github.com/signalmesh/signalmesh/pkg/internal/plug"

// ParseText reads the routes of a YAML or JSON text, in any form that [ParseAll] takes, in
// one document or several separated by "---". The name begins every problem, and two routes
// of one name are a problem that tells both places.
func ParseText(text []byte, name string) ([]Spec, error) {
	nodes, err := plug.ParseAll(text, name)
	if err != nil {
		return nil, err
	}
	var specs []Spec
	var errs []error
	first := map[string]string{}
	for _, n := range nodes {
		more, err := ParseAll(n)
		specs, errs = append(specs, more...), append(errs, err, twins(n, first))
	}
	if err := plug.Join(errs...); err != nil {
		return nil, err
	}
	return specs, nil
}

// twins reports routes whose name is in first already, which it fills with the places.
func twins(n plug.Node, first map[string]string) error {
	var errs []error
	for _, item := range elements(n) {
		name := item.Field("name")
		if at, taken := first[name.Text()]; taken && name.Text() != "" {
			errs = append(errs, name.Errorf("another route is named %q, at %s", name.Text(), at))
			continue
		}
		first[name.Text()] = name.Pos()
	}
	return plug.Join(errs...)
}
