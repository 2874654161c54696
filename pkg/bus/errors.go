package bus

import (
	"context"
	"errors"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/signalmesh/signalmesh/pkg/fault"
)

// Codes of the server that something here depends on and nats.go does not name.
const (
	codeNoLeader       jetstream.ErrorCode = 10008
	codeNotReady       jetstream.ErrorCode = 10009
	codeNoSpace        jetstream.ErrorCode = 10023
	codeNoMemory       jetstream.ErrorCode = 10028
	codeNoStorage      jetstream.ErrorCode = 10047
	codeOtherStream    jetstream.ErrorCode = 10060
	codeStoreFailed    jetstream.ErrorCode = 10077
	codeHeaderTooLarge jetstream.ErrorCode = 10097
	codeInProcess      jetstream.ErrorCode = 10158
	codeTryLater       jetstream.ErrorCode = 10163
	codeTooMany        jetstream.ErrorCode = 10167

	codeBatchDisabled   jetstream.ErrorCode = 10174
	codeBatchIncomplete jetstream.ErrorCode = 10176
	codeBatchTooLarge   jetstream.ErrorCode = 10199
	codeBatchDuplicate  jetstream.ErrorCode = 10201
	codeBatchInflight   jetstream.ErrorCode = 10210
)

// codeFor is the class of each refusal whose class its HTTP-like code does not tell.
var codeFor = map[jetstream.ErrorCode]fault.Code{
	jetstream.JSErrCodeStreamWrongLastSequence:         fault.Conflict,
	jetstream.JSErrCodeStreamWrongLastSequenceConstant: fault.Conflict,
	jetstream.JSErrCodeConsumerExists:                  fault.Conflict,
	jetstream.JSErrCodeConsumerAlreadyExists:           fault.Conflict,
	jetstream.JSErrCodeConsumerNameExists:              fault.Conflict,
	jetstream.JSErrCodeStreamMessageExceedsMaximum:     fault.TooLarge,
	jetstream.JSErrCodeMaximumConsumersLimit:           fault.Exhausted,
	codeHeaderTooLarge:                                 fault.TooLarge,
	codeBatchTooLarge:                                  fault.TooLarge,
	codeStoreFailed:                                    fault.Exhausted,
	codeNoSpace:                                        fault.Exhausted,
	codeNoMemory:                                       fault.Exhausted,
	codeNoStorage:                                      fault.Exhausted,
	codeTooMany:                                        fault.Exhausted,
	codeBatchInflight:                                  fault.Exhausted,
	codeBatchInflight + 1:                              fault.Exhausted,
	codeInProcess:                                      fault.Unavailable,
	codeBatchIncomplete:                                fault.Unavailable,
	codeOtherStream:                                    fault.Internal,
}

// apiCode returns the server's number for a refusal, 0 for any other error.
func apiCode(err error) jetstream.ErrorCode {
	var js jetstream.JetStreamError
	if errors.As(err, &js) && js.APIError() != nil {
		return js.APIError().ErrorCode
	}
	return 0
}

// coded gives an error of the engine its class. An error that has one keeps it.
func coded(err error) error {
	if err == nil || fault.CodeOf(err) != fault.Internal {
		return err
	}
	return fault.Wrap(classify(err), err)
}

func classify(err error) fault.Code {
	var js jetstream.JetStreamError
	if errors.As(err, &js) && js.APIError() != nil {
		api := js.APIError()
		if code, ok := codeFor[api.ErrorCode]; ok {
			return code
		}
		switch api.Code {
		case 400, 412:
			return fault.Invalid
		case 403:
			return fault.Denied
		case 404:
			return fault.NotFound
		case 429:
			return fault.Exhausted
		case 503:
			return fault.Unavailable
		}
		return fault.Internal
	}
	switch {
	case errors.Is(err, nats.ErrMaxPayload):
		return fault.TooLarge
	case errors.Is(err, nats.ErrBadSubject):
		return fault.Invalid
	case errors.Is(err, nats.ErrPermissionViolation), errors.Is(err, nats.ErrAuthorization):
		return fault.Denied
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded),
		errors.Is(err, nats.ErrTimeout), errors.Is(err, nats.ErrNoResponders),
		errors.Is(err, nats.ErrConnectionClosed), errors.Is(err, nats.ErrDisconnected),
		errors.Is(err, nats.ErrConnectionReconnecting), errors.Is(err, nats.ErrReconnectBufExceeded),
		errors.Is(err, jetstream.ErrNoStreamResponse), errors.Is(err, jetstream.ErrInvalidJSAck):
		return fault.Unavailable
	}
	return fault.Internal
}

// transient reports whether the same message, sent again soon, may well be stored: nobody
// answered, or nobody is ready to. A stream that is full is for the publisher to know.
func transient(err error) bool {
	switch apiCode(err) {
	case codeNoLeader, codeNotReady, codeTryLater, codeInProcess, codeBatchIncomplete:
		return true
	case 0:
		return classify(err) == fault.Unavailable &&
			!errors.Is(err, nats.ErrConnectionClosed) && !errors.Is(err, context.Canceled)
	}
	return false
}
