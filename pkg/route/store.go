package route

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/internal/plug"
	"github.com/signalmesh/signalmesh/pkg/provision"
	"github.com/signalmesh/signalmesh/pkg/subject"
	"github.com/signalmesh/signalmesh/streams"
)

// A Store keeps the routes of a mesh in its KV bucket, one key each, with their history. It
// is safe for concurrent use, holds nothing and need not be closed.
//
// Besides what the methods say, errors are fault.Unavailable when the store does not
// answer.
type Store struct {
	nc     *nats.Conn
	js     jetstream.JetStream
	kv     jetstream.KeyValue
	stream string // of the bucket
	prefix string // of a key's subject
}

// An OpenOption is an option of [OpenStore].
type OpenOption func(*provision.Vars)

// Replicas is how many servers keep a copy of the store, when it is created; default 1.
func Replicas(n int) OpenOption { return func(v *provision.Vars) { v.Replicas = n } }

// OpenStore opens the store of a mesh, and creates it when it is not there. The connection
// stays the caller's and must outlive the store.
func OpenStore(ctx context.Context, nc *nats.Conn, space subject.Space, opts ...OpenOption) (*Store, error) {
	vars := provision.Vars{Space: space}
	for _, opt := range opts {
		opt(&vars)
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, fmt.Errorf("open routes: %w", err)
	}
	defs, err := provision.Load(streams.FS, vars, "routes.yaml")
	if err != nil {
		return nil, fmt.Errorf("open routes: %w", err)
	}
	if err := provision.Ensure(ctx, js, defs...); err != nil {
		return nil, fmt.Errorf("open routes: %w", err)
	}
	bucket := space.RoutesBucket()
	kv, err := js.KeyValue(ctx, bucket)
	if err != nil {
		return nil, fmt.Errorf("open routes: %w", unavailable(err))
	}
	return &Store{nc: nc, js: js, kv: kv, stream: "KV_" + bucket, prefix: "$KV." + bucket + "."}, nil
}

// document is a route as the bucket has it. The spec stays raw: a revision that this
// program can't understand still has an owner.
type document struct {
	Spec      json.RawMessage `json:"spec"`
	Owner     string          `json:"owner,omitempty"`
	AppliedAt time.Time       `json:"applied_at"`
	AppliedBy string          `json:"applied_by,omitempty"`
}

func encodeRoute(s Spec, owner, by string, at time.Time) ([]byte, error) {
	spec, err := s.MarshalJSON()
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false) // people read it with the nats command
	err = enc.Encode(document{spec, owner, at.UTC().Truncate(time.Millisecond), by})
	return b.Bytes(), err
}

// decodeRoute reads an entry of the bucket. With an error, the Route still has what could
// be read.
func decodeRoute(e jetstream.KeyValueEntry) (Route, error) {
	r := Route{Spec: Spec{Name: e.Key()}, Revision: e.Revision(), AppliedAt: e.Created()}
	var d document
	if err := json.Unmarshal(e.Value(), &d); err != nil {
		return r, fault.Newf(fault.Invalid, "route %s, revision %d: not a route document: %w", e.Key(), e.Revision(), err)
	}
	r.Owner, r.AppliedAt, r.AppliedBy = d.Owner, d.AppliedAt, d.AppliedBy
	n, err := plug.FromJSON(d.Spec, "")
	if err == nil {
		var s Spec
		if s, err = Parse(n); err == nil && s.Name != e.Key() {
			err = fault.Newf(fault.Invalid, "it calls itself %q", s.Name)
		}
		if err == nil {
			r.Spec = s
			return r, nil
		}
	}
	return r, fault.Newf(fault.Invalid, "route %s, revision %d: %w", e.Key(), e.Revision(), err)
}

