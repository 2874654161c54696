package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/signal"
	"github.com/signalmesh/signalmesh/pkg/subject"
)

// What makes the engine repeat a message, and what it says of each repeat.
const (
	headerScheduleZone   = "Nats-Schedule-Time-Zone"
	headerScheduleRollup = "Nats-Schedule-Rollup"
	headerScheduleNext   = "Nats-Schedule-Next"
	headerRollup         = "Nats-Rollup"
	rollupSubject        = "sub"
)

// A Schedule publishes a signal again and again.
type Schedule struct {
	Name string `json:"name"` // letters, digits, "_" and "-"

	// When is a cron expression of five fields, or of six with the seconds first; @hourly,
	// @daily, @weekly, @monthly or @yearly; or an interval of a second or more, see [Every].
	When string `json:"when"`
	Zone string `json:"zone,omitempty"` // of a cron expression, such as Europe/Berlin; default UTC

	// Signal is what is published: every time with a new id, and with the time at which it
	// was due. Its source is /schedules/<name> by default.
	Signal *signal.Signal `json:"signal"`

	Paused bool `json:"paused,omitempty"`

	Created time.Time `json:"created,omitzero"` // since when it is as it is
	Last    time.Time `json:"last,omitzero"`    // when it published last, since then
	Next    time.Time `json:"next,omitzero"`    // when it will publish next; zero while paused
}

// Every is the When of a schedule that fires at an interval, of a second or more.
func Every(d time.Duration) string { return everyPrefix + d.String() }

// Schedules are the schedules of a bus. The engine keeps and fires them; [Bus.PublishDue],
// in any process, publishes what they fire.
//
// Each firing is one signal with an id of its own, made from the schedule and the moment, so
// that a firing that is repeated after a crash is stored once. An interval is counted from
// when the schedule was put, in whole seconds. What would have fired while the engine was
// down is caught up on with one firing after an orderly stop, and may be left out after a
// crash; what fires while nobody runs PublishDue is published once, when somebody does. Cron
// follows the clocks of its zone: an hour that is skipped in spring skips its firings, and
// one that is repeated in autumn repeats them.
//
// The clock is that of the server, which must be 2.14 or newer.
type Schedules struct{ b *Bus }

// Schedules are those of the bus.
func (b *Bus) Schedules() Schedules { return Schedules{b} }

// Add puts a schedule in force. The error is coded Conflict when there is one of the name,
// and Invalid when it can't be.
func (d Schedules) Add(ctx context.Context, s Schedule) error {
	return d.named("add", s.Name, d.put(ctx, s, func(h nats.Header) { h[jetstream.ExpectedLastSubjSeqHeader] = []string{"0"} }))
}

// Put puts a schedule in force, in place of any that has its name. It begins anew: what the
// old one has fired and nobody has published is dropped.
func (d Schedules) Put(ctx context.Context, s Schedule) error {
	return d.named("put", s.Name, d.put(ctx, s, func(nats.Header) {}))
}

func (d Schedules) named(verb, name string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s schedule %.64q: %w", verb, name, err)
}

func (d Schedules) put(ctx context.Context, s Schedule, condition func(nats.Header)) error {
	s, w, err := s.prepared()
	if err != nil {
		return err
	}
	body, err := json.Marshal(s)
	if err != nil {
		return fault.Wrap(fault.Invalid, err)
	}
	if !d.b.fits(len(body)) {
		return fault.Newf(fault.TooLarge, "its signal does not fit into a message with it")
	}
	m := &nats.Msg{Subject: d.b.space.Schedule(d.b.name, s.Name), Data: body, Header: nats.Header{
		jetstream.MsgIDHeader: {s.Signal.ID}, headerRollup: {rollupSubject},
	}}
	if !s.Paused {
		m.Header[headerSchedule] = []string{w.engine()}
		m.Header[headerScheduleTarget] = []string{d.b.space.Later(d.b.name, string(kindDue), subject.Key("schedule "+s.Name))}
		m.Header[headerScheduleRollup] = []string{rollupSubject} // firings that nobody takes become one
		if w.cron != nil && s.Zone != "" {
			m.Header[headerScheduleZone] = []string{s.Zone}
		}
	}
	condition(m.Header)
	ctx, cancel := bounded(ctx)
	defer cancel()
	if _, err = d.b.send(ctx, m); !isWrongLast(err) {
		return err
	}
	there, _, err := d.find(ctx, s.Name)
	if err == nil && there.Signal.ID == s.Signal.ID {
		return nil // it was us; the answer got lost
	}
	return errors.Join(fault.Newf(fault.Conflict, "there is one of this name"), err)
}

