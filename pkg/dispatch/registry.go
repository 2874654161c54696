package dispatch

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/internal/plug"
	"github.com/signalmesh/signalmesh/pkg/secret"
)

// A Registry knows adapters by name. The zero value is empty and ready. It is safe for
// concurrent use.
type Registry struct {
	mu    sync.RWMutex
	kinds map[string]kind
}

// Default is the registry that adapters put themselves into when they are imported.
var Default = &Registry{}

// kind is one adapter with its configuration type hidden.
type kind struct {
	decode func(plug.Node) (config any, err error)
	open   func(ctx context.Context, config any, env Env) (Adapter, error)
	fields func() []plug.Field
}

// Register adds an adapter to [Default]; it is meant for init functions. C is a struct
// whose tags describe the options; when it has a method Validate() error, that is part of
// the check. open may use the network, within ctx. Register panics on a name that is
// taken or malformed.
func Register[C any](name string, open func(ctx context.Context, config C, env Env) (Adapter, error)) {
	RegisterIn(Default, name, open)
}

var validName = regexp.MustCompile(`^[a-z][a-z0-9_]{0,31}$`)

// RegisterIn is [Register] for a registry of one's own.
func RegisterIn[C any](r *Registry, name string, open func(ctx context.Context, config C, env Env) (Adapter, error)) {
	k := kind{
		decode: func(n plug.Node) (any, error) {
			var config C
			err := n.Decode(&config)
			return config, err
		},
		open: func(ctx context.Context, config any, env Env) (Adapter, error) {
			return open(ctx, config.(C), env)
		},
		fields: func() []plug.Field { return plug.Fields(*new(C)) },
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, taken := r.kinds[name]; taken || !validName.MatchString(name) {
		panic(fmt.Sprintf("dispatch: adapter name %q is malformed or registered twice", name))
	}
	if r.kinds == nil {
		r.kinds = make(map[string]kind)
	}
	r.kinds[name] = k
}

// Open opens a target of [Default]; see [Registry.Open].
func Open(ctx context.Context, name string, options []byte, env Env) (Adapter, error) {
	return Default.Open(ctx, name, options, env)
}

// Check checks options with [Default]; see [Registry.Check].
func Check(name string, options []byte) error { return Default.Check(name, options) }

// Names lists the adapters of [Default], sorted.
func Names() []string { return Default.Names() }

// Fields describes the options of an adapter of [Default]; see [Registry.Fields].
func Fields(name string) ([]plug.Field, error) { return Default.Fields(name) }

// Open decodes options, a JSON object, and opens the adapter. Errors: NotFound for an
// unknown name, Invalid for options that are not right, Denied for a reference to a
// secret that env does not allow or a destination that its guard refuses, else what the
// adapter found.
func (r *Registry) Open(ctx context.Context, name string, options []byte, env Env) (Adapter, error) {
	k, config, err := r.config(name, options)
	if err != nil {
		return nil, err
	}
	if !env.AllowSecrets && holdsRef(reflect.ValueOf(config)) {
		return nil, fault.Permanent(fault.Newf(fault.Denied, "target %s: a target carried by a signal may not refer to secrets", name))
	}
	a, err := k.open(ctx, config, env)
	if err != nil {
		return nil, fmt.Errorf("open target %s: %w", name, err)
	}
	return a, nil
}

// Check says whether options, a JSON object, suit the adapter, without opening anything.
// Errors have the code NotFound for an unknown name, else Invalid.
func (r *Registry) Check(name string, options []byte) error {
	_, _, err := r.config(name, options)
	return err
}

// CheckNode is [Registry.Check] for options that are part of a document; problems are
// located in it.
func (r *Registry) CheckNode(name string, options plug.Node) error {
	k, err := r.kind(name)
	if err != nil {
		return options.Wrap(err)
	}
	_, err = k.decode(options)
	return err
}

// Names lists the adapters, sorted.
func (r *Registry) Names() []string {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return slices.Sorted(maps.Keys(r.kinds))
}

// Fields describes the options of an adapter for reference documentation.
func (r *Registry) Fields(name string) ([]plug.Field, error) {
	k, err := r.kind(name)
	if err != nil {
		return nil, err
	}
	return k.fields(), nil
}

func (r *Registry) kind(name string) (kind, error) {
	r.mu.RLock()
	k, ok := r.kinds[name]
	r.mu.RUnlock()
	if ok {
		return k, nil
	}
	err := fault.Newf(fault.NotFound, "no adapter is named %q", name)
	return kind{}, fault.Hint(err, "the adapters are %s", strings.Join(r.Names(), ", "))
}

func (r *Registry) config(name string, options []byte) (kind, any, error) {
	k, err := r.kind(name)
	if err != nil {
		return kind{}, nil, err
	}
	if len(options) == 0 {
		options = []byte("{}")
	}
	n, err := plug.FromJSON(options, "")
	if err != nil {
		return kind{}, nil, fmt.Errorf("options of %s: %w", name, err)
	}
	config, err := k.decode(n.Named(name))
	return k, config, err
}

var refType = reflect.TypeFor[secret.Ref]()

// holdsRef looks for a reference to a secret anywhere in a decoded configuration.
func holdsRef(v reflect.Value) bool {
	if !v.IsValid() {
		return false
	}
	if v.Type() == refType {
		return v.Len() > 0
	}
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		return !v.IsNil() && holdsRef(v.Elem())
	case reflect.Struct:
		for i := range v.NumField() {
			if holdsRef(v.Field(i)) {
				return true
			}
		}
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			if holdsRef(v.Index(i)) {
				return true
			}
		}
	case reflect.Map:
		for it := v.MapRange(); it.Next(); {
			if holdsRef(it.Value()) {
				return true
			}
		}
	default: // a scalar of another type
	}
	return false
}
