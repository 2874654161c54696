package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"go.yaml.in/yaml/v3"

	"github.com/signalmesh/signalmesh/pkg/delivery"
)

// The formats that every verb knows. Table means: for people, also where it is no table.
const (
	formatTable = "table"
	formatJSON  = "json"
	formatJSONL = "jsonl"
	formatYAML  = "yaml"
)

// A printer writes answers. People get tables, on a terminal or when they ask for them;
// programs get JSON, with the same names as in the API.
type printer struct {
	w      io.Writer
	format string
	color  bool
}

// newPrinter takes a format from the command line, "" for the one that suits w. Verbs may
// know formats of their own; the first of those is then what people get.
func newPrinter(w io.Writer, format string, own []string) (*printer, error) {
	terminal := isTerminal(w)
	p := &printer{w: w, format: format, color: terminal && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"}
	known := append([]string{formatTable, formatJSON, formatJSONL, formatYAML}, own...)
	switch {
	case format == "" && terminal:
		p.format = formatTable
	case format == "":
		p.format = formatJSON
	case !slices.Contains(known, format):
		return nil, usagef("output %q is none of %s", format, strings.Join(known, ", "))
	}
	return p, nil
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0 && f.Name() != os.DevNull
}

// document writes one answer. people is called for the format table.
func (p *printer) document(v any, people func(io.Writer) error) error {
	switch p.format {
	case formatTable:
		return people(p.w)
	case formatYAML:
		return p.yaml(v)
	case formatJSONL:
		return p.line(v)
	}
	out, err := marshal(v)
	if err != nil {
		return err
	}
	var pretty bytes.Buffer
	if err := json.Indent(&pretty, out, "", "  "); err != nil {
		return err
	}
	pretty.WriteByte('\n')
	_, err = p.w.Write(pretty.Bytes())
	return err
}

// record writes one of a stream of answers: a line of JSON, a document of YAML, or a line
// for people.
func (p *printer) record(v any, people func() string) error {
	switch p.format {
	case formatTable:
		_, err := fmt.Fprintln(p.w, people())
		return err
	case formatYAML:
		if _, err := io.WriteString(p.w, "---\n"); err != nil {
			return err
		}
		return p.yaml(v)
	}
	return p.line(v)
}

// line writes v as one line of JSON.
func (p *printer) line(v any) error {
	out, err := marshal(v)
	if err != nil {
		return err
	}
	var flat bytes.Buffer
	if err := json.Compact(&flat, out); err != nil {
		return err
	}
	flat.WriteByte('\n')
	_, err = p.w.Write(flat.Bytes())
	return err
}

// marshal is json.Marshal without the escapes that only web pages need.
func marshal(v any) ([]byte, error) {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return out.Bytes(), err
}

// yaml writes v with the names of its JSON form, of which YAML is a superset.
func (p *printer) yaml(v any) error {
	doc, err := marshal(v)
	if err != nil {
		return err
	}
	var n yaml.Node
	if err := yaml.Unmarshal(doc, &n); err != nil {
		return err
	}
	block(&n)
	enc := yaml.NewEncoder(p.w)
	enc.SetIndent(2)
	if err := enc.Encode(&n); err != nil {
		return err
	}
	return enc.Close()
}

// block makes a node be written in lines, with quotes only where they are needed.
func block(n *yaml.Node) {
	n.Style = 0
	for _, c := range n.Content {
		block(c)
	}
}

// A column of a table.
type column[T any] struct {
	title string
	cell  func(T) string
	right bool
}

// list writes several answers: a table, or a JSON array.
func list[T any](p *printer, items []T, columns ...column[T]) error {
	switch p.format {
	case formatJSONL:
		for _, item := range items {
			if err := p.line(item); err != nil {
				return err
			}
		}
		return nil
	case formatTable:
		return drawTable(p, items, columns)
	}
	if items == nil {
		items = []T{}
	}
	return p.document(items, nil)
}

func drawTable[T any](p *printer, items []T, columns []column[T]) error {
	if len(items) == 0 {
		return nil // an empty table says no more than no table
	}
	t := table.NewWriter()
	t.SetStyle(plainTable())
	header := make(table.Row, len(columns))
	configs := make([]table.ColumnConfig, len(columns))
	for i, c := range columns {
		header[i] = c.title
		configs[i] = table.ColumnConfig{Number: i + 1, WidthMax: maxCell}
		if c.right {
			configs[i].Align, configs[i].AlignHeader = text.AlignRight, text.AlignRight
		}
	}
	t.SetColumnConfigs(configs)
	t.AppendHeader(header)
	for _, item := range items {
		row := make(table.Row, len(columns))
		for i, c := range columns {
			row[i] = c.cell(item)
		}
		t.AppendRow(row)
	}
	for l := range strings.SplitSeq(t.Render(), "\n") {
		if _, err := fmt.Fprintln(p.w, strings.TrimRight(l, " ")); err != nil {
			return err
		}
	}
	return nil
}

const maxCell = 60 // characters of a cell before it goes on in the next line

func plainTable() table.Style {
	s := table.StyleDefault
	s.Options = table.OptionsNoBordersAndSeparators
	s.Box.PaddingLeft, s.Box.PaddingRight = "", "  "
	s.Format.Header = text.FormatUpper
	return s
}

// clean is text without what could move the cursor, change colours or break a line: much of
// what is shown was written by strangers.
func clean(s string) string {
	for _, r := range s {
		if !unicode.IsGraphic(r) || r == utf8.RuneError {
			return strconv.QuoteToGraphic(s)
		}
	}
	return s
}

// cut shortens text to n characters.
func cut(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return s
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02T15:04:05.000Z")
}

// ago is how long something has been, in its largest two units.
func ago(d time.Duration) string {
	switch {
	case d < time.Minute:
		return d.Round(time.Second).String()
	case d < time.Hour:
		return d.Round(time.Second).String()
	case d < 48*time.Hour:
		return strings.TrimSuffix(d.Round(time.Minute).String(), "0s")
	}
	return fmt.Sprintf("%dd%dh", d/(24*time.Hour), d%(24*time.Hour)/time.Hour)
}

func size(n uint64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	f, i := float64(n), 0
	for f >= 1024 && i < len(units)-1 {
		f, i = f/1024, i+1
	}
	if i == 0 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", f, units[i])
}

// status colours a status by how much it asks for attention.
func (p *printer) status(s delivery.Status) string {
	if !p.color {
		return string(s)
	}
	switch s {
	case delivery.Delivered:
		return text.FgGreen.Sprint(s)
	case delivery.Dead, delivery.Denied, delivery.PredicateError, delivery.Loop:
		return text.FgRed.Sprint(s)
	case delivery.Retrying, delivery.Stopped, delivery.Expired:
		return text.FgYellow.Sprint(s)
	default:
		return text.Faint.Sprint(s)
	}
}
