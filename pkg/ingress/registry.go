package ingress

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/internal/plug"
)

// Env is what a receiver gets from whoever opens it.
type Env struct {
	Name    string  // of the source; it may appear in types and sources of signals
	Mapping Mapping // expressions, "" where the source's default is wanted
	Log     *slog.Logger
}

// A Registry knows how to open receivers by the name of their adapter. It is a value, so
// that a test can have one of its own; programs use [Default]. It is safe for concurrent
// use. The zero Registry is empty and ready.
type Registry struct {
	mu    sync.RWMutex
	kinds map[string]kind
}

// Default is where adapters register themselves from init.
var Default = new(Registry)

// kind is one registered adapter. The options that decode returns are open's.
type kind struct {
	decode func(options plug.Node) (any, error)
	open   func(ctx context.Context, options any, env Env) (Receiver, error)
	fields func() []plug.Field
}

// checkMapping asks options that can tell a bad mapping without opening anything.
func checkMapping(options any, m Mapping) error {
	if c, ok := options.(interface{ CheckMapping(m Mapping) error }); ok {
		return c.CheckMapping(m)
	}
	return nil
}

// Register makes a receiver known to [Default] under name. Its options are decoded
// strictly into C, which may check itself with a method Validate() error, and the mapping
// with a method CheckMapping(Mapping) error; both run before anything is opened. Register
// panics on an empty or repeated name.
func Register[C any](name string, open func(ctx context.Context, options C, env Env) (Receiver, error)) {
	RegisterIn(Default, name, open)
}

// RegisterIn is [Register] for any registry.
func RegisterIn[C any](r *Registry, name string, open func(ctx context.Context, options C, env Env) (Receiver, error)) {
	r.add(name, kind{
		decode: func(n plug.Node) (any, error) {
			var c C
			err := n.Decode(&c)
			return c, err
		},
		open: func(ctx context.Context, options any, env Env) (Receiver, error) {
			return open(ctx, options.(C), env)
		},
		fields: func() []plug.Field { return plug.Fields(*new(C)) },
	})
}

func (r *Registry) add(name string, k kind) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, taken := r.kinds[name]; taken || name == "" {
		panic(fmt.Sprintf("ingress: source %q registered twice or without a name", name))
	}
	if r.kinds == nil {
		r.kinds = map[string]kind{}
	}
	r.kinds[name] = k
}

func (r *Registry) lookup(name string) (kind, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	k, ok := r.kinds[name]
	if !ok {
		known := slices.Sorted(maps.Keys(r.kinds))
		return k, fault.Newf(fault.Invalid, "no source %q, known are: %s", name, strings.Join(known, ", "))
	}
	return k, nil
}

func (r *Registry) has(name string) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	_, ok := r.kinds[name]
	return ok
}

// Names lists the registered adapters, sorted.
func (r *Registry) Names() []string {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return slices.Sorted(maps.Keys(r.kinds))
}

// Fields describes the options of an adapter for reference documentation.
func (r *Registry) Fields(name string) ([]plug.Field, error) {
	k, err := r.lookup(name)
	if err != nil {
		return nil, err
	}
	return k.fields(), nil
}

// prepare looks a spec's adapter up and decodes what it was given.
func (r *Registry) prepare(s Spec) (kind, any, error) {
	if err := s.Validate(); err != nil {
		return kind{}, nil, err
	}
	k, err := r.lookup(s.Adapter)
	if err != nil {
		return k, nil, fmt.Errorf("source %s: %w", s.Name, err)
	}
	n, err := s.options()
	if err != nil {
		return k, nil, err
	}
	options, err := k.decode(n)
	if err == nil {
		err = checkMapping(options, s.Mapping)
	}
	if err != nil {
		return k, nil, fmt.Errorf("source %s: %w", s.Name, err)
	}
	return k, options, nil
}

// Check reports what is wrong with a spec, as far as that can be told without opening it
// or resolving a secret. The code is [fault.Invalid].
func (r *Registry) Check(s Spec) error {
	_, _, err := r.prepare(s)
	return err
}

// Open checks s and opens its receiver. The name and the mapping of env are taken from s.
func (r *Registry) Open(ctx context.Context, s Spec, env Env) (Receiver, error) {
	k, options, err := r.prepare(s)
	if err != nil {
		return nil, err
	}
	env.Name, env.Mapping = s.Name, s.Mapping
	if env.Log == nil {
		env.Log = slog.New(slog.DiscardHandler)
	}
	receiver, err := k.open(ctx, options, env)
	if err != nil {
		return nil, fmt.Errorf("open source %s: %w", s.Name, err)
	}
	return receiver, nil
}

// Open opens a receiver of [Default]; see [Registry.Open].
func Open(ctx context.Context, s Spec, env Env) (Receiver, error) { return Default.Open(ctx, s, env) }

// Check reports what is wrong with a spec for [Default]; see [Registry.Check].
func Check(s Spec) error { return Default.Check(s) }
