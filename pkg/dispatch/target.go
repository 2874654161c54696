package dispatch

import (
	"bytes"
	"context"
	"encoding/json"

	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/internal/plug"
)

// A Target is where a delivery goes: an adapter and its options, written as a map with
// one key, {"http": {"url": "https://…"}}.
type Target struct {
	Adapter string
	Options []byte // JSON object in canonical form; empty means no options
}

// NewTarget makes a target of an adapter's name and its options: a configuration struct,
// or any value that becomes a JSON object. They are not checked; see [Target.Check].
func NewTarget(adapter string, options any) (Target, error) {
	if options == nil {
		options = struct{}{}
	}
	raw, err := plug.Encode(options)
	if err != nil {
		return Target{}, fault.Newf(fault.Invalid, "options of target %s: %w", adapter, err)
	}
	n, err := plug.FromJSON(raw, "")
	if err != nil {
		return Target{}, err
	}
	return newTarget(adapter, n)
}

func newTarget(adapter string, options plug.Node) (Target, error) {
	t := Target{Adapter: adapter}
	if !validName.MatchString(adapter) {
		return Target{}, options.Wrap(fault.Newf(fault.Invalid, "%.40q is not the name of an adapter", adapter))
	}
	if options.IsZero() {
		return t, nil
	}
	if !options.IsMap() {
		return Target{}, options.Errorf("expected the options of %s as a map, found %s", adapter, options.Kind())
	}
	raw, err := options.JSON()
	if err != nil {
		return Target{}, err
	}
	if len(options.Keys()) > 0 {
		t.Options = raw
	}
	return t, nil
}

// DecodePlug reads the one-key map, or just the name of an adapter that needs no options.
// The options of an adapter that is in [Default] are checked on the way, so that problems
// are located in the document; [Target.Check] also refuses an adapter that is not.
func (t *Target) DecodePlug(n plug.Node) error {
	name, options := n.Text(), plug.Node{}
	if !n.IsScalar() {
		var err error
		if name, options, err = n.Single(); err != nil {
			return err
		}
	}
	decoded, err := newTarget(name, options)
	if err != nil {
		return err
	}
	*t = decoded
	if k, err := Default.kind(name); err == nil {
		if options.IsZero() {
			return n.Wrap(t.Check())
		}
		_, err = k.decode(options)
		return err
	}
	return nil
}

// DescribePlug says what a target is in reference documentation.
func (Target) DescribePlug() string { return "one adapter and its options" }

// UnmarshalJSON reads the one-key map.
func (t *Target) UnmarshalJSON(data []byte) error {
	n, err := plug.FromJSON(data, "")
	if err != nil {
		return err
	}
	if n.IsZero() {
		return n.Errorf("expected a target, found nothing")
	}
	return t.DecodePlug(n)
}

// MarshalJSON writes the one-key map.
func (t Target) MarshalJSON() ([]byte, error) {
	options := json.RawMessage(t.Options)
	if len(options) == 0 {
		options = json.RawMessage("{}")
	}
	return json.Marshal(map[string]json.RawMessage{t.Adapter: options})
}

// Equal says whether both targets are the same adapter with the same options.
func (t Target) Equal(u Target) bool {
	return t.Adapter == u.Adapter && bytes.Equal(t.canonical(), u.canonical())
}

func (t Target) canonical() []byte {
	n, err := plug.FromJSON(t.Options, "")
	switch {
	case err != nil:
		return t.Options
	case len(n.Keys()) == 0:
		return nil
	}
	raw, err := n.JSON()
	if err != nil {
		return t.Options
	}
	return raw
}

// Check says whether the adapter is in [Default] and the options suit it.
func (t Target) Check() error { return Default.Check(t.Adapter, t.Options) }

// Open opens the target with the adapter in [Default].
func (t Target) Open(ctx context.Context, env Env) (Adapter, error) {
	return Default.Open(ctx, t.Adapter, t.Options, env)
}

// String names the adapter and, where its configuration describes one, the destination,
// with nothing in it that must stay secret: "http https://example.com/hook".
func (t Target) String() string {
	_, config, err := Default.config(t.Adapter, t.Options)
	if err != nil {
		return t.Adapter
	}
	if d, ok := config.(Describer); ok && d.Endpoint() != "" {
		return t.Adapter + " " + d.Endpoint()
	}
	return t.Adapter
}

var (
	_ plug.Decoder     = (*Target)(nil)
	_ json.Unmarshaler = (*Target)(nil)
	_ json.Marshaler   = Target{}
)
