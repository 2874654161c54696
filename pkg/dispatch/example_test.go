package dispatch_test

import (
	"context"
	"fmt"

	"github.com/signalmesh/signalmesh/pkg/dispatch"
	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

// Pager is the configuration of an adapter; decoding, checking and documentation come from
// its tags.
type Pager struct {
	Number string `json:"number" required:"true" doc:"whom to page"`
}

func ExampleRegister() {
	dispatch.Register("pager", func(_ context.Context, c Pager, env dispatch.Env) (dispatch.Adapter, error) {
		return dispatch.Func(func(_ context.Context, s *signal.Signal) error {
			if s.Subject == "" {
				return fault.Permanent(fault.Newf(fault.Invalid, "nothing to page about"))
			}
			fmt.Fprintf(env.Out(), "to %s: %s %s\n", c.Number, s.Type, s.Subject)
			return nil
		}), nil
	})

	a, err := dispatch.Open(context.Background(), "pager", []byte(`{"number": "+49 30 1"}`), dispatch.Env{})
	if err != nil {
		fmt.Println(err)
		return
	}
	s, err := signal.New("disk.full", nil, signal.About("web-1"))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(a.Deliver(context.Background(), s))
	fmt.Println(dispatch.Check("pager", []byte(`{"number": "+49 30 1", "urgnet": true}`)))
	// Output:
	// to +49 30 1: disk.full web-1
	// <nil>
	// pager.urgnet: unknown key; the keys here are number
}

func ExampleAttach() {
	s, err := signal.New("order.created", nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	hook, err := dispatch.NewTarget("http", map[string]string{"url": "https://example.com/orders"})
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := dispatch.Attach(s, hook, dispatch.Target{Adapter: "noop"}); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(s.ExtString(signal.ExtDispatch))
	// Output: [{"http":{"url":"https://example.com/orders"}},{"noop":{}}]
}
