package router_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/signalmesh/signalmesh/pkg/router"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

type adapter string

func (a adapter) Deliver(_ context.Context, s *signal.Signal) error {
	fmt.Println(a, "gets", s.Type)
	return nil
}

func urgent(s *signal.Signal) bool { return s.ExtString("severity") == "urgent" }

func Example() {
	const audit, pager, billing = adapter("audit"), adapter("pager"), adapter("billing")

	routes, err := router.New(
		router.To("audit.**", audit),
		router.To("**", pager, router.Priority(100), router.When(urgent)),
	)
	if err != nil {
		fmt.Println(err)
		return
	}
	routes, err = routes.With(router.To("order.*", billing)) // shares what did not change
	if err != nil {
		fmt.Println(err)
		return
	}
	routes = routes.Without("audit.**")

	ctx := context.Background()
	s, err := signal.New("order.placed", nil, signal.Ext("severity", "urgent"))
	if err != nil {
		fmt.Println(err)
		return
	}
	for a := range routes.Route(s) {
		err = errors.Join(err, a.Deliver(ctx, s))
	}
	fmt.Println(err)
	// Output:
	// billing gets order.placed
	// pager gets order.placed
	// <nil>
}

func ExampleRouter_Explain() {
	routes, err := router.New(
		router.To("order.*", "billing"),
		router.To("order.**", "crm", router.When(func(s *signal.Signal) bool { return s.Subject != "" })),
		router.To("**", "fraud", router.When(func(s *signal.Signal) bool { return s.Data[0] == '{' })),
		router.To("stock.**", "warehouse"),
	)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, v := range routes.Explain(&signal.Signal{Type: "order.placed"}) {
		fmt.Println(v.Route.Pattern, v.Route.Target, v.Matched, v.Err)
	}
	// Output:
	// order.* billing true <nil>
	// order.** crm false <nil>
	// ** fraud false predicate of **: panic: runtime error: index out of range [0] with length 0
}

func ExampleNew_invalid() {
	_, err := router.New(
		router.To("order.*", 1),
		router.To("order..paid", 2),
		router.To("order.paid", 3, router.Priority(500)),
	)
	fmt.Println(err)
	// Output:
	// route 2: pattern "order..paid": segment 2 (column 7) is empty
	// route 3: pattern order.paid: priority 500 is not within -100..100
}
