package bus

import (
	"errors"
	"log/slog"
	"time"

	"github.com/signalmesh/signalmesh/pkg/codec"
	"github.com/signalmesh/signalmesh/pkg/delivery"
	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/signal"
	"github.com/signalmesh/signalmesh/pkg/subject"
)

// An OpenOption fits [Open].
type OpenOption interface{ open(*openConfig) }

// A SubscribeOption fits [Bus.Subscribe] and [On].
type SubscribeOption interface{ subscribe(*subscribeConfig) }

// A ReplayOption fits [Bus.Replay] and [Bus.Entries].
type ReplayOption interface{ replay(*replayConfig) }

// A StartOption says where to begin. It fits both.
type StartOption interface {
	SubscribeOption
	ReplayOption
}

type openConfig struct {
	name       string
	space      subject.Space
	node       string
	replicas   int
	mode       codec.Mode
	log        *slog.Logger
	asIs       bool
	publishing []signal.Middleware
	handling   []signal.Middleware
}

type openOption func(*openConfig)

func (o openOption) open(c *openConfig) { o(c) }

// Named opens the bus of this name: letters, digits, "_" and "-". Default: [DefaultName].
func Named(name string) OpenOption { return openOption(func(c *openConfig) { c.name = name }) }

// WithMiddleware puts the middleware around every Publish, the first outermost. It may
// change a signal (a [signal.Signal.Clone] of it), refuse it with an error, or keep it back
// by returning nil without calling the next. What it does after calling the next happens
// when the signal is stored. It is called concurrently.
func WithMiddleware(mw ...signal.Middleware) OpenOption {
	return openOption(func(c *openConfig) { c.publishing = append(c.publishing, mw...) })
}

// WithHandlerMiddleware puts the middleware around every attempt of every handler of a
// subscription, the first outermost. Its error is the attempt's. It is called concurrently.
func WithHandlerMiddleware(mw ...signal.Middleware) OpenOption {
	return openOption(func(c *openConfig) { c.handling = append(c.handling, mw...) })
}

// WithSpace opens the bus of another mesh in the same account. Default: the prefix "sig".
func WithSpace(sp subject.Space) OpenOption {
	return openOption(func(c *openConfig) { c.space = sp })
}

// Replicas is how many servers keep what is stored, when Open makes the streams. Default: 1.
func Replicas(n int) OpenOption { return openOption(func(c *openConfig) { c.replicas = n }) }

// Encode is the form in which signals are written; all are read. Default: codec.Structured.
func Encode(m codec.Mode) OpenOption { return openOption(func(c *openConfig) { c.mode = m }) }

// WithLogger is where the bus tells what concerns no caller. Default: slog.Default.
func WithLogger(log *slog.Logger) OpenOption {
	return openOption(func(c *openConfig) { c.log = log })
}

// WithNode is the name of this process in attempts and dead letters. Default: none.
func WithNode(name string) OpenOption { return openOption(func(c *openConfig) { c.node = name }) }

// WithoutProvision takes the streams as they are; a missing one is an error coded NotFound.
func WithoutProvision() OpenOption { return openOption(func(c *openConfig) { c.asIs = true }) }

// start is where a reader of the bus begins. The zero start is the caller's default.
type start struct {
	given    bool
	sequence uint64 // 0: the current end
	time     time.Time
}

type startOption start

func (o startOption) subscribe(c *subscribeConfig) { c.start = start(o) }
func (o startOption) replay(c *replayConfig)       { c.start = start(o) }

// FromOrigin begins with the oldest signal that is kept. It is the default of Replay.
func FromOrigin() StartOption { return startOption{given: true, sequence: 1} }

// FromCurrent begins with the first signal stored from now on. It is the default of
// Subscribe.
func FromCurrent() StartOption { return startOption{given: true} }

// FromSequence begins at this position, or the first that is kept after it.
func FromSequence(n uint64) StartOption { return startOption{given: true, sequence: max(n, 1)} }

// Since begins with the first signal that was stored at t or later. What counts is the time
// of storing, which is in order, not the time that the signal gives itself.
func Since(t time.Time) StartOption { return startOption{given: true, sequence: 1, time: t} }

// Defaults of a subscription.
const (
	DefaultMaxInFlight = 1000
	DefaultConcurrency = 1
	DefaultAckWait     = 30 * time.Second
)

