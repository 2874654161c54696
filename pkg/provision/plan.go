package provision

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/nats-io/nats.go/jetstream"
)

// Action is what a change does.
type Action string

// The actions.
const (
	Create Action = "create"
	Update Action = "update"
	None   Action = "none" // it is what it should be
)

// A Change is what the plan does about one definition.
type Change struct {
	Kind   Kind    `json:"kind"`
	Name   string  `json:"name"`
	File   string  `json:"file"`
	Action Action  `json:"action"`
	Class  Class   `json:"class"`            // the worst of its fields
	Fields []Field `json:"fields,omitempty"` // what differs; for a new one, what it will be

	want jetstream.StreamConfig
	live *jetstream.StreamConfig // as it was seen; nil when there was none
}

// A Plan is the difference between definitions and a server at one moment. It is immutable.
type Plan struct {
	js      jetstream.JetStream
	changes []Change
}

// An Option says how [New] reads definitions.
type Option interface{ apply(*options) }

type options struct {
	vars  Vars
	files []string
}

type optionFunc func(*options)

func (f optionFunc) apply(o *options) { f(o) }

// With gives the values of the placeholders, by default those of [Vars]' zero value.
func With(v Vars) Option { return optionFunc(func(o *options) { o.vars = v }) }

// Files limits the plan to these files of the directory.
func Files(names ...string) Option { return optionFunc(func(o *options) { o.files = names }) }

// New loads the definitions in fsys and compares them with the server that js speaks to.
// Nothing is changed. Errors are those of [Load] and [Ensure].
func New(ctx context.Context, js jetstream.JetStream, fsys fs.FS, opts ...Option) (*Plan, error) {
	var o options
	for _, opt := range opts {
		opt.apply(&o)
	}
	defs, err := Load(fsys, o.vars, o.files...)
	if err != nil {
		return nil, err
	}
	return Compare(ctx, js, defs...)
}

// Compare is [New] for definitions that are loaded already.
func Compare(ctx context.Context, js jetstream.JetStream, defs ...Definition) (*Plan, error) {
	p := &Plan{js: js}
	for _, d := range defs {
		c, err := compare(ctx, js, d)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", d, err)
		}
		p.changes = append(p.changes, c)
	}
	return p, nil
}

func compare(ctx context.Context, js jetstream.JetStream, d Definition) (Change, error) {
	c := Change{Kind: d.Kind, Name: d.Name, File: d.File, Action: None, Class: Safe, want: d.Config}
	live, err := js.Stream(ctx, d.Config.Name)
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		c.Action, c.Fields = Create, fieldsOf(d.Config)
		return c, nil
	case err != nil:
		return Change{}, coded(err)
	}
	info := live.CachedInfo()
	c.live = &info.Config
	for _, f := range diff(info, d.Config) {
		c.Action, c.Class, c.Fields = Update, worse(c.Class, f.Class), append(c.Fields, f)
	}
	return c, nil
}

// Changes lists every definition with what will be done about it, in the order of files.
func (p *Plan) Changes() []Change { return slices.Clone(p.changes) }

// Empty reports whether there is nothing to do.
func (p *Plan) Empty() bool { return p.count(func(c Change) bool { return c.Action != None }) == 0 }

// Destructive reports whether applying the plan gives up messages or a promise about them.
func (p *Plan) Destructive() bool {
	return p.count(func(c Change) bool { return c.Class == Lossy }) > 0
}

// Blocked reports whether the plan holds what no server does, so that Apply will refuse it.
func (p *Plan) Blocked() bool {
	return p.count(func(c Change) bool { return c.Class == Immutable }) > 0
}

func (p *Plan) count(is func(Change) bool) int {
	n := 0
	for _, c := range p.changes {
		if is(c) {
			n++
		}
	}
	return n
}

// String shows the plan to people: what is done, field by field, and what it costs.
func (p *Plan) String() string {
	var b strings.Builder
	for _, c := range p.changes {
		if c.Action == None {
			continue
		}
		mark := map[Action]string{Create: "+", Update: "~"}[c.Action]
		if c.Class == Immutable {
			mark = "!"
		}
		fmt.Fprintf(&b, "%s %s %s (%s)\n", mark, c.Kind, c.Name, c.File)
		for _, f := range c.Fields {
			if c.Action == Create {
				fmt.Fprintf(&b, "    %s: %s\n", f.Name, show(f.To))
				continue
			}
			fmt.Fprintf(&b, "    %s\n", f)
		}
		b.WriteByte('\n')
	}
	fmt.Fprintf(&b, "%s\n", p.summary())
	return b.String()
}

func (p *Plan) summary() string {
	by := func(a Action) int { return p.count(func(c Change) bool { return c.Action == a }) }
	if p.Empty() {
		return fmt.Sprintf("No changes: %d as defined.", len(p.changes))
	}
	text := fmt.Sprintf("%d to create, %d to update, %d as defined.", by(Create), by(Update), by(None))
	if p.Blocked() {
		text += " Some of it can't be done on existing streams."
	}
	if p.Destructive() {
		text += " Some of it loses something."
	}
	return text
}

// MarshalJSON gives the plan to programs.
func (p *Plan) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Empty       bool     `json:"empty"`
		Destructive bool     `json:"destructive"`
		Blocked     bool     `json:"blocked"`
		Changes     []Change `json:"changes"`
	}{p.Empty(), p.Destructive(), p.Blocked(), p.changes})
}
