package route

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/signalmesh/signalmesh/pkg/fault"
)

// An ApplyOption is an option of [Store.Apply], [Store.Put], [Store.Remove] and
// [Store.Rollback].
type ApplyOption interface{ apply(*applyOptions) }

type applyOptions struct {
	planOptions
	by string
}

type applyOption func(*applyOptions)

func (f applyOption) apply(o *applyOptions) { f(o) }

// By says who makes the change, for the record: "ana@laptop".
func By(who string) ApplyOption { return applyOption(func(o *applyOptions) { o.by = who }) }

func applying(opts []ApplyOption) applyOptions {
	var o applyOptions
	for _, opt := range opts {
		opt.apply(&o)
	}
	return o
}

// races is how often Apply looks again after somebody else changed a route in between.
const races = 3

// Plan tells what [Store.Apply] would do, and changes nothing.
func (s *Store) Plan(ctx context.Context, wanted []Spec, owner string, opts ...PlanOption) (Changes, error) {
	var o planOptions
	for _, opt := range opts {
		opt.plan(&o)
	}
	changes, _, err := s.plan(ctx, wanted, owner, o)
	return changes, err
}

func (s *Store) plan(ctx context.Context, wanted []Spec, owner string, o planOptions) (Changes, contents, error) {
	if err := validateAll(wanted); err != nil { // before asking anybody
		return nil, contents{}, err
	}
	c, err := s.read(ctx)
	if err != nil {
		return nil, contents{}, err
	}
	live := make([]Route, len(c.entries))
	for i, e := range c.entries {
		// One that can't be read counts as empty: it differs from everything, and applying
		// something in its place is how it gets repaired.
		live[i], _ = decodeRoute(e)
	}
	changes, err := plan(live, wanted, owner, o)
	return changes, c, err
}

// Apply makes the wanted routes be in force, as the owner's, in one step: all changes or
// none. It writes nothing that is equal already, so applying twice is applying once. What
// it did is returned, with the new revisions.
//
// Errors: fault.Invalid for wrong routes, all of them told; fault.Conflict when a route
// belongs to somebody else ([Take], [Keep]) or was changed by somebody at this moment;
// fault.TooLarge for more than a thousand changes at once.
func (s *Store) Apply(ctx context.Context, wanted []Spec, owner string, opts ...ApplyOption) (Changes, error) {
	o := applying(opts)
	for race := 1; ; race++ {
		changes, c, err := s.plan(ctx, wanted, owner, o.planOptions)
		if err != nil {
			return nil, fmt.Errorf("apply routes: %w", err)
		}
		writes, err := writesOf(changes, c.gone, owner, o.by)
		if err != nil {
			return nil, fmt.Errorf("apply routes: %w", err)
		}
		if len(writes) == 0 {
			return changes, nil
		}
		first, err := s.write(ctx, writes)
		if err == nil {
			number(changes, first)
			return changes, nil
		}
		// Nodes with the same file start together: the others may have done it already.
		if !fault.Is(err, fault.Conflict) || race == races {
			return nil, fmt.Errorf("apply routes: %w", err)
		}
	}
}

// number gives the changes that were written their revisions, which follow each other.
func number(changes Changes, revision uint64) {
	for i, c := range changes {
		if c.Action == Create || c.Action == Update || c.Action == Delete {
			changes[i].Revision = revision
			revision++
		}
	}
}

// write is one message to the bucket: a value, or nil for a removal. It takes effect only
// if the key is at the revision: that of its removal if it was removed, 0 if it never was.
type write struct {
	key      string
	value    []byte
	revision uint64
}

func writesOf(changes Changes, gone map[string]uint64, owner, by string) ([]write, error) {
	var writes []write
	now := time.Now()
	for _, c := range changes {
		switch c.Action {
		case Create, Update:
			value, err := encodeRoute(*c.After, owner, by, now)
			if err != nil {
				return nil, err
			}
			writes = append(writes, write{c.Name, value, max(c.Revision, gone[c.Name])})
		case Delete:
			writes = append(writes, write{c.Name, nil, c.Revision})
		case Unchanged, Kept:
		}
	}
	return writes, nil
}

// Put writes one route as the owner's, if it is at the given revision: 0 for a new one. It
// returns the new revision. Errors: fault.Invalid, or fault.Conflict when the route is at
// another revision.
func (s *Store) Put(ctx context.Context, spec Spec, owner string, revision uint64, opts ...ApplyOption) (uint64, error) {
	if err := validateAll([]Spec{spec}); err != nil {
		return 0, err
	}
	value, err := encodeRoute(spec, owner, applying(opts).by, time.Now())
	if err != nil {
		return 0, err
	}
	if revision == 0 {
		if revision, err = s.removal(ctx, spec.Name); err != nil {
			return 0, err
		}
	}
	written, err := s.write(ctx, []write{{spec.Name, value, revision}})
	if err != nil {
		return 0, fmt.Errorf("put route %s: %w", spec.Name, err)
	}
	return written, nil
}

