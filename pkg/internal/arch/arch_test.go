// Package arch_test holds the layers: which package may import which, and the few that may
// reach each heavy dependency. It asks the go command, so it sees every path, not only
// direct imports.
package arch_test

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/signalmesh/signalmesh/"

// rows lists every package of the module, lowest first. A package imports only rows below
// its own. A trailing /* stands for any folder there.
var rows = [][]string{
	{"pkg/signal", "pkg/pattern", "pkg/fault", "pkg/secret", "pkg/netguard", "pkg/internal/*", "chaos/history"},
	{
		"pkg/subject", "pkg/codec", "pkg/router", "pkg/expr", "pkg/delivery", "pkg/dispatch",
		"pkg/ingress", "pkg/observe", "streams",
	},
	{"pkg/provision", "pkg/embed", "pkg/dispatch/dispatchtest", "pkg/ingress/ingresstest", "pkg/signal/signaltest"},
	{"pkg/bus", "pkg/journal", "pkg/mesh", "pkg/route"},
	{"pkg/adapter/*", "pkg/testkit", "pkg/agent", "pkg/config", "pkg/replay"},
	{"pkg/adapter/std", "pkg/api"},
	{"pkg/node"},
	{"cmd/signald", "cmd/sigctl"},
}

// standardOnly may import the standard library and each other, nothing else: they are what
// every other package, and every user's program, links.
var standardOnly = []string{"pkg/signal", "pkg/pattern", "pkg/fault"}

// fences names, for each heavy dependency, the only packages that may reach it by any path.
var fences = map[string][]string{
	"github.com/nats-io/nats-server/v2": {"pkg/embed", "pkg/testkit", "pkg/node", "cmd/signald"},
	"cel.dev/cel-go": {
		"pkg/expr", "pkg/route", "pkg/replay", "pkg/agent", "pkg/config", "pkg/adapter/*", "pkg/adapter/std",
		"pkg/api", "pkg/node", "cmd/signald", "cmd/sigctl",
	},
	"github.com/urfave/cli/v2": {"cmd/signald", "cmd/sigctl"},
	"github.com/prometheus/client_golang": {
		"pkg/observe", "pkg/agent", "pkg/api", "pkg/node", "cmd/signald", "cmd/sigctl",
	},
	"github.com/jedib0t/go-pretty/v6": {"cmd/sigctl"},
	"github.com/vmihailenco/msgpack/v5": {
		"pkg/codec", "pkg/bus", "pkg/journal", "pkg/replay", "pkg/testkit", "pkg/agent", "pkg/config",
		"pkg/adapter/*", "pkg/adapter/std", "pkg/api", "pkg/node", "pkg/mesh",
		"cmd/signald", "cmd/sigctl", "pkg/dispatch/dispatchtest", "pkg/ingress/ingresstest",
	},
}

type goPackage struct {
	ImportPath string
	Imports    []string
	Deps       []string
}

// TestLayers fails on an unlisted package, an upward or sideways import, or a dependency
// reached from outside its fence.
func TestLayers(t *testing.T) {
	t.Parallel()
	packages := list(t)
	if len(packages) < 10 {
		t.Fatalf("go list found %d packages, want at least 10", len(packages))
	}
	for _, p := range packages {
		name := strings.TrimPrefix(p.ImportPath, module)
		if strings.HasPrefix(name, "examples/") || name == "pkg/internal/arch" || name == "e2e" {
			continue
		}
		row := rowOf(name)
		if row < 0 {
			t.Errorf("%s stands in no row: add it to rows in this test", name)
			continue
		}
		for _, imp := range p.Imports {
			below, ours := strings.CutPrefix(imp, module)
			if !ours {
				if slices.Contains(standardOnly, name) && strings.Contains(strings.Split(imp, "/")[0], ".") {
					t.Errorf("%s imports %s: only the standard library is allowed there", name, imp)
				}
				continue
			}
			if r := rowOf(below); r >= row && (row > 0 || name == below || !rowZeroFriends(name, below)) {
				t.Errorf("%s (row %d) imports %s (row %d): only rows below are allowed", name, row, below, r)
			}
		}
		for dep, allowed := range fences {
			reaches := slices.ContainsFunc(p.Deps, func(d string) bool { return d == dep || strings.HasPrefix(d, dep+"/") })
			if reaches && !slices.ContainsFunc(allowed, func(a string) bool { return matches(a, name) }) {
				t.Errorf("%s reaches %s, which only %v may", name, dep, allowed)
			}
		}
	}
}

// rowZeroFriends says whether a row 0 package may import another: everything there may use
// the standard-only packages and secret, and internal packages may use each other.
func rowZeroFriends(name, imported string) bool {
	return slices.Contains(standardOnly, imported) || imported == "pkg/secret" && strings.HasPrefix(name, "pkg/internal/") ||
		strings.HasPrefix(name, "pkg/internal/") && strings.HasPrefix(imported, "pkg/internal/")
}

func rowOf(name string) int {
	for i := len(rows) - 1; i >= 0; i-- { // exact names before the stars of lower rows
		if slices.Contains(rows[i], name) {
			return i
		}
	}
	for i, row := range rows {
		if slices.ContainsFunc(row, func(r string) bool { return matches(r, name) }) {
			return i
		}
	}
	return -1
}

func matches(listed, name string) bool {
	ok, err := path.Match(listed, name)
	return err == nil && ok
}

func list(t *testing.T) []goPackage {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Imports,Deps", module+"...")
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			t.Fatalf("go list: %v\n%s", err, exit.Stderr)
		}
		t.Fatalf("go list: %v", err)
	}
	var packages []goPackage
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p goPackage
		switch err := dec.Decode(&p); {
		case errors.Is(err, io.EOF):
			return packages
		case err != nil:
			t.Fatalf("go list: %v", err)
		}
		packages = append(packages, p)
	}
}
