package config

import (
	"cmp"
	"fmt"
	"io"
	"strings"

	"github.com/signalmesh/signalmesh/pkg/dispatch"
	"github.com/signalmesh/signalmesh/pkg/ingress"
	"github.com/signalmesh/signalmesh/pkg/internal/plug"
)

// Reference writes, as Markdown, every key of the file with its type, default, environment
// variable and meaning, then the options of every adapter and source that is linked into
// the program.
func Reference(w io.Writer) error {
	var b strings.Builder
	b.WriteString(preamble)
	table(&b, plug.Fields(Config{}), true)
	b.WriteString("\n## Targets\n\nEach element of `routes[].to` is a map with one adapter and its options, and may have a\n`name`, by which verdicts and dead letters know it, and a `retry` of its own.\n")
	for _, name := range dispatch.Names() {
		fields, err := dispatch.Fields(name)
		if err != nil {
			return err
		}
		section(&b, name, fields)
	}
	b.WriteString("\n## Sources\n\nEach element of `sources` has a `name`, one adapter and its options, and may have a `bus` and\nthe CEL expressions `type`, `source`, `subject` and `id` over `body`, `headers` and `query`.\n")
	for _, name := range ingress.Default.Names() {
		fields, err := ingress.Default.Fields(name)
		if err != nil {
			return err
		}
		section(&b, name, fields)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

const preamble = `# Configuration of signald

One or more YAML files, later ones over earlier ones, then the environment. Durations are
written ` + "`500ms`, `5s`, `7d`; sizes `512KiB`, `10MB`; secrets `env:NAME` or `file:/path`" + `.

`

func section(b *strings.Builder, name string, fields []plug.Field) {
	fmt.Fprintf(b, "\n### %s\n\n", name)
	if len(fields) == 0 {
		b.WriteString("No options.\n")
		return
	}
	table(b, fields, false)
}

func table(b *strings.Builder, fields []plug.Field, variables bool) {
	head := []string{"key", "type", "default", "meaning"}
	if variables {
		head = append(head, "variable")
	}
	fmt.Fprintf(b, "| %s |\n%s|\n", strings.Join(head, " | "), strings.Repeat("|---", len(head)))
	for _, f := range fields {
		row := []string{code(f.Path), cell(typeOf(f)), code(f.Default), cell(f.Doc)}
		if variables {
			row = append(row, code(variableOf(f)))
		}
		fmt.Fprintf(b, "| %s |\n", strings.Join(row, " | "))
	}
}

// typeOf says everything about the values that a key takes.
func typeOf(f plug.Field) string {
	text := f.Type
	if len(f.Enum) > 0 {
		text = strings.Join(f.Enum, ", ")
	}
	if f.Single {
		text += ", or just one"
	}
	if f.Min != "" || f.Max != "" {
		text += fmt.Sprintf(", %s to %s", cmp.Or(f.Min, "0"), cmp.Or(f.Max, "any"))
	}
	if f.Required {
		text += ", required"
	}
	return text
}

func cell(text string) string { return strings.ReplaceAll(text, "|", `\|`) }

func code(text string) string {
	if text == "" {
		return ""
	}
	return "`" + cell(text) + "`"
}
