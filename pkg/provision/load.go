package provision

import (
	"cmp"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/internal/plug"
	"github.com/signalmesh/signalmesh/pkg/subject"
)

// DefaultBus is the bus that definitions are made for when [Vars] names none.
const DefaultBus = "default"

// Vars is what the placeholders in files stand for. Its zero value is the default bus,
// unreplicated, under the default prefix.
type Vars struct {
	Space    subject.Space // {prefix}, and {PREFIX} in capitals
	Buses    []string      // {bus}: one definition each; "default" when empty
	Replicas int           // copies of whatever does not say num_replicas itself; 1 when 0
}

// Load reads the definitions in the files of fsys: those named, else every .yaml, .yml and
// .json file at its top, in the order of their names. All that is wrong in them is
// reported at once, with code Invalid.
func Load(fsys fs.FS, v Vars, files ...string) ([]Definition, error) {
	if len(files) == 0 {
		var err error
		if files, err = definitionFiles(fsys); err != nil {
			return nil, err
		}
	}
	if len(v.Buses) == 0 {
		v.Buses = []string{DefaultBus}
	}
	l := loader{vars: v, seen: map[string]string{}}
	for _, bus := range v.Buses {
		if err := subject.CheckName("bus", bus); err != nil {
			return nil, err
		}
	}
	for _, name := range files {
		text, err := fs.ReadFile(fsys, name)
		if err != nil {
			return nil, fault.Newf(fault.NotFound, "definitions: %w", err)
		}
		l.file(string(text), name)
	}
	if err := plug.Join(l.errs...); err != nil {
		return nil, err
	}
	return l.defs, nil
}

func definitionFiles(fsys fs.FS) ([]string, error) {
	entries, err := fs.ReadDir(fsys, ".")
	if err != nil {
		return nil, fault.Newf(fault.NotFound, "definitions: %w", err)
	}
	var files []string
	for _, e := range entries {
		if ext := path.Ext(e.Name()); !e.IsDir() && (ext == ".yaml" || ext == ".yml" || ext == ".json") {
			files = append(files, e.Name())
		}
	}
	if len(files) == 0 {
		return nil, fault.Newf(fault.NotFound, "definitions: no .yaml, .yml or .json file")
	}
	return files, nil
}

// loader gathers definitions and everything that is wrong with them.
type loader struct {
	vars Vars
	seen map[string]string // stream name to where it is defined
	defs []Definition
	errs []error
}

// file reads one file once per bus. What does not mention the bus comes out the same each
// time and is kept once; what is wrong is wrong each time and is reported once.
func (l *loader) file(text, name string) {
	prefix := l.vars.Space.Prefix()
	for _, bus := range l.vars.Buses {
		before := len(l.errs)
		expanded := strings.NewReplacer(
			"{bus}", bus, "{prefix}", prefix, "{PREFIX}", strings.ToUpper(prefix),
		).Replace(text)
		docs, err := plug.ParseAll([]byte(expanded), name)
		if err != nil {
			l.errs = append(l.errs, err)
		}
		for _, doc := range docs {
			l.document(doc)
		}
		if len(l.errs) > before {
			return
		}
	}
}

func (l *loader) document(doc plug.Node) {
	d, err := decode(doc)
	if err != nil {
		l.errs = append(l.errs, err)
		return
	}
	switch at, known := l.seen[d.Config.Name]; {
	case known && at == d.File:
		return
	case known:
		l.errs = append(l.errs, doc.Errorf("%s %q is defined at %s already", d.Kind, d.Name, at))
		return
	}
	l.seen[d.Config.Name] = d.File
	d.Config.Replicas = cmp.Or(d.Config.Replicas, l.vars.Replicas)
	d.Config = withDefaults(d.Config)
	l.defs = append(l.defs, d)
}

// decode reads a one-key document, `stream:` or `bucket:`.
func decode(doc plug.Node) (Definition, error) {
	key, body, err := doc.Single()
	if err != nil {
		return Definition{}, err
	}
	d := Definition{Kind: Kind(key), File: doc.Pos()}
	switch d.Kind {
	case Stream:
		var spec streamSpec
		if err := body.Decode(&spec); err != nil {
			return Definition{}, err
		}
		d.Name, d.Config = spec.Name, spec.config()
	case Bucket:
		var spec bucketSpec
		if err := body.Decode(&spec); err != nil {
			return Definition{}, err
		}
		d.Name, d.Config = spec.Name, spec.config()
	default:
		return Definition{}, doc.Errorf("unknown kind %q, expected stream or bucket", key)
	}
	return d, check(body, d.Config)
}

// check finds what only the server would refuse otherwise, one definition after the other.
func check(body plug.Node, c jetstream.StreamConfig) error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, body.Errorf(format, args...)) }
	for _, text := range append([]string{c.Name}, c.Subjects...) {
		if i := strings.Index(text, "{"); i >= 0 {
			bad("%q: unknown placeholder, expected {bus}, {prefix} or {PREFIX}", text)
		}
	}
	if strings.ContainsAny(c.Name, ".*>/\\ \t") {
		bad("name %q contains one of . * > / \\ or a space", c.Name)
	}
	fed := c.Mirror != nil || len(c.Sources) > 0
	switch {
	case len(c.Subjects) == 0 && !fed:
		bad("no subjects, no mirror and no sources: nothing would be stored")
	case len(c.Subjects) > 0 && c.Mirror != nil:
		bad("a mirror has no subjects of its own")
	}
	if c.AllowMsgSchedules && c.Discard == jetstream.DiscardNew {
		bad("schedules need discard old")
	}
	if c.MaxAge > 0 && c.Duplicates > c.MaxAge {
		bad("duplicate_window %s is longer than max_age %s", c.Duplicates, c.MaxAge)
	}
	if slices.Contains(c.Subjects, ">") {
		bad("a stream of every subject would store the engine's own traffic")
	}
	return plug.Join(errs...)
}

// String is how a definition is referred to: "stream SIG_default".
func (d Definition) String() string { return fmt.Sprintf("%s %s", d.Kind, d.Name) }