// List gives every route, by name. A route that can't be understood makes an error, beside
// the others.
func (s *Store) List(ctx context.Context) ([]Route, error) {
	c, err := s.read(ctx)
	if err != nil {
		return nil, err
	}
	routes := make([]Route, 0, len(c.entries))
	var errs []error
	for _, e := range c.entries {
		r, err := decodeRoute(e)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		routes = append(routes, r)
	}
	return routes, fault.Wrap(fault.Invalid, errors.Join(errs...))
}

// contents is everything in the bucket at one moment.
type contents struct {
	entries []jetstream.KeyValueEntry // by key
	gone    map[string]uint64         // removed keys and the revisions of their removal
}

// read collects the bucket. What one write changed in one step is there as a whole.
func (s *Store) read(ctx context.Context) (contents, error) {
	w, err := s.kv.WatchAll(ctx)
	if err != nil {
		return contents{}, fmt.Errorf("read routes: %w", unavailable(err))
	}
	defer func() { _ = w.Stop() }() // an error means that it has ended already
	c := contents{gone: map[string]uint64{}}
	for {
		select {
		case <-ctx.Done():
			return contents{}, fmt.Errorf("read routes: %w", ctx.Err())
		case e, ok := <-w.Updates():
			switch {
			case !ok:
				return contents{}, fault.Newf(fault.Unavailable, "read routes: the connection was lost")
			case e == nil:
				slices.SortFunc(c.entries, func(a, b jetstream.KeyValueEntry) int { return cmp.Compare(a.Key(), b.Key()) })
				return c, nil
			case e.Operation() == jetstream.KeyValuePut:
				c.entries = append(c.entries, e)
			default:
				c.gone[e.Key()] = e.Revision()
			}
		}
	}
}

// Revision is that of the newest change in the store, a removal included; 0 when nothing was
// ever written. [Snapshot.Revision] reaches it when the change is taken in.
func (s *Store) Revision(ctx context.Context) (uint64, error) {
	c, err := s.read(ctx)
	if err != nil {
		return 0, err
	}
	var newest uint64
	for _, e := range c.entries {
		newest = max(newest, e.Revision())
	}
	for _, removed := range c.gone {
		newest = max(newest, removed)
	}
	return newest, nil
}

// Get finds a route by its name; fault.NotFound when there is none.
func (s *Store) Get(ctx context.Context, name string) (Route, error) {
	if err := subject.CheckName("route", name); err != nil {
		return Route{}, err
	}
	e, err := s.kv.Get(ctx, name)
	if err != nil {
		return Route{}, s.keyError(name, err)
	}
	return decodeRoute(e)
}

func (s *Store) keyError(name string, err error) error {
	if errors.Is(err, jetstream.ErrKeyNotFound) || errors.Is(err, jetstream.ErrKeyDeleted) {
		return noRoute(name)
	}
	return fmt.Errorf("route %s: %w", name, unavailable(err))
}

func noRoute(name string) error {
	return fault.Hint(fault.Newf(fault.NotFound, "there is no route %q", name), "sigctl routes ls shows the names")
}

// A Version is one revision of a route.
type Version struct {
	Route         // what could be read of it
	Deleted bool  // this revision is the removal of the route
	Err     error // why the revision can't be used
}

// History gives the revisions of a route that are kept, at most twenty, the oldest first.
// A route that was removed has a history too; fault.NotFound when there never was one.
func (s *Store) History(ctx context.Context, name string) ([]Version, error) {
	if err := subject.CheckName("route", name); err != nil {
		return nil, err
	}
	entries, err := s.kv.History(ctx, name)
	if err != nil {
		return nil, s.keyError(name, err)
	}
	versions := make([]Version, len(entries))
	for i, e := range entries {
		if e.Operation() != jetstream.KeyValuePut {
			versions[i] = Version{Route: Route{Spec: Spec{Name: name}, Revision: e.Revision(), AppliedAt: e.Created()}, Deleted: true}
			continue
		}
		r, err := decodeRoute(e)
		versions[i] = Version{Route: r, Err: err}
	}
	return versions, nil
}
