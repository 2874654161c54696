package replay

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/signalmesh/signalmesh/pkg/bus"
	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

// A run is a job under way: feed reads and paces, a goroutine for each parcel sends, collect
// takes the outcomes in order.
type run struct {
	Job
	stop    context.CancelCauseFunc
	began   time.Time
	ordered chan *parcel  // under way or done, oldest first
	ended   chan struct{} // collect has returned

	mu     sync.Mutex
	report Report
	lately time.Time // when Progress was called last
}

// maxParcel is about how many bytes of data are sent at once.
const maxParcel = 4 << 20

// A parcel is what is sent at once.
type parcel struct {
	entries []bus.Entry
	errs    []error // one for each entry
	done    chan struct{}
}

// feed reads the source to its end.
func (r *run) feed(ctx context.Context) error {
	size := 1
	if b, ok := r.To.(batcher); ok {
		size = b.batch()
	}
	p := pace{speed: r.Speed, rate: r.Rate}
	var next []bus.Entry
	bytes := 0
	for e, err := range r.From {
		if err != nil {
			return err
		}
		if !r.note(e) {
			continue
		}
		if due := r.began.Add(p.next(e.Stored)); time.Until(due) > 0 {
			if err := r.post(ctx, &next); err != nil {
				return err
			}
			if err := wait(ctx, due); err != nil {
				return err
			}
		}
		next, bytes = append(next, r.marked(e)), bytes+len(e.Signal.Data)
		if len(next) >= size || bytes >= maxParcel {
			bytes = 0
			if err := r.post(ctx, &next); err != nil {
				return err
			}
		}
	}
	return r.post(ctx, &next)
}

func (r *run) note(e bus.Entry) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.wanted(&r.report, e)
}

// marked is the entry as the sink gets it.
func (r *run) marked(e bus.Entry) bus.Entry {
	if _, ok := r.To.(verbatim); ok {
		return e
	}
	e.Signal = e.Signal.Clone()
	if e.Signal.Extensions == nil {
		e.Signal.Extensions = make(map[string]any, 1)
	}
	e.Signal.Extensions[signal.ExtReplay] = r.ID
	return e
}

// post sends entries as soon as fewer than Workers parcels are under way.
func (r *run) post(ctx context.Context, entries *[]bus.Entry) error {
	if len(*entries) == 0 {
		return nil
	}
	p := &parcel{entries: *entries, done: make(chan struct{})}
	*entries = nil
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	default:
	}
	select {
	case r.ordered <- p:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	go func() { // ends with the sink's answer, waited for by collect
		defer close(p.done)
		p.errs = r.send(ctx, p.entries)
	}()
	return nil
}

// send hands entries to the sink: together, and if that fails, one by one.
func (r *run) send(ctx context.Context, entries []bus.Entry) []error {
	errs := make([]error, len(entries))
	err := try(ctx, r.To, entries)
	if err == nil {
		return errs
	}
	for i := range entries {
		if len(entries) > 1 && !ending(ctx, err) {
			err = try(ctx, r.To, entries[i:i+1])
		}
		errs[i] = err
	}
	return errs
}

// ending reports whether there is no use in sending more.
func ending(ctx context.Context, err error) bool {
	var broken *brokenError
	return ctx.Err() != nil || errors.As(err, &broken)
}

// try makes a panic of a handler or an adapter the failure of its signal.
func try(ctx context.Context, to Sink, entries []bus.Entry) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fault.Newf(fault.Internal, "panic: %v", p)
		}
	}()
	return to.Send(ctx, entries)
}

// collect notes outcomes in the order of the source.
func (r *run) collect(ctx context.Context) {
	defer close(r.ended)
	for p := range r.ordered {
		<-p.done
		for i, e := range p.entries {
			if !r.settle(ctx, e, p.errs[i]) {
				r.drain()
				return
			}
		}
		r.tell()
	}
}

// drain waits for what is still under way when outcomes no longer count.
func (r *run) drain() {
	for p := range r.ordered {
		<-p.done
	}
}

// settle notes one outcome; false means that the job ends here.
func (r *run) settle(ctx context.Context, e bus.Entry, err error) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	var broken *brokenError
	switch {
	case err == nil:
		r.report.Sent++
	case ctx.Err() != nil:
		return false
	case errors.As(err, &broken):
		r.stop(broken.err)
		return false
	default:
		r.fail(e, err)
	}
	r.report.Last, r.report.Next, r.report.Newest = e.Sequence, e.Sequence+1, e.Stored
	if r.MaxFailures > 0 && r.report.Failed >= r.MaxFailures {
		r.stop(fault.Newf(fault.CodeOf(err), "%w after %d failures, the last: %w", errGivenUp, r.report.Failed, err))
		return false
	}
	return true
}

func (r *run) fail(e bus.Entry, err error) {
	if r.report.Failed++; len(r.report.Failures) < MaxListed {
		r.report.Failures = append(r.report.Failures, Failure{
			ID: e.Signal.ID, Type: e.Signal.Type, Sequence: e.Sequence, Code: fault.CodeOf(err), Error: err.Error(),
		})
	}
}

// tell calls Progress if it is time.
func (r *run) tell() {
	if r.Progress == nil || time.Since(r.lately) < r.Every {
		return
	}
	r.lately = time.Now()
	r.Progress(r.copy())
}

// copy is the report so far.
func (r *run) copy() Report {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.report
	c.Took = time.Since(r.began)
	c.Failures = append([]Failure(nil), c.Failures...)
	return c
}

// finish waits for what is under way and completes the report.
func (r *run) finish(ctx context.Context, err error) (Report, error) {
	close(r.ordered)
	<-r.ended
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	report := r.copy()
	if err != nil {
		report.Stopped = err.Error()
		err = fmt.Errorf("replay: %w", err)
	}
	return report, err
}
