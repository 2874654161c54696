package testkit

import (
	"testing"

	"github.com/signalmesh/signalmesh/pkg/bus"
)

// Bus is a bus on the server of the test, with its streams in place. It is closed when the
// test ends. Several calls give several handles, of the same bus unless they name others.
func Bus(tb testing.TB, opts ...bus.OpenOption) *bus.Bus {
	tb.Helper()
	b, err := bus.Open(tb.Context(), Conn(tb), opts...)
	if err != nil {
		tb.Fatalf("testkit: %v", err)
	}
	tb.Cleanup(b.Close)
	return b
}
