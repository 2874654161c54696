package api

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/signalmesh/signalmesh/pkg/bus"
	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/pattern"
)

// getStream sends the signals of the types that match, as they come, as server-sent events.
// The id of an event is its position on the bus; Last-Event-ID resumes behind it.
func (a *API) getStream(w http.ResponseWriter, r *http.Request) error {
	query, err := onlyQuery(r, "bus", "type", "since", "from", "last_event_id")
	if err != nil {
		return err
	}
	name, b, err := a.bus(query.Get("bus"))
	if err == nil && b.History == nil {
		err = fault.Newf(fault.NotFound, "bus %s is not streamed here", name)
	}
	if err != nil {
		return err
	}
	types, err := pattern.Parse(orDefault(query.Get("type"), "**"))
	if err != nil {
		return fault.Hint(err, "?type= takes a pattern, such as order.**")
	}
	start, err := a.streamStart(r, query, b.History)
	if err != nil {
		return err
	}
	select {
	case a.streams <- struct{}{}:
		defer func() { <-a.streams }()
	default:
		return fault.Newf(fault.Exhausted, "%d streams are open already", cap(a.streams))
	}
	if r.Method == http.MethodHead {
		w.Header().Set("Content-Type", contentTypeEvents)
		return nil
	}
	exchangeOf(r).stream = true
	return a.serveStream(w, r, b.History, types.String(), start)
}

// streamStart says where a stream begins: behind the last event the reader has seen, at a
// time, at a position, or else with what comes next.
func (a *API) streamStart(r *http.Request, query url.Values, h History) (bus.ReplayOption, error) {
	ctx, cancel := context.WithTimeout(r.Context(), a.cfg.Timeout)
	defer cancel()
	last, err := h.Last(ctx)
	if err != nil {
		return nil, err
	}
	seen := orDefault(r.Header.Get("Last-Event-ID"), query.Get("last_event_id"))
	switch {
	case seen != "":
		n, err := strconv.ParseUint(seen, 10, 64)
		if err != nil {
			return nil, fault.Newf(fault.Invalid, "Last-Event-ID %.32q is not a position on the bus", seen)
		}
		if n > last {
			return nil, fault.Newf(fault.Conflict, "Last-Event-ID %d is behind the end of the bus at %d: it was another bus, or its data is gone", n, last)
		}
		return bus.FromSequence(n + 1), nil
	case query.Get("since") != "":
		t, err := moment(query.Get("since"))
		return bus.Since(t), err
	case query.Get("from") != "":
		n, err := strconv.ParseUint(query.Get("from"), 10, 64)
		if err != nil {
			return nil, fault.Newf(fault.Invalid, "from %.32q is not a position on the bus", query.Get("from"))
		}
		return bus.FromSequence(max(n, 1)), nil
	}
	return bus.FromSequence(last + 1), nil
}

const contentTypeEvents = "text/event-stream"

// item is what one step of the history gave.
type item struct {
	entry bus.Entry
	err   error
}

// serveStream writes events until the reader leaves, is too slow, or the API closes.
func (a *API) serveStream(w http.ResponseWriter, r *http.Request, h History, types string, start bus.ReplayOption) error {
	ctx, cancel := context.WithCancel(r.Context())
	items := make(chan item)
	done := make(chan struct{})
	defer func() { cancel(); <-done }()
	go func() { // ends with ctx
		defer close(done)
		for entry, err := range h.Entries(ctx, types, start, bus.Follow()) {
			select {
			case items <- item{entry, err}:
			case <-ctx.Done():
				return
			}
		}
		close(items)
	}()

	e := &events{w: w, control: http.NewResponseController(w), timeout: a.cfg.StreamTimeout}
	if err := e.open(); err != nil {
		return fault.Newf(fault.Internal, "this server cannot stream: %w", err)
	}
	heartbeat := time.NewTicker(a.cfg.Heartbeat)
	defer heartbeat.Stop()
	for {
		var err error
		select {
		case it, ok := <-items:
			if !ok {
				return nil
			}
			if err = it.err; err == nil {
				err = e.signal(it.entry)
			} else {
				err = e.trouble(err)
			}
			heartbeat.Reset(a.cfg.Heartbeat)
		case <-heartbeat.C:
			err = e.comment("still here")
		case <-a.closing:
			return e.comment("this node is going away")
		case <-ctx.Done():
			return nil
		}
		if err != nil {
			exchangeOf(r).err = err
			return nil // the answer has begun: it can only end
		}
	}
}

// events writes server-sent events. A reader that is too slow for one is cut off: it
// resumes where it ended, and nothing piles up here meanwhile.
type events struct {
	w       http.ResponseWriter
	control *http.ResponseController
	timeout time.Duration
}

// open begins the answer. From here on each write has a deadline of its own, and waiting
// for the reader to leave has none.
func (e *events) open() error {
	if err := e.control.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	h := e.w.Header()
	h.Set("Content-Type", contentTypeEvents)
	h.Set("X-Accel-Buffering", "no") // nginx would hold events back
	e.w.WriteHeader(http.StatusOK)
	return e.comment("signals follow")
}

// signal writes one event: the position as id, the CloudEvent as data on one line.
func (e *events) signal(entry bus.Entry) error {
	b := make([]byte, 0, 1024)
	b = fmt.Appendf(b, "id: %d\ndata: ", entry.Sequence)
	start := len(b)
	b = entry.Signal.AppendJSON(b)
	for i, c := range b[start:] {
		if c == '\n' || c == '\r' {
			b[start+i] = ' ' // between tokens: within JSON strings it would be escaped
		}
	}
	return e.flush(b)
}

// comment writes a line that readers skip.
func (e *events) comment(text string) error { return e.flush([]byte(": " + text)) }

// trouble tells the reader why the stream ends, and passes the error on.
func (e *events) trouble(err error) error {
	_ = e.comment("the stream ends: " + string(fault.CodeOf(err))) // the error itself counts
	return err
}

func (e *events) flush(block []byte) error {
	if err := e.control.SetWriteDeadline(time.Now().Add(e.timeout)); err != nil {
		return err
	}
	if _, err := e.w.Write(append(block, "\n\n"...)); err != nil {
		return err
	}
	return e.control.Flush()
}
