package signal_test

import (
	"testing"

	"github.com/signalmesh/signalmesh/pkg/signal"
)

func BenchmarkNewID(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		_ = signal.NewID()
	}
}

func BenchmarkNew(b *testing.B) {
	b.ReportAllocs()
	data := order{"o-1", 4200}
	for b.Loop() {
		if _, err := signal.New("order.placed", data, signal.From("/shop"), signal.About("o-1")); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCausedBy(b *testing.B) {
	b.ReportAllocs()
	cause := mustNew(b, "order.placed", nil)
	cause.EnsureTrace()
	for b.Loop() {
		if _, err := signal.New("order.paid", nil, signal.CausedBy(cause)); err != nil {
			b.Fatal(err)
		}
	}
}
