package batch

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/signalmesh/signalmesh/pkg/fault"
)

// Headers of the atomic batch protocol, and what ends a batch.
const (
	headerID       = "Nats-Batch-Id"
	headerSequence = "Nats-Batch-Sequence"
	headerCommit   = "Nats-Batch-Commit"
	commit         = "1"
)

// Error codes of the server that something here depends on.
const (
	codeStoreFailed       jetstream.ErrorCode = 10077 // a limit of the stream is reached
	codeWrongLast         jetstream.ErrorCode = 10071
	codeWrongLastConstant jetstream.ErrorCode = 10164 // the same, from a replicated stream
	codeInProcess         jetstream.ErrorCode = 10158 // the same message id is on its way
	codeTooManyRequests   jetstream.ErrorCode = 10167
	codeBatchDisabled     jetstream.ErrorCode = 10174
	codeBatchIncomplete   jetstream.ErrorCode = 10176
	codeBatchUnsupported  jetstream.ErrorCode = 10177
	codeBatchDuplicate    jetstream.ErrorCode = 10201
	codeBatchInflight     jetstream.ErrorCode = 10210
	codeBatchInflightAll  jetstream.ErrorCode = 10211
)

var errDisabled = errors.New("atomic publish is disabled")

// IsConflict reports whether a message was refused because its expectation of the last
// sequence did not hold. In a batch one such message fails all.
func IsConflict(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && (api.ErrorCode == codeWrongLast || api.ErrorCode == codeWrongLastConstant)
}

// batchOnly reports whether err refuses the batch, not the messages.
func batchOnly(err error) bool {
	var api *jetstream.APIError
	if !errors.As(err, &api) {
		return false
	}
	switch api.ErrorCode {
	case codeBatchDisabled, codeBatchIncomplete, codeBatchUnsupported, codeBatchDuplicate,
		codeBatchInflight, codeBatchInflightAll:
		return true
	}
	return false
}

// parseAck reads a publish acknowledgement. The usual one is read by hand; encoding/json
// costs more than the rest of the client's work on a message.
func parseAck(m *nats.Msg) Result {
	if m.Header.Get("Status") == "503" {
		return Result{Err: fault.Wrap(fault.Unavailable, jetstream.ErrNoStreamResponse)}
	}
	if seq, ok := quickAck(m.Data); ok {
		return Result{Sequence: seq}
	}
	var ack struct {
		Sequence  uint64              `json:"seq"`
		Duplicate bool                `json:"duplicate"`
		Error     *jetstream.APIError `json:"error"`
	}
	switch err := json.Unmarshal(m.Data, &ack); {
	case err != nil:
		return Result{Err: fault.Newf(fault.Internal, "read acknowledgement: %w", err)}
	case ack.Error != nil:
		return Result{Err: refused(ack.Error)}
	}
	return Result{Sequence: ack.Sequence, Duplicate: ack.Duplicate}
}

// quickAck takes {"stream":"NAME", "seq":N} with or without the space, and nothing else. A
// stream's name holds neither quotes nor backslashes.
func quickAck(data []byte) (uint64, bool) {
	rest, ok := bytes.CutPrefix(data, []byte(`{"stream":"`))
	end := bytes.IndexByte(rest, '"')
	if !ok || end < 0 {
		return 0, false
	}
	rest = bytes.TrimLeft(bytes.TrimPrefix(rest[end+1:], []byte(",")), " ")
	digits, ok := bytes.CutPrefix(rest, []byte(`"seq":`))
	digits, closed := bytes.CutSuffix(digits, []byte("}"))
	if !ok || !closed {
		return 0, false
	}
	seq, err := strconv.ParseUint(string(digits), 10, 64)
	return seq, err == nil
}

// refused gives the server's refusal a code.
func refused(api *jetstream.APIError) error {
	var err error = api
	code := fault.Internal
	switch api.ErrorCode {
	case codeWrongLast, codeWrongLastConstant:
		code = fault.Conflict
	case codeStoreFailed, codeTooManyRequests:
		code = fault.Exhausted
	case codeInProcess:
		code = fault.Unavailable
	case codeBatchDisabled:
		err = fmt.Errorf("%w: %w", errDisabled, err)
	default:
		if api.Code == 503 {
			code = fault.Unavailable
		}
	}
	return fault.Wrap(code, err)
}

// publishError codes an error of the connection: the message was not sent.
func publishError(err error) error {
	switch {
	case errors.Is(err, nats.ErrMaxPayload):
		return fault.Wrap(fault.TooLarge, err)
	case errors.Is(err, nats.ErrBadSubject):
		return fault.Wrap(fault.Invalid, err)
	}
	return fault.Wrap(fault.Unavailable, err)
}

// hopeless reports whether err is about this one message, which can never be sent. A batch
// that holds it can't be stored either; the messages beside it can.
func hopeless(err error) bool {
	return errors.Is(err, nats.ErrMaxPayload) || errors.Is(err, nats.ErrBadSubject)
}

// unknown codes the reason why no answer came.
func unknown(err error) error { return fault.Wrap(fault.Unavailable, err) }

// setBatch makes m the nth message of a batch, from 1.
func setBatch(m *nats.Msg, id string, n int, last bool) {
	if m.Header == nil {
		m.Header = make(nats.Header, 3)
	}
	m.Header[headerID] = []string{id}
	m.Header[headerSequence] = []string{strconv.Itoa(n)}
	delete(m.Header, headerCommit)
	if last {
		m.Header[headerCommit] = []string{commit}
	}
}

// clearBatch makes m a message of its own again.
func clearBatch(m *nats.Msg) {
	if m.Header == nil {
		return
	}
	delete(m.Header, headerID)
	delete(m.Header, headerSequence)
	delete(m.Header, headerCommit)
	if len(m.Header) == 0 {
		m.Header = nil
	}
}
