package embed_test

import (
	"bytes"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/signalmesh/signalmesh/pkg/embed"
	"github.com/signalmesh/signalmesh/pkg/fault"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start runs a server for the test, on any port unless cfg names one.
func start(t *testing.T, cfg embed.Config) *embed.Server {
	t.Helper()
	if cfg.Dir == "" {
		cfg.Dir = t.TempDir()
	}
	s, err := embed.Start(t.Context(), cfg)
	if err != nil {
		t.Fatalf("Start: %v", err)
	}
	t.Cleanup(s.Shutdown)
	return s
}

// connect gives a connection and JetStream on s.
func connect(t *testing.T, s *embed.Server, opts ...nats.Option) (*nats.Conn, jetstream.JetStream) {
	t.Helper()
	nc, err := s.Connect(opts...)
	if err != nil {
		t.Fatalf("Connect: %v", err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatalf("jetstream.New: %v", err)
	}
	return nc, js
}

func TestStartServes(t *testing.T) {
	t.Parallel()
	s := start(t, embed.Config{Name: "n1"})
	if err := s.Healthy(); err != nil {
		t.Errorf("Healthy() = %v, want nil", err)
	}
	if got := s.Durability(); got != embed.Sync {
		t.Errorf("Durability() = %v, want %v", got, embed.Sync)
	}
	if got := s.ClientURL(); !strings.HasPrefix(got, "nats://127.0.0.1:") {
		t.Errorf("ClientURL() = %q, want it on 127.0.0.1", got)
	}
	nc, err := nats.Connect(s.ClientURL())
	if err != nil {
		t.Fatalf("connect over TCP: %v", err)
	}
	defer nc.Close()
	if got := nc.ConnectedServerName(); got != "n1" {
		t.Errorf("server name = %q, want n1", got)
	}
	_, js := connect(t, s)
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s.>"}}); err != nil {
		t.Fatalf("CreateStream: %v", err)
	}
	if _, err := js.Publish(t.Context(), "s.a", []byte("x")); err != nil {
		t.Fatalf("Publish: %v", err)
	}
	s.Shutdown()
	if err := s.Healthy(); !fault.Is(err, fault.Unavailable) {
		t.Errorf("Healthy() after Shutdown = %v, want unavailable", err)
	}
}

func TestDataSurvivesRestart(t *testing.T) {
	t.Parallel()
	for _, d := range []embed.Durability{embed.Sync, embed.Fast} {
		t.Run(string(d), func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			first := start(t, embed.Config{Dir: dir, Durability: d})
			_, js := connect(t, first)
			cfg := jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}}
			if _, err := js.CreateStream(t.Context(), cfg); err != nil {
				t.Fatal(err)
			}
			for range 10 {
				if _, err := js.Publish(t.Context(), "s", nil); err != nil {
					t.Fatal(err)
				}
			}
			first.Shutdown()
			_, js = connect(t, start(t, embed.Config{Dir: dir, Durability: d}))
			stream, err := js.Stream(t.Context(), "S")
			if err != nil {
				t.Fatal(err)
			}
			if got := stream.CachedInfo().State.Msgs; got != 10 {
				t.Errorf("messages after restart = %d, want 10", got)
			}
		})
	}
}

func TestPortInUse(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port := l.Addr().(*net.TCPAddr).Port
	dir := t.TempDir()
	_, err = embed.Start(t.Context(), embed.Config{Dir: dir, Port: port})
	if !fault.Is(err, fault.Conflict) || fault.HintOf(err) == "" {
		t.Fatalf("Start on a taken port = %v (%s), want a conflict with a hint", err, fault.CodeOf(err))
	}
	if _, err := os.Stat(filepath.Join(dir, "jetstream")); err == nil {
		t.Error("Start on a taken port touched the store")
	}
	s := start(t, embed.Config{Dir: dir, Port: port, NextFree: true})
	if strings.HasSuffix(s.ClientURL(), l.Addr().String()) {
		t.Errorf("ClientURL() = %s, want another port", s.ClientURL())
	}
}

func TestDirectoryInUse(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	start(t, embed.Config{Dir: dir})
	_, err := embed.Start(t.Context(), embed.Config{Dir: dir})
	if !fault.Is(err, fault.Conflict) || !strings.Contains(err.Error(), dir) {
		t.Errorf("second Start on %s = %v, want a conflict that names it", dir, err)
	}
}

func TestBadConfig(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, tc := range map[string]struct {
		cfg  embed.Config
		code fault.Code
		want string
	}{
		"no directory": {embed.Config{}, fault.Invalid, "no data directory"},
		"spaces":       {embed.Config{Dir: dir, Name: "a b"}, fault.Invalid, `"a b" contains spaces`},
		"port":         {embed.Config{Dir: dir, Port: 70000}, fault.Invalid, "port 70000"},
		"domain":       {embed.Config{Dir: dir, Domain: "a.b"}, fault.Invalid, `domain "a.b"`},
		"durability":   {embed.Config{Dir: dir, Durability: "slow"}, fault.Invalid, `"slow"`},
		"limit":        {embed.Config{Dir: dir, MaxStore: -1}, fault.Invalid, "negative"},
		"open":         {embed.Config{Dir: dir, Host: "0.0.0.0"}, fault.Denied, "without authentication"},
		"not ours":     {embed.Config{Dir: dir, Host: "192.0.2.1", Open: true, Port: 4222}, fault.Invalid, "192.0.2.1"},
		"a file":       {embed.Config{Dir: "embed_test.go"}, fault.Invalid, "data directory"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := embed.Start(t.Context(), tc.cfg)
			if !fault.Is(err, tc.code) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("Start = %v (%s), want %s with %q", err, fault.CodeOf(err), tc.code, tc.want)
			}
		})
	}
}

func TestToken(t *testing.T) {
	t.Parallel()
	s := start(t, embed.Config{Token: "s3cret"})
	connect(t, s)
	if nc, err := nats.Connect(s.ClientURL()); err == nil {
		nc.Close()
		t.Error("connected without the token")
	}
	nc, err := nats.Connect(s.ClientURL(), nats.Token("s3cret"))
	if err != nil {
		t.Fatalf("connect with the token: %v", err)
	}
	nc.Close()
	if strings.Contains(s.ClientURL(), "s3cret") {
		t.Errorf("ClientURL() = %s, holds the token", s.ClientURL())
	}
}

func TestUnusableStoreIsAnError(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "jetstream"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var out syncBuffer
	log := slog.New(slog.NewTextHandler(&out, nil))
	_, err := embed.Start(t.Context(), embed.Config{Dir: dir, Log: log})
	if !fault.Is(err, fault.Unavailable) || !strings.Contains(err.Error(), "JetStream") {
		t.Errorf("Start over a file = %v, want the engine's reason", err)
	}
	if got := out.String(); !strings.Contains(got, "nats server stopped working") {
		t.Errorf("log = %q, want the fatal line", got)
	}
}

func TestListenMovesOn(t *testing.T) {
	t.Parallel()
	first, err := embed.Listen(t.Context(), "127.0.0.1", 0)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	port := first.Addr().(*net.TCPAddr).Port
	second, err := embed.Listen(t.Context(), "127.0.0.1", port)
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	if got := second.Addr().(*net.TCPAddr).Port; got <= port {
		t.Errorf("second port = %d, want above %d", got, port)
	}
}

// syncBuffer is a buffer that the server's goroutines may write to.
type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
