package pattern_test

import (
	"testing"

	"github.com/signalmesh/signalmesh/pkg/pattern"
)

func BenchmarkMatch(b *testing.B) {
	const typ = "order.eu.invoice.item.paid"
	for _, text := range []string{typ, "order.*.invoice.*.paid", "order.**", "**.paid", "order.**.item.*", "**.x.**.y", "**"} {
		p := pattern.MustParse(text)
		b.Run(text, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				p.Match(typ)
			}
		})
	}
}

func BenchmarkParse(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := pattern.Parse("order.**.item.*"); err != nil {
			b.Fatal(err)
		}
	}
}
