package route

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/signalmesh/signalmesh/pkg/fault"
)

// answer is what the engine says to a stored or refused message.
type answer struct {
	Sequence uint64              `json:"seq"`
	Error    *jetstream.APIError `json:"error"`
}

// patience is how long a change waits for the store when the caller set no deadline.
const patience = 10 * time.Second

// request publishes a message and waits for the engine's word on it.
func (s *Store) request(ctx context.Context, m *nats.Msg) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	reply, err := s.nc.RequestMsgWithContext(ctx, m)
	if err != nil {
		return answer{}, unavailable(err)
	}
	var a answer
	if len(reply.Data) == 0 { // the start of a batch
		return a, nil
	}
	if err := json.Unmarshal(reply.Data, &a); err != nil {
		return a, fault.Newf(fault.Unavailable, "the store's answer can't be read: %w", err)
	}
	if a.Error != nil {
		return a, refusal(a.Error)
	}
	return a, nil
}

// The engine's codes for a key that is at another revision.
const (
	wrongLast         jetstream.ErrorCode = 10071
	wrongLastConstant jetstream.ErrorCode = 10164
)

func refusal(err *jetstream.APIError) error {
	switch err.ErrorCode {
	case wrongLast, wrongLastConstant:
		return fault.Hint(fault.Newf(fault.Conflict, "a route was changed by somebody else in the meantime: %w", err),
			"look at the routes again and repeat")
	}
	if err.Code == 429 || err.Code >= 500 {
		return fault.Wrap(fault.Unavailable, fmt.Errorf("the store refused: %w", err))
	}
	return fault.Wrap(fault.Invalid, fmt.Errorf("the store refused: %w", err))
}

func unavailable(err error) error {
	if err == nil || errors.Is(err, context.Canceled) || fault.CodeOf(err) != fault.Internal {
		return err
	}
	return fault.Wrap(fault.Unavailable, err)
}
