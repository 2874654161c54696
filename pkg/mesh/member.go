package mesh

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nats.go/micro"

	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/provision"
	"github.com/signalmesh/signalmesh/pkg/subject"
	"github.com/signalmesh/signalmesh/streams"
)

// service is the name of every node's micro service.
const service = "signald"

// A node says that it is alive this often, and at least three times while its record lives.
const heartbeat = 5 * time.Second

// probeTimeout is how long a node may take to answer for its name.
const probeTimeout = time.Second

// A Member is this process in the mesh, from [Join] to [Member.Leave]. Its methods may be
// called concurrently.
type Member struct {
	nc       *nats.Conn
	cfg      joinConfig
	svc      micro.Service
	interval time.Duration

	mu   sync.Mutex // held for each write of the record
	info Info
	rev  uint64 // of the record as written last
	err  error  // of the last heartbeat
	left bool

	stop context.CancelFunc
	done chan struct{}
}

// Join makes this process a node: its record is there when Join returns, and is renewed
// until [Member.Leave], which must be called. ctx bounds the call only. The bucket is
// created if it is missing.
//
// Errors are fault.Invalid for a name that can't be, fault.Conflict for one that another
// live node has, fault.Unavailable when the server does not answer.
func Join(ctx context.Context, nc *nats.Conn, info Info, opts ...JoinOption) (*Member, error) {
	cfg := joinConfig{log: slog.Default()}
	for _, o := range opts {
		o.applyJoin(&cfg)
	}
	if err := subject.CheckName("node", info.Name); err != nil {
		return nil, err
	}
	if info.State == "" {
		info.State = Ready
	}
	m := &Member{nc: nc, cfg: cfg, info: info, done: make(chan struct{})}
	if err := m.join(ctx); err != nil {
		return nil, fmt.Errorf("join as %s: %w", info.Name, unavailable(err))
	}
	run, stop := context.WithCancel(context.WithoutCancel(ctx))
	m.stop = stop
	go m.run(run, m.interval) // ends with Leave
	return m, nil
}

func (m *Member) join(ctx context.Context) error {
	if err := m.provide(ctx); err != nil {
		return err
	}
	svc, err := micro.AddService(m.nc, micro.Config{
		Name: service, Version: semver(m.info.Version), Description: "a node of the mesh",
		Metadata: map[string]string{"node": m.info.Name, "space": m.cfg.space.Prefix()},
	})
	if err != nil {
		return err
	}
	m.svc = svc
	if err := m.claim(ctx); err != nil {
		return errors.Join(err, svc.Stop())
	}
	return nil
}

// provide makes sure of the bucket and learns how often a record has to be renewed.
func (m *Member) provide(ctx context.Context) error {
	js, err := jetstream.New(m.nc)
	if err != nil {
		return err
	}
	vars := provision.Vars{Space: m.cfg.space, Replicas: m.cfg.replicas}
	defs, err := provision.Load(streams.FS, vars, streams.Nodes)
	if err != nil {
		return err
	}
	if err := provision.Ensure(ctx, js, defs...); err != nil {
		return err
	}
	kv, err := bucket(ctx, m.nc, m.cfg.space)
	if err != nil {
		return err
	}
	status, err := kv.Status(ctx)
	if err != nil {
		return err
	}
	m.interval = heartbeat
	if ttl := status.TTL(); ttl > 0 {
		m.interval = min(heartbeat, ttl/3)
	}
	return nil
}

// claim writes the first record, in the place of a node of that name only if it is dead.
func (m *Member) claim(ctx context.Context) error {
	kv, err := bucket(ctx, m.nc, m.cfg.space)
	if err != nil {
		return err
	}
	for {
		m.rev, err = kv.Create(ctx, m.info.Name, m.record())
		if !moved(err) {
			return err
		}
		held, err := kv.Get(ctx, m.info.Name)
		if errors.Is(err, jetstream.ErrKeyNotFound) {
			continue // it expired this moment
		}
		if err != nil {
			return err
		}
		if n, err := decodeNode(held); err == nil && m.alive(ctx, n.Instance) {
			return fault.Hint(
				fault.Newf(fault.Conflict, "a node of this name is in the mesh, on host %q with pid %d", n.Host, n.PID),
				"give this node a name of its own")
		}
		m.rev, err = kv.Update(ctx, m.info.Name, m.record(), held.Revision())
		if !moved(err) {
			return err
		}
	}
}