// prepared checks a schedule and fills in what it leaves open. The id of its signal tells
// one definition of the name from the next.
func (s Schedule) prepared() (Schedule, when, error) {
	if err := subject.CheckName("schedule", s.Name); err != nil {
		return s, when{}, err
	}
	w, err := parseWhen(s.When, s.Zone)
	if err != nil {
		return s, w, err
	}
	if s.Signal == nil {
		return s, w, fault.Newf(fault.Invalid, "it has no signal")
	}
	s.Signal = s.Signal.Clone()
	s.Signal.ID, s.Signal.Time = signal.NewID().String(), time.Time{}
	if s.Signal.Source == "" {
		s.Signal.Source = "/schedules/" + s.Name
	}
	s.Created, s.Last, s.Next = time.Now().UTC(), time.Time{}, time.Time{}
	return s, w, s.Signal.Validate()
}

// Get returns a schedule; the error is coded NotFound when there is none.
func (d Schedules) Get(ctx context.Context, name string) (Schedule, error) {
	s, _, err := d.find(ctx, name)
	if err == nil {
		s, err = d.timed(ctx, s)
	}
	return s, d.named("get", name, err)
}

// List returns all schedules.
func (d Schedules) List(ctx context.Context) ([]Schedule, error) {
	var all []Schedule
	for m, err := range d.b.held(ctx, d.b.space.AllSchedules(d.b.name)) {
		var s Schedule
		if err == nil {
			if s, err = readSchedule(m); fault.Is(err, fault.Invalid) {
				continue // not ours
			}
		}
		if err == nil {
			s, err = d.timed(ctx, s)
		}
		if err != nil {
			return nil, fmt.Errorf("list schedules: %w", err)
		}
		all = append(all, s)
	}
	return all, nil
}

// Pause keeps a schedule from firing until Resume. It is no error when it is paused.
func (d Schedules) Pause(ctx context.Context, name string) error {
	return d.named("pause", name, d.change(ctx, name, true))
}

// Resume has a paused schedule fire again. An interval begins anew; nothing is made up for.
func (d Schedules) Resume(ctx context.Context, name string) error {
	return d.named("resume", name, d.change(ctx, name, false))
}

func (d Schedules) change(ctx context.Context, name string, paused bool) error {
	for range races {
		s, at, err := d.find(ctx, name)
		if err != nil || s.Paused == paused {
			return err
		}
		s.Paused = paused
		err = d.put(ctx, s, func(h nats.Header) { h[jetstream.ExpectedLastSubjSeqHeader] = []string{strconv.FormatUint(at, 10)} })
		if !fault.Is(err, fault.Conflict) {
			return err
		}
	}
	return fault.Newf(fault.Unavailable, "others keep changing it")
}

// Delete takes a schedule away. Once it has returned, nothing appears any more that was not
// being published in that moment. The error is coded NotFound when there is none.
func (d Schedules) Delete(ctx context.Context, name string) error {
	ctx, cancel := bounded(ctx)
	defer cancel()
	_, at, err := d.find(ctx, name)
	if err == nil {
		_, err = d.b.unhold(ctx, at)
	}
	if err == nil {
		err = d.forget(ctx, name)
	}
	return d.named("delete", name, err)
}

// forget removes what is remembered of the last firing.
func (d Schedules) forget(ctx context.Context, name string) error {
	m, err := d.b.lastMessage(ctx, d.b.space.LaterStream(d.b.name), d.b.space.Fired(d.b.name, name))
	if err == nil {
		_, err = d.b.unhold(ctx, m.Sequence)
	}
	if fault.Is(err, fault.NotFound) {
		return nil
	}
	return err
}

