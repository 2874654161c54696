//go:build !unix

package embed

import (
	"os"
	"path/filepath"

	"github.com/signalmesh/signalmesh/pkg/fault"
)

// lockDir makes dir. Systems without flock get no protection against a second server.
func lockDir(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fault.Newf(fault.Invalid, "data directory: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fault.Newf(fault.Denied, "data directory: %w", err)
	}
	return f, nil
}
