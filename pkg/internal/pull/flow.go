package pull

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// flow is what the loop and the server owe each other. Loop.mu guards it.
type flow struct {
	asked    int           // messages asked for and not here yet
	epoch    int           // a status for a request of an earlier one does not count
	heard    time.Time     // last sign of life while something was asked for
	calm     time.Time     // no request before this
	pause    time.Duration // between refused requests
	oversize bool          // the next message is larger than MaxBytes
	missing  time.Time     // since when nobody answers for the consumer; zero: it is there
	deleted  bool          // the server said so
}

// ask requests more when less than half of what should be underway is, and at least the
// given number when nothing is.
func (l *Loop) ask(least int) {
	l.mu.Lock()
	f := &l.flow
	have := l.buf.len() + f.asked
	if l.ended || have > max(l.pace.size, least)/2 || !l.nc.IsConnected() {
		l.mu.Unlock()
		return
	}
	now := time.Now()
	n := max(l.pace.look(now, l.settled.Load()), least) - have
	if n <= 0 || now.Before(f.calm) || !f.missing.IsZero() {
		l.mu.Unlock()
		return
	}
	bytes := l.cfg.MaxBytes
	if f.oversize {
		n, bytes, f.oversize = 1, 0, false
	}
	if f.asked == 0 {
		f.heard = now
	}
	f.asked += n
	reply := l.inbox + "." + strconv.Itoa(f.epoch)
	l.mu.Unlock()

	body := fmt.Appendf(nil, `{"batch":%d,"expires":%d,"idle_heartbeat":%d,"max_bytes":%d}`, n, expires, l.cfg.Heartbeat, bytes)
	if err := l.nc.PublishRequest(l.next, reply, body); err != nil {
		l.forget(calmMin)
	}
}

// receive is called by the connection, one message at a time.
func (l *Loop) receive(m *nats.Msg) {
	if epoch, ok := strings.CutPrefix(m.Subject, l.inbox+"."); ok {
		l.notice(epoch, m.Header)
		l.nudge()
		return
	}
	msg, err := l.newMsg(m)
	if err != nil {
		l.cfg.Log.Warn("message without a way to acknowledge it", "stream", l.cfg.Stream, "consumer", l.cfg.Consumer, "subject", m.Subject, "error", err)
		return
	}
	l.mu.Lock()
	f := &l.flow
	f.asked, f.pause, f.heard = max(f.asked-1, 0), 0, time.Now()
	if l.ended {
		l.mu.Unlock()
		l.giveBack(msg)
		return
	}
	l.buf.push(msg)
	if l.held != nil {
		msg.touched = f.heard
		l.held[msg] = struct{}{}
	}
	l.mu.Unlock()
	l.nudge()
}

// nudge wakes run if it waits.
func (l *Loop) nudge() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// notice takes in what the server says about a request.
func (l *Loop) notice(epoch string, h nats.Header) {
	status, text := h.Get("Status"), strings.ToLower(h.Get("Description"))
	l.mu.Lock()
	defer l.mu.Unlock()
	f := &l.flow
	f.heard = time.Now()
	switch {
	case status == "100": // an idle heartbeat
		return
	case status == "409" && strings.Contains(text, "consumer deleted"):
		f.deleted = true
		f.missing = f.heard.Add(recreation - deletion)
	case epoch != strconv.Itoa(f.epoch):
		return
	case status == "503":
		f.refused()
		f.missing = f.heard
	case status == "404", status == "408", strings.Contains(text, "batch completed"):
		f.returned(h)
	case strings.Contains(text, "exceeds maxbytes"):
		f.returned(h)
		f.oversize = true
	case strings.Contains(text, "leadership change"), strings.Contains(text, "server shutdown"):
		f.refused()
	default:
		f.refused()
		l.cfg.Log.Warn("pull request refused", "stream", l.cfg.Stream, "consumer", l.cfg.Consumer, "status", status, "reason", text)
	}
}

// returned takes back what an ended request did not get.
func (f *flow) returned(h nats.Header) {
	if n, err := strconv.Atoi(h.Get("Nats-Pending-Messages")); err == nil {
		f.asked = max(f.asked-n, 0)
	}
}

// refused forgets all requests and pauses, longer each time.
func (f *flow) refused() {
	f.pause = min(max(2*f.pause, calmMin), calmMax)
	f.forget(f.pause)
}

// forget takes all requests for lost. The next one is not sent before the pause is over.
func (f *flow) forget(pause time.Duration) {
	f.asked = 0
	f.epoch++
	f.calm = time.Now().Add(pause)
}

func (l *Loop) forget(pause time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.flow.forget(pause)
}

// patience is how long run may sleep when nothing happens.
func (l *Loop) patience() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	d := l.cfg.Heartbeat
	if calm := time.Until(l.flow.calm); calm > 0 {
		d = min(d, calm)
	}
	return d
}

// check looks for requests that got lost and for a consumer that is gone. It reports false
// when the loop has ended.
func (l *Loop) check() bool {
	l.mu.Lock()
	f := &l.flow
	now := time.Now()
	if f.asked > 0 && now.Sub(f.heard) > 2*l.cfg.Heartbeat {
		f.forget(0)
	}
	probe := !f.missing.IsZero() && (f.deleted || !now.Before(f.calm)) && l.nc.IsConnected()
	since := f.missing
	l.mu.Unlock()
	if !probe {
		return true
	}
	there, err := l.probe()
	l.mu.Lock()
	switch {
	case there:
		f.missing, f.deleted = time.Time{}, false
		f.forget(0)
	case err == nil && time.Since(since) > deletion:
		l.mu.Unlock()
		l.end(ErrDeleted)
		return false
	default:
		f.deleted = false
		f.refused()
	}
	l.mu.Unlock()
	return true
}

// probe asks whether the consumer exists. An error means that nobody knows.
func (l *Loop) probe() (there bool, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), probing)
	defer cancel()
	_, err = l.js.Consumer(ctx, l.cfg.Stream, l.cfg.Consumer)
	if errors.Is(err, jetstream.ErrConsumerNotFound) || errors.Is(err, jetstream.ErrStreamNotFound) {
		return false, nil
	}
	return err == nil, err
}
