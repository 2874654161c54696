package api

import (
	"maps"
	"slices"
)

// Patterns lists what is served.
func Patterns(a *API) []string { return slices.Sorted(maps.Keys(a.operations())) }
