// Package vectors reads the test vectors that several packages share, from testdata at the
// root of the repository. Only tests import it. A file that is missing or empty fails the
// test: one that reads nothing would pass for the wrong reason.
package vectors

import (
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
)

// A Match is a line of patterns.txt: whether the pattern selects the type.
type Match struct {
	Pattern, Type string
	Want          bool
}

// Matches reads patterns.txt.
func Matches(tb testing.TB) []Match {
	tb.Helper()
	var all []Match
	for n, line := range strings.Split(read(tb, "patterns.txt"), "\n") {
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		fields := strings.Split(line, "\t")
		if len(fields) != 3 {
			tb.Fatalf("patterns.txt:%d: %d fields, want 3", n+1, len(fields))
		}
		want, err := strconv.ParseBool(fields[2])
		if err != nil {
			tb.Fatalf("patterns.txt:%d: %v", n+1, err)
		}
		all = append(all, Match{fields[0], fields[1], want})
	}
	if len(all) == 0 {
		tb.Fatal("patterns.txt holds no vectors")
	}
	return all
}

func read(tb testing.TB, name string) string {
	tb.Helper()
	_, here, _, _ := runtime.Caller(0)
	b, err := os.ReadFile(filepath.Join(filepath.Dir(here), "..", "..", "..", "testdata", name))
	if err != nil {
		tb.Fatal(err)
	}
	return string(b)
}
