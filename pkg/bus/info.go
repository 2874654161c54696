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
	Position    uint64    `json:"position"`    // every signal up to here has an outcome
	Waiting     uint64    `json:"waiting"`     // signals that no member has taken yet
	InFlight    int       `json:"in_flight"`   // signals taken and without an outcome
	Redelivered int       `json:"redelivered"` // of those, delivered more than once
	Members     int       `json:"members"`     // requests for signals that wait; about one per idle member
	Paused      bool      `json:"paused,omitempty"`
}

// Subscriptions lists the durable subscriptions of the bus.
func (b *Bus) Subscriptions(ctx context.Context) ([]SubscriptionInfo, error) {
	var all []SubscriptionInfo
	list := b.stream.ListConsumers(ctx)
	for c := range list.Info() {
		if name, ok := strings.CutPrefix(c.Name, consumerOf("")); ok {
			all = append(all, subscriptionInfo(name, c))
		}
	}
	if err := list.Err(); err != nil {
		return nil, fmt.Errorf("list subscriptions: %w", coded(err))
	}
	return all, nil
}

func subscriptionInfo(name string, c *jetstream.ConsumerInfo) SubscriptionInfo {
	return SubscriptionInfo{
		Name: name, Pattern: c.Config.Metadata[metaPattern], Created: c.Created,
		Position: c.AckFloor.Stream, Waiting: c.NumPending, InFlight: c.NumAckPending,
		Redelivered: c.NumRedelivered, Members: c.NumWaiting, Paused: c.Paused,
	}
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
