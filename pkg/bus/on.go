package bus

import (
	"context"

	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

// On is [Bus.Subscribe] for one kind of signal, with its data decoded. Data that does not
// fit T never will, so such a signal becomes a dead letter at once.
func On[T any](ctx context.Context, b *Bus, kind signal.Kind[T], h func(ctx context.Context, data T, s *signal.Signal) error, opts ...SubscribeOption) (*Subscription, error) {
	if h == nil {
		return b.Subscribe(ctx, kind.Type(), nil, opts...)
	}
	return b.Subscribe(ctx, kind.Type(), func(ctx context.Context, s *signal.Signal) error {
		data, err := kind.Decode(s)
		if err != nil {
			return fault.Permanent(err)
		}
		return h(ctx, data, s)
	}, opts...)
}