// removal is the revision at which the route was removed, or 0.
func (s *Store) removal(ctx context.Context, name string) (uint64, error) {
	stream, err := s.js.Stream(ctx, s.stream)
	if err != nil {
		return 0, unavailable(err)
	}
	m, err := stream.GetLastMsgForSubject(ctx, s.prefix+name)
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return 0, nil
	case err != nil:
		return 0, unavailable(err)
	case m.Header.Get("KV-Operation") == "":
		return 0, nil
	}
	return m.Sequence, nil
}

// Remove deletes routes, whoever owns them, all or none. Their history stays. Errors:
// fault.NotFound when one is not there, fault.Conflict when one was changed at this moment.
func (s *Store) Remove(ctx context.Context, names ...string) error {
	var writes []write
	var errs []error
	for _, name := range names {
		e, err := s.kv.Get(ctx, name)
		switch {
		case errors.Is(err, jetstream.ErrInvalidKey):
			errs = append(errs, noRoute(name))
		case err != nil:
			errs = append(errs, s.keyError(name, err))
		default:
			writes = append(writes, write{name, nil, e.Revision()})
		}
	}
	if err := errors.Join(errs...); err != nil || len(writes) == 0 {
		return err
	}
	if _, err := s.write(ctx, writes); err != nil {
		return fmt.Errorf("remove routes: %w", err)
	}
	return nil
}

// Rollback puts a revision of the route's history in force again, as a new revision of the
// same owner, also when the route was removed since. Rolling back to what is in force
// writes nothing. Errors: fault.NotFound for an unknown revision, fault.Invalid for one
// that can't be used any more, fault.Conflict when the route was changed at this moment.
func (s *Store) Rollback(ctx context.Context, name string, revision uint64, opts ...ApplyOption) (Route, error) {
	versions, err := s.History(ctx, name)
	if err != nil {
		return Route{}, err
	}
	last := versions[len(versions)-1]
	for _, v := range versions {
		if v.Revision != revision {
			continue
		}
		switch {
		case v.Deleted:
			return Route{}, fault.Newf(fault.Invalid, "revision %d of route %s is its removal; remove it instead", revision, name)
		case v.Err != nil:
			return Route{}, v.Err
		case !last.Deleted && last.Err == nil && last.Equal(v.Spec):
			return last.Route, nil
		}
		if _, err := s.Put(ctx, v.Spec, v.Owner, last.Revision, opts...); err != nil {
			return Route{}, fmt.Errorf("roll back to revision %d: %w", revision, err)
		}
		return s.Get(ctx, name)
	}
	return Route{}, fault.Hint(fault.Newf(fault.NotFound, "route %s has no revision %d any more", name, revision),
		"its revisions are %d to %d", versions[0].Revision, last.Revision)
}

// maxBatch is how many messages the engine stores in one step.
const maxBatch = 1000

// write stores all messages in one step, or none, and returns the revision of the first.
func (s *Store) write(ctx context.Context, writes []write) (first uint64, err error) {
	if len(writes) > maxBatch {
		return 0, fault.Newf(fault.TooLarge, "%d changes at once, more than %d", len(writes), maxBatch)
	}
	batch := nats.NewInbox()[len("_INBOX."):]
	for i, w := range writes {
		m := s.message(w)
		last := i == len(writes)-1
		if len(writes) > 1 {
			m.Header.Set("Nats-Batch-Id", batch)
			m.Header.Set("Nats-Batch-Sequence", strconv.Itoa(i+1))
		}
		if !last && i > 0 {
			if err := s.nc.PublishMsg(m); err != nil {
				return 0, unavailable(err)
			}
			continue
		}
		if last && len(writes) > 1 {
			m.Header.Set("Nats-Batch-Commit", "1")
		}
		// The first and the last are answered: what the engine has against a batch as such
		// it says at once, what it has against a message at the end.
		ack, err := s.request(ctx, m)
		if err != nil {
			return 0, err
		}
		if last {
			first = ack.Sequence - uint64(len(writes)-1)
		}
	}
	return first, nil
}

func (s *Store) message(w write) *nats.Msg {
	m := nats.NewMsg(s.prefix + w.key)
	m.Data = w.value
	m.Header.Set(jetstream.ExpectedLastSubjSeqHeader, strconv.FormatUint(w.revision, 10))
	m.Header.Set(jetstream.ExpectedStreamHeader, s.stream)
	if w.value == nil {
		m.Header.Set("KV-Operation", "DEL")
	}
	return m
}
