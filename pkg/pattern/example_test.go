package pattern_test

import (
	"fmt"
	"slices"

	"github.com/signalmesh/signalmesh/pkg/pattern"
)

func ExamplePattern_Match() {
	p := pattern.MustParse("order.**.paid")
	for _, typ := range []string{"order.paid", "order.eu.invoice.paid", "order.paid.v1"} {
		fmt.Println(typ, p.Match(typ))
	}
	// Output:
	// order.paid true
	// order.eu.invoice.paid true
	// order.paid.v1 false
}

func ExampleParse() {
	_, err := pattern.Parse("order.cre*")
	fmt.Println(err)
	// Output:
	// pattern "order.cre*": segment 2 (column 10) has a "*" beside other characters: a wildcard is a whole segment, "*" or "**"
}

func ExampleCompare() {
	var ps []pattern.Pattern
	for _, text := range []string{"**", "order.*", "order.**", "order.paid", "*.paid"} {
		ps = append(ps, pattern.MustParse(text))
	}
	slices.SortStableFunc(ps, pattern.Compare)
	fmt.Println(ps)
	// Output: [order.paid order.* order.** *.paid **]
}
