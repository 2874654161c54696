package route

import "github.com/signalmesh/signalmesh/pkg/internal/plug"

// ParseText reads the routes of a file strictly: YAML or JSON, one or more documents, each as
// [ParseAll] takes it. Every problem is reported at once, with the name and line.
func ParseText(text []byte, name string) ([]Spec, error) {
	docs, err := plug.ParseAll(text, name)
	if err != nil {
		return nil, err
	}
	var specs []Spec
	var errs []error
	for _, d := range docs {
		more, err := ParseAll(d)
		specs, errs = append(specs, more...), append(errs, err)
	}
	if err := plug.Join(errs...); err != nil {
		return nil, err
	}
	return specs, nil
}
