//go:build unix

package embed

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"

	"github.com/signalmesh/signalmesh/pkg/fault"
)

// lockDir makes dir and holds it for this process until the returned file is closed. The
// engine itself lets two servers write into the same directory, which destroys it. The
// kernel releases the lock when the process ends, however it ends.
func lockDir(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fault.Newf(fault.Invalid, "data directory: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fault.Newf(fault.Denied, "data directory: %w", err)
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err == nil {
		return f, nil
	}
	_ = f.Close() // nothing was written
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, fault.Hint(
			fault.Newf(fault.Conflict, "data directory %s is in use by another server", dir),
			"stop the other process, or choose another directory")
	}
	return nil, fault.Newf(fault.Unavailable, "lock data directory %s: %w", dir, err)
}
