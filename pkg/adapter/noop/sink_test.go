package noop_test

import (
	"testing"

	"go.uber.org/goleak"

	_ "github.com/signalmesh/signalmesh/pkg/adapter/noop"
	"github.com/signalmesh/signalmesh/pkg/dispatch/dispatchtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConformance(t *testing.T) {
	dispatchtest.Run(t, func(*testing.T) *dispatchtest.Subject {
		return &dispatchtest.Subject{Adapter: "noop", Options: `{}`}
	}, dispatchtest.Features{})
}
