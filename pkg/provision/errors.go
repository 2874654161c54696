package provision

import (
	"context"
	"errors"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/signalmesh/signalmesh/pkg/fault"
)

// codes of the server's refusals. Anything else that it says about a configuration means
// that the configuration is wrong.
var codes = map[jetstream.ErrorCode]fault.Code{
	10005: fault.Unavailable, // fewer servers in the cluster than copies
	10008: fault.Unavailable, // system not available
	10009: fault.Unavailable, // no leader
	10163: fault.Unavailable, // not ready
	10023: fault.Exhausted,   // resources
	10028: fault.Exhausted,   // memory
	10047: fault.Exhausted,   // storage
	10002: fault.Exhausted,   // account resources
	10027: fault.Exhausted,   // streams of the account
	10122: fault.Exhausted,   // bytes of one stream
	10049: fault.Internal,    // store
	10058: fault.Conflict,    // name taken
	10065: fault.Conflict,    // subjects of another stream
	10059: fault.NotFound,
}

// coded gives an error of the server or the connection its code and advice.
func coded(err error) error {
	var api *jetstream.APIError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &api):
		return codedAPI(api, err)
	case errors.Is(err, nats.ErrNoResponders), errors.Is(err, jetstream.ErrJetStreamNotEnabled):
		return fault.Hint(fault.Newf(fault.Unavailable, "no JetStream: %w", err),
			"switch JetStream on at the server, or ask for it in this account")
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded), errors.Is(err, nats.ErrTimeout):
		return fault.Wrap(fault.Unavailable, err)
	case errors.Is(err, jetstream.ErrInvalidStreamName), errors.Is(err, jetstream.ErrStreamNameRequired):
		return fault.Wrap(fault.Invalid, err)
	}
	return fault.Wrap(fault.Unavailable, err)
}

func codedAPI(api *jetstream.APIError, err error) error {
	code, known := codes[api.ErrorCode]
	if !known {
		code = fault.Invalid
	}
	err = fault.Wrap(code, err)
	switch {
	case api.ErrorCode == 10025:
		return fault.Hint(err, "the server is older than this program and does not know a setting")
	case api.ErrorCode == 10065:
		return fault.Hint(err, "another stream stores these subjects; two streams can't share one")
	case api.ErrorCode == 10005, api.ErrorCode == 10074:
		return fault.Hint(err, "copies need a cluster of as many servers")
	case code == fault.Exhausted:
		return fault.Hint(err, "make room on the server, or lower max_bytes in the definition")
	}
	return err
}
