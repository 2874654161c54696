package config

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/internal/plug"
)

// EnvPrefix begins the environment variables that override single values of the files:
// SIGNALD_HTTP_LISTEN is http.listen.
const EnvPrefix = "SIGNALD_"

// Load reads the files, applies the environment over them, and checks the result. Of
// several files the later one wins key by key; buses, sources and routes add up, and two of
// the same name are a problem wherever they stand. Without files it returns the defaults.
//
// The error holds every problem found, each with its file and line, and has the code
// [fault.Invalid]; a file that can't be read is [fault.NotFound].
func Load(environ []string, paths ...string) (*Config, error) {
	nodes, errs := read(paths)
	env, err := environment(environ)
	errs = append(errs, err)
	if err := plug.Join(errs...); err != nil {
		if slices.ContainsFunc(errs, func(err error) bool { return fault.Is(err, fault.NotFound) }) {
			err = fault.Wrap(fault.NotFound, err)
		}
		return nil, err
	}
	return decode(plug.Merge(append(nodes, env...)...))
}

// Parse reads one document, without files or environment.
func Parse(text []byte, name string) (*Config, error) {
	n, err := plug.Parse(text, name)
	if err != nil {
		return nil, err
	}
	return decode(n)
}

// Check reports everything that is wrong with files, as [Load] would, and what a node that
// is run from them would miss: where to keep its data. It opens nothing but the files and
// resolves no secret.
func Check(environ []string, paths ...string) error {
	c, err := Load(environ, paths...)
	if err != nil {
		return err
	}
	if c.NATS.URL == "" && c.Node.Data == "" {
		return fault.Newf(fault.Invalid, "node.data: required, but missing (folder of the embedded server's streams), unless nats.url names a server to join")
	}
	return nil
}

func decode(n plug.Node) (*Config, error) {
	c := new(Config)
	if err := plug.Join(n.Decode(c), twins(n)); err != nil {
		return nil, err
	}
	return c, nil
}

// twins reports things of one kind that have the same name, with both places.
func twins(n plug.Node) error {
	var errs []error
	for _, list := range []struct{ key, kind string }{{"buses", "bus"}, {"sources", "source"}, {"routes", "route"}} {
		first := map[string]string{}
		for _, item := range n.Field(list.key).Items() {
			name := item.Field("name")
			at, taken := first[name.Text()]
			if taken && name.Text() != "" {
				errs = append(errs, name.Errorf("another %s is named %q, at %s", list.kind, name.Text(), at))
				continue
			}
			first[name.Text()] = name.Pos()
		}
	}
	return plug.Join(errs...)
}

// read parses the files.
func read(paths []string) (nodes []plug.Node, errs []error) {
	for _, path := range paths {
		text, err := readFile(path)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		n, err := plug.Parse(text, filepath.ToSlash(path))
		if err != nil {
			errs = append(errs, err)
			continue
		}
		nodes = append(nodes, n)
	}
	return nodes, errs
}

// maxFile is the largest file that is taken for a configuration.
const maxFile = 16 << 20

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		code := fault.Invalid
		if errors.Is(err, os.ErrNotExist) {
			code = fault.NotFound
		}
		return nil, fault.Wrap(code, fmt.Errorf("read configuration: %w", err))
	}
	defer func() { _ = f.Close() }() // opened for reading: nothing is lost
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	switch {
	case err != nil:
		return nil, fault.Wrap(fault.Invalid, fmt.Errorf("read configuration: %w", err))
	case len(text) > maxFile:
		return nil, fault.Newf(fault.TooLarge, "read configuration: %s holds more than %d bytes", path, maxFile)
	}
	return text, nil
}
