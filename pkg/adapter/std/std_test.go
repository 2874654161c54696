package std_test

import (
	"slices"
	"testing"

	_ "github.com/signalmesh/signalmesh/pkg/adapter/std"
	"github.com/signalmesh/signalmesh/pkg/dispatch"
)

func TestNames(t *testing.T) {
	t.Parallel()
	want := []string{"bus", "console", "file", "http", "logger", "named", "noop", "pubsub", "request", "webhook"}
	if got := dispatch.Names(); !slices.Equal(got, want) {
		t.Errorf("Names() = %v, want %v", got, want)
	}
}
