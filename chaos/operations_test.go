//go:build chaos

package chaos_test

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/signalmesh/signalmesh/chaos/history"
)

// TestOperations runs the three nodes of docs/operations.md, on other ports and folders, and
// ends one of them.
func TestOperations(t *testing.T) {
	text, err := os.ReadFile("../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	ports := map[string]string{}
	page := regexp.MustCompile(`127\.0\.0\.1:\d+`).ReplaceAllStringFunc(string(text), func(a string) string {
		if ports[a] == "" {
			ports[a] = address(port(t))
		}
		return ports[a]
	})
	page = strings.ReplaceAll(page, "/var/lib/signald", t.TempDir())
	files := map[string]string{}
	for _, m := range regexp.MustCompile("(?s)```yaml\n# ([a-z]+\\.yaml)\n(.*?)```").FindAllStringSubmatch(page, -1) {
		files[m[1]] = write(t, m[1], m[2])
	}
	w := newWorld(t)
	for _, name := range []string{"a", "b", "c"} {
		w.nodes = append(w.nodes, &daemon{name: name, configs: []string{files["mesh.yaml"], files[name+".yaml"]}})
	}
	start(t, w.nodes...)
	if phase := w.publishTo(w.nodes[0], "first", "chaos.fine"); phase != history.OK {
		t.Fatalf("publish to a = %s, want ok", phase)
	}
	w.nodes[0].kill(t)
	until(t, 10*time.Second, "b to take a signal without a", func() bool {
		return w.publishTo(w.nodes[1], fmt.Sprintf("second.%d", time.Now().UnixNano()), "chaos.fine") == history.OK
	})
	js, done := connect(t, w.nodes[2].NATS)
	defer done()
	for _, name := range []string{"SIG_default", "SIG_default_DLQ", "SIG_default_LATER", "KV_SIG_default_JOURNAL", "KV_SIGMESH_ROUTES", "KV_SIGMESH_NODES"} {
		until(t, 10*time.Second, "three copies of "+name, func() bool {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second) // who leads is being settled
			defer cancel()
			s, err := js.Stream(ctx, name)
			return err == nil && s.CachedInfo().Config.Replicas == 3 && s.CachedInfo().Cluster.Leader != ""
		})
	}
	start(t, w.nodes[0])
}