// find returns a schedule as it was put, and its position.
func (d Schedules) find(ctx context.Context, name string) (Schedule, uint64, error) {
	if err := subject.CheckName("schedule", name); err != nil {
		return Schedule{}, 0, fault.Wrap(fault.NotFound, err)
	}
	m, err := d.b.lastMessage(ctx, d.b.space.LaterStream(d.b.name), d.b.space.Schedule(d.b.name, name))
	if fault.Is(err, fault.NotFound) {
		return Schedule{}, 0, fault.Newf(fault.NotFound, "there is none")
	}
	if err != nil {
		return Schedule{}, 0, err
	}
	s, err := readSchedule(m)
	return s, m.Sequence, err
}

func readSchedule(m *jetstream.RawStreamMsg) (Schedule, error) {
	var s Schedule
	if err := json.Unmarshal(m.Data, &s); err != nil {
		return s, fault.Wrap(fault.Invalid, err)
	}
	if s.Signal == nil {
		return s, fault.Newf(fault.Invalid, "not a schedule")
	}
	s.Created = m.Time.UTC()
	return s, nil
}

// timed fills in when the schedule fired last and will fire next.
func (d Schedules) timed(ctx context.Context, s Schedule) (Schedule, error) {
	f, err := d.fired(ctx, s)
	if err != nil {
		return s, err
	}
	s.Last = f.At
	if s.Paused {
		return s, nil
	}
	if s.Next = f.Next; s.Next.IsZero() {
		if w, err := parseWhen(s.When, s.Zone); err == nil { // a zone may be unknown here
			s.Next = w.after(s.Created)
		}
	}
	return s, nil
}

// A firing is what is remembered of the last one.
type firing struct {
	Definition string    `json:"definition"` // id of the schedule's signal
	At         time.Time `json:"at"`
	Next       time.Time `json:"next"`
}

// fired returns the last firing of this definition of the schedule, zero if there was none.
func (d Schedules) fired(ctx context.Context, s Schedule) (firing, error) {
	var f firing
	m, err := d.b.lastMessage(ctx, d.b.space.LaterStream(d.b.name), d.b.space.Fired(d.b.name, s.Name))
	if fault.Is(err, fault.NotFound) {
		return f, nil
	}
	if err == nil {
		err = json.Unmarshal(m.Data, &f)
	}
	if err != nil || f.Definition != s.Signal.ID {
		return firing{}, err
	}
	return f, nil
}

// fire publishes the signal of a firing, unless its schedule is gone, changed or paused. The
// engine names a firing by when the next one is; after a crash it may fire once more.
func (b *Bus) fire(ctx context.Context, m *Message) error {
	var s Schedule
	if err := json.Unmarshal(m.Body, &s); err != nil {
		return fault.Newf(fault.Invalid, "not a schedule: %w", err)
	}
	if s.Signal == nil {
		return fault.Newf(fault.Invalid, "a schedule without a signal")
	}
	next, err := time.Parse(time.RFC3339Nano, first(m.Header, headerScheduleNext))
	if err != nil {
		return fault.Newf(fault.Invalid, "not a firing: %w", err)
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	current, _, err := b.Schedules().find(ctx, s.Name)
	if fault.Is(err, fault.NotFound) || err == nil && current.Signal.ID != s.Signal.ID {
		return nil
	}
	if err != nil {
		return err
	}
	last, err := b.Schedules().fired(ctx, s)
	if err != nil || !next.After(last.Next) {
		return err
	}
	f := firing{Definition: s.Signal.ID, At: m.Stored.UTC(), Next: next.UTC()}
	fresh := s.Signal.Clone()
	fresh.ID = subject.Key(fmt.Sprintf("%s\x00%s\x00%d", s.Name, f.Definition, f.Next.UnixNano()))
	fresh.Time = f.At
	if err := b.Publish(ctx, fresh); err != nil {
		return err
	}
	body, err := json.Marshal(f)
	if err != nil {
		return fault.Wrap(fault.Invalid, err)
	}
	return b.note(ctx, b.space.Fired(b.name, s.Name), body, 0)
}
