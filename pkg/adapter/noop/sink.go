// Package noop is the adapter "noop": it takes every signal and does nothing with it.
package noop

import (
	"context"

	"github.com/signalmesh/signalmesh/pkg/dispatch"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

func init() { dispatch.Register("noop", open) }

// Config are the options of the adapter: there are none.
type Config struct{}

func open(context.Context, Config, dispatch.Env) (dispatch.Adapter, error) {
	return dispatch.Func(func(context.Context, *signal.Signal) error { return nil }), nil
}
