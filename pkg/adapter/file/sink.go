// Package file is the adapter "file": it appends signals to a file, one CloudEvent in JSON
// per line.
//
// Promises:
//
//   - A line is whole or not there: what a full disk or a crash cut off is removed or
//     closed off before the next line.
//   - With sync a delivered signal survives a power failure; without, a crash of the
//     machine may take the last seconds.
//   - A file that would grow beyond max_size is renamed to path.1, its predecessors to
//     path.2 and so on; those beyond keep are deleted. No signal is split over two files.
//   - Targets of one process that name the same path share the file.
//
// A repeated delivery is a repeated line: readers that mind tell it by source and id.
package file

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"sync"

	"github.com/signalmesh/signalmesh/pkg/dispatch"
	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/internal/plug"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

func init() { dispatch.Register("file", open) }

// Config are the options of the adapter.
type Config struct {
	Path    string    `json:"path" required:"true" doc:"absolute path of the file; its directory must exist"`
	MaxSize plug.Size `json:"max_size" default:"100MB" doc:"size beyond which a new file is begun; 0 never does"`
	Keep    int       `json:"keep" default:"5" min:"0" max:"1000" doc:"how many full files are kept beside the current one"`
	Sync    bool      `json:"sync" doc:"whether each line is forced to disk before it counts as delivered"`
}

// Validate checks the path.
func (c Config) Validate() error {
	if !filepath.IsAbs(c.Path) || filepath.Clean(c.Path) != c.Path {
		return plug.At(fault.Newf(fault.Invalid, "%q is not an absolute path in its shortest form", c.Path), "path")
	}
	return nil
}

// Endpoint is the path.
func (c Config) Endpoint() string { return c.Path }

// sink appends to one file.
type sink struct {
	config Config
	file   *lines
	once   sync.Once
}

func open(_ context.Context, c Config, _ dispatch.Env) (dispatch.Adapter, error) {
	f, err := acquire(c.Path)
	if err != nil {
		return nil, err
	}
	return &sink{config: c, file: f}, nil
}

// Deliver appends the line.
func (k *sink) Deliver(ctx context.Context, s *signal.Signal) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	line, err := oneLine(s.AppendJSON(nil))
	if err != nil {
		return fault.Permanent(fault.Newf(fault.Invalid, "append to %s: %w", k.config.Path, err))
	}
	if err := k.file.append(line, k.config); err != nil {
		return fmt.Errorf("append to %s: %w", k.config.Path, err)
	}
	return nil
}

// oneLine takes the line breaks out of JSON, which are between its tokens only, and adds
// the one at the end.
func oneLine(text []byte) ([]byte, error) {
	if bytes.IndexByte(text, '\n') >= 0 {
		var b bytes.Buffer
		if err := json.Compact(&b, text); err != nil {
			return nil, err
		}
		text = b.Bytes()
	}
	return append(text, '\n'), nil
}

// Endpoint is the path.
func (k *sink) Endpoint() string { return k.config.Path }

// Close lets go of the file, which is closed with the last target that uses it.
func (k *sink) Close() error {
	var err error
	k.once.Do(func() { err = k.file.release() })
	return err
}

// shared are the open files by path, since two writers with their own idea of the size would rotate each
// other's files away.
var shared = struct {
	sync.Mutex
	files map[string]*lines
}{files: map[string]*lines{}}

func acquire(path string) (*lines, error) {
	shared.Lock()
	defer shared.Unlock()
	f := shared.files[path]
	if f == nil {
		f = &lines{path: path}
		if err := f.open(); err != nil {
			return nil, err
		}
		shared.files[path] = f
	}
	f.users++
	return f, nil
}

func (l *lines) release() error {
	shared.Lock()
	defer shared.Unlock()
	if l.users--; l.users > 0 {
		return nil
	}
	delete(shared.files, l.path)
	return l.close()
}

var (
	_ dispatch.Adapter   = (*sink)(nil)
	_ dispatch.Describer = (*sink)(nil)
	_ dispatch.Describer = Config{}
)
