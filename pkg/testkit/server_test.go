package testkit_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/signalmesh/signalmesh/pkg/embed"
	"github.com/signalmesh/signalmesh/pkg/testkit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestServerIsSharedWithinATest(t *testing.T) {
	t.Parallel()
	s := testkit.Server(t, testkit.Durable(), testkit.Domain("hub"))
	if got := testkit.Server(t); got != s {
		t.Error("a second call gave another server")
	}
	if got := s.Durability(); got != embed.Sync {
		t.Errorf("Durability() = %s, want %s", got, embed.Sync)
	}
	if got := testkit.Conn(t).ConnectedServerName(); got != s.Name() {
		t.Errorf("connected to %q, want %q", got, s.Name())
	}
	info, err := testkit.JetStream(t).AccountInfo(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if info.Domain != "hub" {
		t.Errorf("domain = %q, want hub", info.Domain)
	}
	t.Run("subtest", func(t *testing.T) {
		if got := testkit.Server(t); got == s {
			t.Error("a subtest shares its parent's server")
		}
	})
}
