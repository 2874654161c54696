package signal

import (
	"strconv"

	"github.com/signalmesh/signalmesh/pkg/fault"
)

// UnmarshalJSONBatch reads the CloudEvents JSON batch format, an array of signals, as strictly
// as [Signal.UnmarshalJSON]. More than limit signals are an error coded TooLarge.
func UnmarshalJSONBatch(text []byte, limit int) ([]*Signal, error) {
	c := scanner{src: text}
	c.space()
	if c.peek() != '[' {
		return nil, c.fail("want a batch of signals in brackets")
	}
	c.pos++
	if c.space(); c.peek() == ']' {
		c.pos++
		return nil, c.end()
	}
	var batch []*Signal
	for more := true; more; {
		if len(batch) == limit {
			return nil, fault.Newf(fault.TooLarge, "more than %d signals in a batch", limit)
		}
		d := decoder{scanner: c}
		s := new(Signal)
		err := d.envelope()
		if err == nil {
			err = d.finish(s)
		}
		if err != nil {
			return nil, &BatchError{Index: len(batch), Err: err}
		}
		batch = append(batch, s)
		c.pos = d.pos
		if more, err = c.more(']'); err != nil {
			return nil, err
		}
	}
	return batch, c.end()
}

// AppendJSONBatch appends the signals in the CloudEvents JSON batch format, an array, each as
// [Signal.AppendJSON] writes it.
func AppendJSONBatch(dst []byte, batch []*Signal) []byte {
	dst = append(dst, '[')
	for i, s := range batch {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = s.AppendJSON(dst)
	}
	return append(dst, ']')
}

// A BatchError says which signal of a batch could not be read.
type BatchError struct {
	Index int // counted from 0
	Err   error
}

// Error names the signal by its place.
func (e *BatchError) Error() string {
	return "signal " + strconv.Itoa(e.Index) + " of the batch: " + e.Err.Error()
}

// Unwrap returns what is wrong with the signal.
func (e *BatchError) Unwrap() error { return e.Err }
