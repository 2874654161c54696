package file

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/signalmesh/signalmesh/pkg/fault"
)

// lines is an open file of lines. Its size is known, so that a broken line can be cut off.
type lines struct {
	path  string
	users int // guarded by shared

	mu   sync.Mutex
	f    *os.File
	size int64
}

// open opens the file for appending, and closes off a line that a crash left unfinished.
func (l *lines) open() error {
	// O_NONBLOCK: a pipe of that name must be refused, not waited for.
	f, err := os.OpenFile(l.path, os.O_RDWR|os.O_CREATE|os.O_APPEND|syscall.O_NONBLOCK, 0o600)
	if err != nil {
		return coded(err)
	}
	info, err := f.Stat()
	switch {
	case err != nil:
	case !info.Mode().IsRegular():
		err = fault.Newf(fault.Invalid, "%s is not a regular file", l.path)
	default:
		l.f, l.size = f, info.Size()
		err = l.finishLine()
	}
	if err != nil {
		l.f = nil
		return errors.Join(err, f.Close())
	}
	return nil
}

func (l *lines) finishLine() error {
	if l.size == 0 {
		return nil
	}
	var last [1]byte
	if _, err := l.f.ReadAt(last[:], l.size-1); err != nil {
		return coded(err)
	}
	if last[0] == '\n' {
		return nil
	}
	return l.write([]byte{'\n'})
}

// append writes one line, after making room for it.
func (l *lines) append(line []byte, c Config) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.refresh(); err != nil {
		return err
	}
	if c.MaxSize > 0 && l.size > 0 && l.size+int64(len(line)) > int64(c.MaxSize) {
		if err := l.rotate(c.Keep); err != nil {
			return err
		}
	}
	before := l.size
	err := l.write(line)
	if err == nil && c.Sync {
		if err = l.f.Sync(); err != nil {
			err = coded(err)
			l.cut(before) // not known to be on disk, and about to be written again
		}
	}
	return err
}

// refresh makes sure that the open file is the one at the path: others may have moved it
// away or cut it short.
func (l *lines) refresh() error {
	if l.f == nil {
		return l.open()
	}
	open, err := l.f.Stat()
	if err != nil {
		return coded(err)
	}
	if named, err := os.Stat(l.path); err == nil && os.SameFile(open, named) {
		l.size = open.Size()
		return nil
	}
	if err := l.closeFile(); err != nil {
		return coded(err)
	}
	return l.open()
}

// write writes all of line or leaves nothing of it.
func (l *lines) write(line []byte) error {
	n, err := l.f.Write(line)
	if err == nil {
		l.size += int64(n)
		return nil
	}
	l.cut(l.size)
	return coded(err)
}

// cut goes back to the end of the last whole line. Where even that fails the file is opened
// anew for the next line, which closes off the broken one.
func (l *lines) cut(size int64) {
	if err := l.f.Truncate(size); err != nil {
		_ = l.f.Close() // it is broken already, and the caller hears of that
		l.f = nil
	}
	l.size = size
}

// rotate renames path to path.1, path.1 to path.2 and so on, and begins a new file.
func (l *lines) rotate(keep int) error {
	if err := l.closeFile(); err != nil {
		return coded(err)
	}
	numbered := func(i int) string { return fmt.Sprintf("%s.%d", l.path, i) }
	var err error
	if keep == 0 {
		err = os.Remove(l.path)
	} else {
		err = ignoreMissing(os.Remove(numbered(keep)))
		for i := keep - 1; i >= 1 && err == nil; i-- {
			err = ignoreMissing(os.Rename(numbered(i), numbered(i+1)))
		}
		if err == nil {
			err = os.Rename(l.path, numbered(1))
		}
	}
	if err = ignoreMissing(err); err != nil {
		return coded(err) // the old file is opened again for the next line
	}
	if err := l.open(); err != nil {
		return err
	}
	return syncDir(filepath.Dir(l.path))
}

// closeFile makes sure of what a file holds that is done with.
func (l *lines) closeFile() error {
	err := errors.Join(l.f.Sync(), l.f.Close())
	l.f = nil
	return err
}

// close closes the file with its last user.
func (l *lines) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.f == nil {
		return nil
	}
	return l.closeFile()
}

// syncDir makes a rename durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return coded(err)
	}
	return coded(errors.Join(d.Sync(), d.Close()))
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// coded says what an error of the file system means.
func coded(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fault.Wrap(fault.Exhausted, err)
	case errors.Is(err, fs.ErrPermission):
		return fault.Wrap(fault.Denied, err)
	case errors.Is(err, fs.ErrNotExist):
		return fault.Wrap(fault.NotFound, err)
	case errors.Is(err, io.ErrShortWrite):
		return fault.Wrap(fault.Exhausted, err)
	}
	return fault.Wrap(fault.Unavailable, err)
}
