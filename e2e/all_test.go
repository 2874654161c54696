//go:build e2e

package e2e_test

import (
	"os"
	"testing"
)

// TestAllGitHubPayloads is the main job on every payload of a folder of real ones: one file
// each, named <event>.<anything>.json. PAYLOADS names the folder.
func TestAllGitHubPayloads(t *testing.T) {
	dir := os.Getenv("PAYLOADS")
	if dir == "" {
		dir = "../../shared/data/github"
	}
	mainJob(t, load(t, dir, 100))
}
