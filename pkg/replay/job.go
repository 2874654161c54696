package replay

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/signalmesh/signalmesh/pkg/bus"
	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

// A Job is one replay. From and To are required; it is run once, since most sources are.
type Job struct {
	// From is what is replayed, a source that ends: [bus.Bus.Entries] without Follow,
	// [bus.Snapshots.Entries], or an archive by [bus.ReadLines] and [bus.Select].
	From iter.Seq2[bus.Entry, error]

	// To is where it goes.
	To Sink

	// ID is what replayid says; by default a new id.
	ID string

	// Speed is how many times faster than it happened it is replayed: 1 keeps the intervals
	// at which the signals were stored, 0 ignores them.
	Speed float64

	// Rate is how many signals a second are sent at most; 0 means as fast as it goes.
	Rate float64

	// Workers is how many signals are under way at once; default 1. With more than one their
	// order is not kept.
	Workers int

	// MaxFailures ends the job when so many signals have failed; 0 means never.
	MaxFailures int

	// Progress, if not nil, is called with the report so far, about every Every (default one
	// second) while signals get their outcome. It is not called concurrently.
	Progress func(Report)
	Every    time.Duration
}

// A Report is what a job did, or would do.
type Report struct {
	ID      string `json:"replayid,omitempty"`
	Dry     bool   `json:"dry_run,omitempty"` // nothing was sent
	Signals int    `json:"signals"`           // that were selected
	Sent    int    `json:"sent"`              // that the sink has taken
	Failed  int    `json:"failed"`            // that it has not
	Skipped int    `json:"skipped,omitempty"` // that the sink has no use for: the predicate of a route says no
	Bytes   int64  `json:"bytes"`             // of data in the signals

	First  uint64    `json:"first_sequence,omitempty"` // position of the first signal
	Last   uint64    `json:"last_sequence,omitempty"`  // position of the last one that has its outcome
	Next   uint64    `json:"next_sequence,omitempty"`  // where to go on
	Oldest time.Time `json:"oldest,omitzero"`          // when the first was stored
	Newest time.Time `json:"newest,omitzero"`          // when the last was stored

	Started  time.Time     `json:"started,omitzero"`
	Took     time.Duration `json:"took_ns"`            // of a dry run: what pace alone would take
	Stopped  string        `json:"stopped,omitempty"`  // why it ended early
	Failures []Failure     `json:"failures,omitempty"` // the first [MaxListed]
}

// MaxListed is how many failures a report lists.
const MaxListed = 20

// A Failure is a signal that the sink did not take.
type Failure struct {
	ID       string     `json:"id"`
	Type     string     `json:"type"`
	Sequence uint64     `json:"sequence"`
	Code     fault.Code `json:"code"`
	Error    string     `json:"error"`
}

// maxMark is how long a replayid may be.
const maxMark = 64

func (j Job) check() error {
	switch {
	case j.From == nil || j.To == nil:
		return fault.Newf(fault.Invalid, "a replay needs a source and a sink")
	case !(j.Speed >= 0) || !(j.Rate >= 0) || j.Workers < 0 || j.MaxFailures < 0:
		return fault.Newf(fault.Invalid, "speed %v, rate %v, workers %d or max failures %d is negative", j.Speed, j.Rate, j.Workers, j.MaxFailures)
	case len(j.ID) > maxMark:
		return fault.Newf(fault.Invalid, "replay id has %d bytes, more than %d", len(j.ID), maxMark)
	}
	return nil
}

// Count says what Run would do, and sends nothing. The duration is what Speed and Rate
// impose; how long the sink takes is not known.
func (j Job) Count(ctx context.Context) (Report, error) {
	r := Report{ID: j.ID, Dry: true}
	if err := j.check(); err != nil {
		return r, err
	}
	p := pace{speed: j.Speed, rate: j.Rate}
	for e, err := range j.From {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return r, fmt.Errorf("count: %w", err)
		}
		if !j.wanted(&r, e) {
			continue
		}
		r.Took = p.next(e.Stored)
		r.Last, r.Newest = e.Sequence, e.Stored
	}
	return r, nil
}

// wanted notes a selected signal and reports whether the sink has use for it.
func (j Job) wanted(r *Report, e bus.Entry) bool {
	if s, ok := j.To.(selector); ok && !s.selects(e.Signal) {
		r.Skipped++
		return false
	}
	if r.Signals++; r.Signals == 1 {
		r.First, r.Oldest = e.Sequence, e.Stored
	}
	r.Bytes += int64(len(e.Signal.Data))
	return true
}

// errGivenUp is why a job ends by itself before its source does.
var errGivenUp = errors.New("given up")

// Run replays, and returns when the last signal has its outcome. Signals that fail are in
// the report and no error; the error is that of the source, of a sink that has failed as a
// whole, of MaxFailures, or of ctx, whose end cancels the job: what is under way then counts
// as not sent.
func (j Job) Run(ctx context.Context) (Report, error) {
	if err := j.check(); err != nil {
		return Report{}, err
	}
	if j.ID == "" {
		j.ID = signal.NewID().String()
	}
	if j.Every <= 0 {
		j.Every = time.Second
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	r := &run{
		Job: j, stop: stop, began: time.Now(), lately: time.Now(),
		ordered: make(chan *parcel, max(j.Workers, 1)-1), ended: make(chan struct{}),
	}
	r.report = Report{ID: j.ID, Started: r.began.UTC()}
	go r.collect(ctx) // ends when ordered is closed, waited for by finish
	err := r.feed(ctx)
	return r.finish(ctx, err)
}
