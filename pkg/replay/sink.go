package replay

import (
	"bufio"
	"context"
	"io"
	"time"

	"github.com/signalmesh/signalmesh/pkg/bus"
	"github.com/signalmesh/signalmesh/pkg/delivery"
	"github.com/signalmesh/signalmesh/pkg/dispatch"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

// A Sink is where a job sends signals.
type Sink interface {
	// Send sends the entries, in order, and returns when that is done. It gets one entry at a
	// time, and is called concurrently by jobs with several workers. An error means that they
	// were not sent; [Broken] tells that nothing else will be either.
	Send(ctx context.Context, entries []bus.Entry) error
}

// What a sink of this package may be besides.
type (
	batcher  interface{ batch() int }                  // takes up to so many entries at once
	verbatim interface{ verbatim() }                   // gets signals as they were, without replayid
	selector interface{ selects(*signal.Signal) bool } // has no use for some of them
)

// Broken marks the error of a sink that can't go on at all, such as a full disk: the job ends
// with it.
func Broken(err error) error { return &brokenError{err} }

type brokenError struct{ err error }

func (e *brokenError) Error() string { return e.err.Error() }
func (e *brokenError) Unwrap() error { return e.err }

// Func is a function as a [Sink], called for one signal at a time.
type Func func(ctx context.Context, e bus.Entry) error

// Send calls f.
func (f Func) Send(ctx context.Context, entries []bus.Entry) error {
	for _, e := range entries {
		if err := f(ctx, e); err != nil {
			return err
		}
	}
	return nil
}

// ToHandler sends signals to a handler. What it publishes with the context it is given is
// caused by the signal that is replayed.
func ToHandler(h signal.Handler) Sink {
	return Func(func(ctx context.Context, e bus.Entry) error {
		return h(signal.NewContext(ctx, e.Signal), e.Signal)
	})
}

// attemptTimeout bounds one attempt at a target without a limit of its own.
const attemptTimeout = time.Minute

// ToTarget delivers signals to one target with attempts as the policy says, all of them in
// memory. An answer of the target counts as success and is dropped: published, it would set
// off routes. All attempts at a signal carry one idempotency key, which is not that of its
// first delivery.
func ToTarget(a dispatch.Adapter, p delivery.Policy) Sink {
	timeout := attemptTimeout
	if l, ok := a.(dispatch.Limiter); ok {
		timeout = max(timeout, l.Timeout())
	}
	return Func(func(ctx context.Context, e bus.Entry) error {
		mark := e.Signal.ExtString(signal.ExtReplay)
		info := dispatch.Info{Key: dispatch.Key("replay", mark, e.Signal.Source, e.Signal.ID), Target: "replay", Sequence: e.Sequence}
		res := p.Run(ctx, func(ctx context.Context, n int) error {
			info.Attempt = n
			_, err := dispatch.Send(dispatch.WithInfo(ctx, info), a, e.Signal)
			return err
		}, delivery.Options{Timeout: timeout})
		if res.Status == delivery.Delivered {
			return nil
		}
		return res.Err
	})
}

// ToBus publishes signals on a bus, where they set off whatever is there. They keep source
// and id, so that what the bus got within its dedup window is not stored again.
func ToBus(b *bus.Bus) Sink { return busSink{b} }

type busSink struct{ b *bus.Bus }

// busBatch is how many signals are published at once: enough to share the cost of a sync.
const busBatch = 500

func (busSink) batch() int { return busBatch }

func (k busSink) Send(ctx context.Context, entries []bus.Entry) error {
	signals := make([]*signal.Signal, len(entries))
	for i, e := range entries {
		signals[i] = e.Signal
	}
	return k.b.Publish(ctx, signals...)
}

// A Writer is a sink that writes signals as CloudEvents JSON, one to a line, as they were.
// It is for one worker.
type Writer struct{ out *bufio.Writer }

// ToWriter writes to w. Flush it when the job is done.
func ToWriter(w io.Writer) *Writer { return &Writer{bufio.NewWriterSize(w, 64<<10)} }

func (*Writer) verbatim() {}

// Send writes the signals. Every failure to write is [Broken].
func (w *Writer) Send(_ context.Context, entries []bus.Entry) error {
	for _, e := range entries {
		if err := bus.WriteLine(w.out, e.Signal); err != nil {
			return Broken(err)
		}
	}
	return nil
}

// Flush writes what is buffered.
func (w *Writer) Flush() error { return w.out.Flush() }

// Verbatim is a sink that gets signals as they were, without replayid: for what only shows
// them.
func Verbatim(to Sink) Sink { return plain{to} }

type plain struct{ Sink }

func (plain) verbatim() {}

var (
	_ Sink     = Func(nil)
	_ batcher  = busSink{}
	_ verbatim = (*Writer)(nil)
	_ verbatim = plain{}
)
