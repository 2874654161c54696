package config

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/internal/plug"
)

// EnvPrefix begins the environment variables that override single values of the files:
// SIGNALD_HTTP_LISTEN is http.listen.
const EnvPrefix = "SIGNALD_"

// Load reads the files, applies the environment over them, and checks the result. Of
// several files the later one wins key by key; buses, sources and routes add up. Without
// files it returns the defaults.
//
// The error holds every problem found, each with its file and line, and has the code
// [fault.Invalid]; a file that can't be read is [fault.NotFound].
func Load(environ []string, paths ...string) (*Config, error) {
	c := new(Config)
	nodes, err := read(paths)
	if err != nil {
		return nil, err
	}
	env, err := environment(environ)
	if err != nil {
		return nil, err
	}
	if err := plug.Merge(append(nodes, env...)...).Decode(c); err != nil {
		return nil, err
	}
	return c, nil
}

// read parses the files.
func read(paths []string) ([]plug.Node, error) {
	var nodes []plug.Node
	var errs []error
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			code := fault.Invalid
			if os.IsNotExist(err) {
				code = fault.NotFound
			}
			errs = append(errs, fault.Wrap(code, fmt.Errorf("read configuration: %w", err)))
			continue
		}
		n, err := plug.Parse(text, filepath.ToSlash(path))
		if err != nil {
			errs = append(errs, err)
			continue
		}
		nodes = append(nodes, n)
	}
	return nodes, plug.Join(errs...)
}

// Parse reads one document, without files or environment.
func Parse(text []byte, name string) (*Config, error) {
	n, err := plug.Parse(text, name)
	if err != nil {
		return nil, err
	}
	c := new(Config)
	if err := n.Decode(c); err != nil {
		return nil, err
	}
	return c, nil
}

// Reference writes every key with its type, default and meaning, as Markdown.
func Reference(w io.Writer) error {
	var b strings.Builder
	b.WriteString("| key | type | default | meaning |\n|---|---|---|---|\n")
	for _, f := range plug.Fields(Config{}) {
		typ := f.Type
		if len(f.Enum) > 0 {
			typ = strings.Join(f.Enum, ", ")
		}
		if f.Required {
			typ += ", required"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", f.Path, cell(typ), code(f.Default), cell(f.Doc))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func cell(text string) string { return strings.ReplaceAll(text, "|", `\|`) }

func code(text string) string {
	if text == "" {
		return ""
	}
	return "`" + cell(text) + "`"
}