const (
	maxMaxInFlight = 100_000
	maxConcurrency = 10_000
	minAckWait     = 100 * time.Millisecond
)

type subscribeConfig struct {
	name        string
	start       start
	maxInFlight int
	concurrency int
	ackWait     time.Duration
	timeout     time.Duration
	policy      delivery.Policy
	filter      func(*signal.Signal) bool
	manual      bool
	orderBy     func(*signal.Signal) string
	rebind      bool
}

type subscribeOption func(*subscribeConfig)

func (o subscribeOption) subscribe(c *subscribeConfig) { o(c) }

// Durable makes the subscription persistent under this name: letters, digits, "_" and "-".
// Its position and its dead letters outlive the process, and all subscriptions of the name,
// here and elsewhere, share its signals. Where it starts counts only when it does not exist
// yet; the other settings are those of the member that came last.
func Durable(name string) SubscribeOption {
	return subscribeOption(func(c *subscribeConfig) { c.name = name })
}

// MaxInFlight is how many signals may be without an outcome at once, those that wait for
// another attempt among them: of a durable subscription over all its members, else of this
// process. More stay on the bus. Default: 1000.
func MaxInFlight(n int) SubscribeOption {
	return subscribeOption(func(c *subscribeConfig) { c.maxInFlight = n })
}

// Concurrency is how many handlers run at once in this process. With 1, the default,
// signals are handled in the order in which they were published, except that one that is
// tried again does not hold up those behind it. With more, [OrderBy] keeps what belongs
// together in order.
func Concurrency(n int) SubscribeOption {
	return subscribeOption(func(c *subscribeConfig) { c.concurrency = n })
}

// OrderBy handles signals with the same key one after another, in the order in which they
// were published, and those with other keys side by side, as many as [Concurrency] says. A
// signal waits until the one before it with its key has an outcome, so one that is tried
// again holds up its key and nothing else. Those with the key "" do not wait.
//
// The order is that of one member, as long as it lives: members of a durable subscription
// know nothing of each other, and what one gives back when it stops may come again in
// another order. Signals that wait count in [MaxInFlight]: choose it larger than the backlog
// of one key.
//
// The function may be called concurrently. A panic in it is a permanent failure of that
// signal.
func OrderBy(key func(*signal.Signal) string) SubscribeOption {
	return subscribeOption(func(c *subscribeConfig) { c.orderBy = key })
}

// OrderBySubject is [OrderBy] the subject attribute: that of one thing, in order.
func OrderBySubject() SubscribeOption {
	return OrderBy(func(s *signal.Signal) string { return s.Subject })
}

// MaxAttempts is how often a signal is tried before it becomes a dead letter; the first
// attempt counts. Default: 5.
func MaxAttempts(n int) SubscribeOption {
	return subscribeOption(func(c *subscribeConfig) { c.policy.MaxAttempts = n })
}

// Backoff is the wait after the first failed attempt and the longest wait; it doubles in
// between. Default: 100 ms and 30 s.
func Backoff(first, longest time.Duration) SubscribeOption {
	return subscribeOption(func(c *subscribeConfig) { c.policy.Min, c.policy.Max = first, longest })
}

// Retry sets all of the retry policy.
func Retry(p delivery.Policy) SubscribeOption {
	return subscribeOption(func(c *subscribeConfig) { c.policy = p })
}

// AckWait is after what time without a sign of life another member gets the signals of one
// that has crashed or lost its connection. A handler may run longer: while its process
// lives, the signal is its own. Default: 30 s.
func AckWait(d time.Duration) SubscribeOption {
	return subscribeOption(func(c *subscribeConfig) { c.ackWait = d })
}

// ManualAck makes a handler's nil mean that the signal is taken, no more: it is handled when
// [Subscription.Ack] says so, from any goroutine. The next signals are handed over meanwhile,
// up to [MaxInFlight] without a verdict. When there is no verdict for AckWait after the
// handler has returned, or since [Subscription.InProgress], that is a failed attempt like
// one whose handler returns an error: the handler is called again after the backoff, and in
// the end the signal becomes a dead letter. What a member holds when it stops or crashes
// goes to the others. It needs [Durable].
func ManualAck() SubscribeOption {
	return subscribeOption(func(c *subscribeConfig) { c.manual = true })
}

