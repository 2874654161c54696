package subject_test

import (
	"testing"

	"github.com/signalmesh/signalmesh/pkg/pattern"
	"github.com/signalmesh/signalmesh/pkg/subject"
)

func BenchmarkSignal(b *testing.B) {
	for _, typ := range []string{"order.item.created", "com.github/push v1"} {
		b.Run(typ, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := (subject.Space{}).Signal("default", typ); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkParse(b *testing.B) {
	for _, s := range []string{"sig.default.order.item.created", "sig.default.com.github=2Fpush=20v1"} {
		b.Run(s, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := (subject.Space{}).Parse(s); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkFilters(b *testing.B) {
	for _, text := range []string{"order.**", "**.order.**", "a.**.b.**.c"} {
		p := pattern.MustParse(text)
		b.Run(text, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				subject.Space{}.Filters("default", p)
			}
		})
	}
}

func BenchmarkMsgID(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		subject.MsgID("/github/signalmesh/signalmesh", "0199c3a2-7d6e-7f00-8000-000000000001")
	}
}
