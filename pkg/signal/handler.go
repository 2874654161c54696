package signal

import "context"

// A Handler receives signals. Whoever calls it says how often and how concurrently; a handler
// must not change the signal or keep using ctx after it returned.
//
// The error is the whole delivery protocol: nil acknowledges, fault.Permanent gives up at
// once, fault.RetryAfter waits at least so long, anything else is tried again with backoff.
type Handler func(ctx context.Context, s *Signal) error

// A Middleware wraps a handler in another, which may act before and after it, answer in its
// place, or hand it a changed [Signal.Clone].
type Middleware func(next Handler) Handler

// Chain wraps the handler in the middleware, the first outermost.
func Chain(h Handler, mw ...Middleware) Handler {
	for i := len(mw) - 1; i >= 0; i-- {
		h = mw[i](h)
	}
	return h
}

type contextKey struct{}

// NewContext returns a context that says s is being handled. What is published with it becomes
// an effect of s.
func NewContext(ctx context.Context, s *Signal) context.Context {
	return context.WithValue(ctx, contextKey{}, s)
}

// FromContext returns the signal being handled, if there is one.
func FromContext(ctx context.Context) (*Signal, bool) {
	s, ok := ctx.Value(contextKey{}).(*Signal)
	return s, ok && s != nil
}