// Timeout bounds one attempt: the handler's context ends after it, and an error that the
// handler returns then counts as a failed attempt. Default: none.
func Timeout(d time.Duration) SubscribeOption {
	return subscribeOption(func(c *subscribeConfig) { c.timeout = d })
}

// Filter lets through only the signals for which the function says true; the others count
// as dealt with. It is called for one signal at a time. A panic in it is a permanent failure
// of that signal.
func Filter(f func(*signal.Signal) bool) SubscribeOption {
	return subscribeOption(func(c *subscribeConfig) { c.filter = f })
}

// Rebind lets Subscribe change the pattern of an existing durable subscription, which is a
// conflict otherwise. The position stays. Members with another pattern must have stopped,
// since they would pass over what is not theirs.
func Rebind() SubscribeOption {
	return subscribeOption(func(c *subscribeConfig) { c.rebind = true })
}

func newSubscribeConfig(opts []SubscribeOption) (subscribeConfig, error) {
	c := subscribeConfig{maxInFlight: DefaultMaxInFlight, concurrency: DefaultConcurrency, ackWait: DefaultAckWait}
	for _, o := range opts {
		o.subscribe(&c)
	}
	var errs []error
	bad := func(format string, args ...any) {
		errs = append(errs, fault.Newf(fault.Invalid, format, args...))
	}
	if c.name != "" {
		if err := subject.CheckName("subscription", c.name); err != nil {
			errs = append(errs, err)
		}
	}
	if c.maxInFlight < 1 || c.maxInFlight > maxMaxInFlight {
		bad("MaxInFlight(%d) is not between 1 and %d", c.maxInFlight, maxMaxInFlight)
	}
	if c.concurrency < 1 || c.concurrency > maxConcurrency {
		bad("Concurrency(%d) is not between 1 and %d", c.concurrency, maxConcurrency)
	}
	if c.ackWait < minAckWait {
		bad("AckWait(%s) is shorter than %s", c.ackWait, minAckWait)
	}
	if c.manual && c.name == "" {
		bad("ManualAck without Durable")
	}
	if c.timeout < 0 {
		bad("Timeout(%s) is negative", c.timeout)
	}
	if err := c.policy.Validate(); err != nil {
		errs = append(errs, err)
	}
	if len(errs) > 0 {
		return c, fault.Wrap(fault.Invalid, errors.Join(errs...))
	}
	c.policy = c.policy.WithDefaults()
	return c, nil
}

type replayConfig struct {
	start       start
	until       time.Time
	last        uint64 // 0: no bound
	limit       int
	follow      bool
	subject     string
	correlation string
	filters     []func(*signal.Signal) bool
	where       []string // what filters say in words
}

type replayOption func(*replayConfig)

func (o replayOption) replay(c *replayConfig) { o(c) }

// Until ends before the first signal that was stored after t.
func Until(t time.Time) ReplayOption { return replayOption(func(c *replayConfig) { c.until = t }) }

// UntilSequence ends with the signal at this position, or the last one before it.
func UntilSequence(n uint64) ReplayOption {
	return replayOption(func(c *replayConfig) { c.last = max(n, 1) })
}

// Limit ends after n signals. 0 means no limit.
func Limit(n int) ReplayOption { return replayOption(func(c *replayConfig) { c.limit = n }) }

// Follow goes on with new signals as they are stored, instead of ending with the last one
// that was there when the replay began.
func Follow() ReplayOption { return replayOption(func(c *replayConfig) { c.follow = true }) }

// About keeps the signals with exactly this subject attribute.
func About(subject string) ReplayOption {
	return replayOption(func(c *replayConfig) { c.subject = subject })
}

// Correlated keeps the signals of one conversation: those with this correlation id, and the
// one with this id that began it.
func Correlated(id string) ReplayOption {
	return replayOption(func(c *replayConfig) { c.correlation = id })
}

// WithFilter keeps the signals for which the function says true.
func WithFilter(f func(*signal.Signal) bool) ReplayOption {
	return replayOption(func(c *replayConfig) { c.filters = append(c.filters, f) })
}

// Where is [WithFilter] for a function that has a text, such as the source of an
// expression. The description of a snapshot shows the text.
func Where(text string, f func(*signal.Signal) bool) ReplayOption {
	return replayOption(func(c *replayConfig) {
		c.filters, c.where = append(c.filters, f), append(c.where, text)
	})
}