// moved reports that the record is not the one that was expected: a single server and a
// cluster say so with different codes.
func moved(err error) bool {
	var api *jetstream.APIError
	return errors.Is(err, jetstream.ErrKeyExists) || errors.As(err, &api) &&
		(api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence || api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant)
}

// alive asks the process itself. A dead one has no responder, so the answer comes at once.
func (m *Member) alive(ctx context.Context, instance string) bool {
	subj, err := micro.ControlSubject(micro.PingVerb, service, instance)
	if err != nil || instance == "" {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	_, err = m.nc.RequestWithContext(ctx, subj, nil)
	return err == nil
}

func (m *Member) record() []byte {
	text, err := json.Marshal(Node{Info: m.info, Instance: m.svc.Info().ID})
	if err != nil {
		panic(err) // a struct of plain values
	}
	return text
}

// run renews the record until it is stopped. A bucket with another lifetime, made anew by
// somebody else meanwhile, does not change how often.
func (m *Member) run(ctx context.Context, every time.Duration) {
	defer close(m.done)
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		m.mu.Lock()
		before := m.err
		m.write(ctx)
		after := m.err
		m.mu.Unlock()
		switch {
		case ctx.Err() != nil:
		case before == nil && after != nil:
			m.cfg.log.WarnContext(ctx, "heartbeat lost", "node", m.info.Name, "err", after)
		case before != nil && after == nil:
			m.cfg.log.InfoContext(ctx, "heartbeat back", "node", m.info.Name)
		}
	}
}

// write stores the record and remembers how that went. The lock is held.
func (m *Member) write(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, m.interval)
	defer cancel()
	rev, err := m.put(ctx)
	if err != nil && ctx.Err() == nil { // a server that was restarted has no bucket in memory
		if err = m.provide(ctx); err == nil {
			rev, err = m.put(ctx)
		}
	}
	if m.err = err; err == nil {
		m.rev = rev
	}
}

func (m *Member) put(ctx context.Context) (uint64, error) {
	kv, err := bucket(ctx, m.nc, m.cfg.space)
	if err != nil {
		return 0, err
	}
	return kv.Put(ctx, m.info.Name, m.record())
}

// Update changes what the node says about itself and tells the mesh at once. The name
// stays.
func (m *Member) Update(ctx context.Context, change func(*Info)) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.left {
		return fault.Newf(fault.Conflict, "node %s has left the mesh", m.info.Name)
	}
	name := m.info.Name
	change(&m.info)
	m.info.Name = name
	m.write(ctx)
	return m.reported()
}

// Err is what was wrong with the last heartbeat, nil while the node is seen by others.
func (m *Member) Err() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.reported()
}

func (m *Member) reported() error {
	if m.err == nil {
		return nil
	}
	return fmt.Errorf("heartbeat of %s: %w", m.info.Name, unavailable(m.err))
}

// Instance identifies this run of the node.
func (m *Member) Instance() string { return m.svc.Info().ID }

// Done is closed when the member has left.
func (m *Member) Done() <-chan struct{} { return m.done }

// Leave ends the heartbeats and takes the record away, unless another node has taken the
// name over. After an error the record expires by itself. Leaving twice is fine.
func (m *Member) Leave(ctx context.Context) error {
	m.stop()
	<-m.done
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.left {
		return nil
	}
	m.left = true
	err := m.svc.Stop()
	kv, kerr := bucket(ctx, m.nc, m.cfg.space)
	if kerr == nil {
		if kerr = kv.Delete(ctx, m.info.Name, jetstream.LastRevision(m.rev)); moved(kerr) {
			kerr = nil // expired, or another node's now
		}
	}
	if err = errors.Join(err, kerr); err != nil {
		return fmt.Errorf("leave as %s: %w", m.info.Name, unavailable(err))
	}
	return nil
}

var version = regexp.MustCompile(`^v?((?:(?:0|[1-9]\d*)\.){2}(?:0|[1-9]\d*)(?:-[0-9A-Za-z.-]+)?(?:\+[0-9A-Za-z.-]+)?)$`)

// semver is the version in the form that micro services must have.
func semver(text string) string {
	if m := version.FindStringSubmatch(text); m != nil {
		return m[1]
	}
	return "0.0.0"
}
