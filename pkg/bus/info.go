package bus

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/subject"
)

// SubscriptionInfo is how far a durable subscription has come, over all its members.
type SubscriptionInfo struct {
	Name        string    `json:"name"`
	Pattern     string    `json:"pattern"`
	Created     time.Time `json:"created"`
	Position    uint64    `json:"position"`        // every signal up to here has an outcome
	Waiting     uint64    `json:"waiting"`         // signals that no member has taken yet
	InFlight    int       `json:"in_flight"`       // signals taken and without an outcome
	Redelivered int       `json:"redelivered"`     // of those, delivered more than once
	Members     int       `json:"members"`         // requests for signals that wait; about one per idle member
	Lag         uint64    `json:"lag"`             // signals without an outcome: waiting or in flight
	Oldest      time.Time `json:"oldest,omitzero"` // when the bus got the oldest of them
	Paused      bool      `json:"paused,omitempty"`
	PausedUntil time.Time `json:"paused_until,omitzero"` // zero when it is not paused, or until it is resumed
}

// Subscriptions lists the durable subscriptions of the bus.
func (b *Bus) Subscriptions(ctx context.Context) ([]SubscriptionInfo, error) {
	var all []SubscriptionInfo
	var consumers []*jetstream.ConsumerInfo
	list := b.stream.ListConsumers(ctx)
	for c := range list.Info() {
		if name, ok := strings.CutPrefix(c.Name, consumerOf("")); ok {
			all = append(all, subscriptionInfo(name, c))
			consumers = append(consumers, c)
		}
	}
	err := list.Err()
	for i := 0; i < len(all) && err == nil; i++ {
		all[i].Oldest, err = b.oldest(ctx, consumers[i])
	}
	if err != nil {
		return nil, fmt.Errorf("list subscriptions: %w", coded(err))
	}
	return all, nil
}

// Subscription says how far a durable subscription has come. The error is coded NotFound
// when there is none.
func (b *Bus) Subscription(ctx context.Context, name string) (SubscriptionInfo, error) {
	c, err := b.consumerInfo(ctx, name)
	if err != nil {
		return SubscriptionInfo{}, fmt.Errorf("subscription %.64s: %w", name, err)
	}
	info := subscriptionInfo(name, c)
	if info.Oldest, err = b.oldest(ctx, c); err != nil {
		return SubscriptionInfo{}, fmt.Errorf("subscription %.64s: %w", name, err)
	}
	return info, nil
}

func (b *Bus) consumerInfo(ctx context.Context, name string) (*jetstream.ConsumerInfo, error) {
	if err := subject.CheckName("subscription", name); err != nil {
		return nil, fault.Wrap(fault.NotFound, err)
	}
	c, err := b.js.Consumer(ctx, b.space.Stream(b.name), consumerOf(name))
	if err != nil {
		return nil, coded(err)
	}
	return c.CachedInfo(), nil
}

func subscriptionInfo(name string, c *jetstream.ConsumerInfo) SubscriptionInfo {
	info := SubscriptionInfo{
		Name: name, Pattern: c.Config.Metadata[metaPattern], Created: c.Created,
		Position: c.AckFloor.Stream, Waiting: c.NumPending, InFlight: c.NumAckPending,
		Redelivered: c.NumRedelivered, Members: c.NumWaiting, Paused: c.Paused,
	}
	info.Lag = info.Waiting + uint64(info.InFlight)
	if until := c.Config.PauseUntil; c.Paused && until != nil && !until.Equal(never) {
		info.PausedUntil = *until
	}
	return info
}

// oldest says when the bus got the oldest signal for which a consumer has no verdict; zero
// when there is none.
func (b *Bus) oldest(ctx context.Context, c *jetstream.ConsumerInfo) (time.Time, error) {
	if c.NumPending == 0 && c.NumAckPending == 0 {
		return time.Time{}, nil
	}
	filters := filtersOf(c.Config)
	if len(filters) == 0 {
		filters = []string{b.space.All(b.name)}
	}
	var first *jetstream.RawStreamMsg
	for _, f := range filters {
		m, err := b.stream.GetMsg(ctx, c.AckFloor.Stream+1, jetstream.WithGetMsgSubject(f))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			continue
		}
		if err != nil {
			return time.Time{}, coded(err)
		}
		if first == nil || m.Sequence < first.Sequence {
			first = m
		}
	}
	if first == nil {
		return time.Time{}, nil
	}
	return first.Time, nil
}

// DeleteSubscription deletes a durable subscription: its position and what is to be run
// again for it. Its members end with an error. Its dead letters stay. The error is coded
// NotFound when there is none.
func (b *Bus) DeleteSubscription(ctx context.Context, name string) error {
	if err := b.deleteSubscription(ctx, name); err != nil {
		return fmt.Errorf("delete subscription %.64s: %w", name, err)
	}
	return nil
}

func (b *Bus) deleteSubscription(ctx context.Context, name string) error {
	if err := subject.CheckName("subscription", name); err != nil {
		return fault.Wrap(fault.NotFound, err)
	}
	err := b.js.DeleteConsumer(ctx, b.space.Stream(b.name), consumerOf(name))
	again := b.js.DeleteConsumer(ctx, b.space.LaterStream(b.name), consumerOf(name))
	if again != nil && !errors.Is(again, jetstream.ErrConsumerNotFound) {
		err = errors.Join(err, again)
	}
	return coded(err)
}
