package journal

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/signalmesh/signalmesh/pkg/codec"
	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/internal/pull"
)

// RecorderName is the durable consumer on the bus's stream that all recorders of the bus
// share. Its position is how far the journal has come.
const RecorderName = "journal"

const (
	recorderAckWait  = 30 * time.Second
	recorderPending  = 20_000          // signals on their way in all recorders together
	recorderPrefetch = 4_000           // and in the pull loop of one
	putBack          = 1 * time.Second // before a signal that could not be stored comes again
)

// A Recorder writes what lies on the bus into the journal, until it is stopped.
type Recorder struct {
	j    *Journal
	loop *pull.Loop

	flights sync.WaitGroup // signals handed to the writer
	flying  atomic.Int64   // how many
	behind  atomic.Uint64  // how many more there were when the last one came
	done    chan struct{}
}

// Follow records every signal on the bus, from the first one that was never recorded. Nodes
// share the work: any number of recorders, in any number of processes, may follow one bus.
//
// A signal counts as recorded when its keys are stored, so nothing is left out if a recorder
// dies; what it had begun is done again, which changes nothing. While the journal can't be
// written, signals wait on the bus. What is not a signal is passed over.
//
// The context bounds the call only. Stop the recorder before [Journal.Close].
func (j *Journal) Follow(ctx context.Context) (*Recorder, error) {
	if err := j.consumer(ctx); err != nil {
		return nil, fmt.Errorf("follow bus %s: %w", j.bus, err)
	}
	r := &Recorder{j: j, done: make(chan struct{})}
	loop, err := pull.Start(j.js, pull.Config{
		Stream: j.signal, Consumer: RecorderName, Prefetch: recorderPrefetch, Log: j.log,
	}, r.take)
	if err != nil {
		return nil, fault.Newf(fault.Unavailable, "follow bus %s: %w", j.bus, err)
	}
	r.loop = loop
	go r.watch() // ends with the loop
	return r, nil
}

// consumer makes the shared consumer, or leaves the one that is there as it is.
func (j *Journal) consumer(ctx context.Context) error {
	_, err := j.js.CreateConsumer(ctx, j.signal, jetstream.ConsumerConfig{
		Durable: RecorderName, Description: "records signals in the journal of bus " + j.bus,
		DeliverPolicy: jetstream.DeliverAllPolicy, AckPolicy: jetstream.AckExplicitPolicy,
		AckWait: recorderAckWait, MaxAckPending: recorderPending, MaxDeliver: -1,
	})
	switch {
	case errors.Is(err, jetstream.ErrConsumerExists):
		return nil
	case errors.Is(err, jetstream.ErrStreamNotFound):
		return fault.Wrap(fault.NotFound, err)
	case err != nil:
		return fault.Wrap(fault.Unavailable, err)
	}
	return nil
}

// take records one signal. It blocks while the writer's queue is full.
func (r *Recorder) take(m *pull.Msg) {
	r.behind.Store(m.Pending)
	s, err := codec.FromNATS(m.Header, m.Data)
	if err != nil {
		r.j.log.Debug("not a signal, not recorded", "bus", r.j.bus, "sequence", m.Sequence, "error", err)
		r.settle(m, nil)
		return
	}
	r.flights.Add(1)
	r.flying.Add(1)
	p := newPut(func(err error) {
		r.flying.Add(-1)
		r.settle(m, err)
		r.flights.Done()
	}, r.j.entries(s, m.Sequence, s.Causation())...)
	if err := r.j.write.enqueue(context.Background(), p); err != nil {
		p.done(err)
	}
}

// settle acknowledges a signal that is stored, and gives back one that is not.
func (r *Recorder) settle(m *pull.Msg, err error) {
	if err != nil {
		r.j.log.Warn("signal not recorded yet", "bus", r.j.bus, "sequence", m.Sequence, "error", err)
		err = m.Nak(putBack)
	} else {
		err = m.Ack()
	}
	if err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
		r.j.log.Debug("signal not settled, it comes again", "bus", r.j.bus, "sequence", m.Sequence, "error", err)
	}
}

// watch closes done when the loop has ended and everything it took is settled.
func (r *Recorder) watch() {
	<-r.loop.Done() // nothing is taken any more
	r.flights.Wait()
	close(r.done)
}

// Stop ends the recorder: nothing more is taken, and what was taken is still written. It
// does not wait; see [Recorder.Done].
func (r *Recorder) Stop() { r.loop.Stop() }

// Drain stops the recorder and waits until what was taken is written.
func (r *Recorder) Drain(ctx context.Context) error {
	r.Stop()
	select {
	case <-r.done:
		return nil
	case <-ctx.Done():
		return fault.Newf(fault.Unavailable, "drain recorder of bus %s: %w", r.j.bus, ctx.Err())
	}
}

// Lag is how many signals on the bus were not recorded when this recorder took its last one,
// and those it is still writing. It asks nobody; [Journal.Lag] asks the server.
func (r *Recorder) Lag() uint64 { return r.behind.Load() + uint64(max(r.flying.Load(), 0)) }

// Done is closed when the recorder has ended: after Stop, or by itself, see [Recorder.Err].
func (r *Recorder) Done() <-chan struct{} { return r.done }

// Err says why the recorder ended by itself: its consumer was deleted or the connection was
// closed. It is nil before that and after Stop.
func (r *Recorder) Err() error { return r.loop.Err() }
