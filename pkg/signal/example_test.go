package signal_test

import (
	"fmt"

	"github.com/signalmesh/signalmesh/pkg/signal"
)

type Order struct {
	ID    string `json:"id"`
	Cents int    `json:"cents"`
}

// A type is declared once and carries its data type.
var OrderPlaced = signal.Define[Order]("order.placed.v1", signal.From("/shop"))

func ExampleDefine() {
	s, err := OrderPlaced.New(Order{ID: "o-1", Cents: 4200}, signal.About("o-1"))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(s.Type, s.Source, s.Subject, string(s.Data))

	order, err := OrderPlaced.Decode(s)
	fmt.Println(order.Cents, err)
	// Output:
	// order.placed.v1 /shop o-1 {"id":"o-1","cents":4200}
	// 4200 <nil>
}

func ExampleCausedBy() {
	placed, _ := OrderPlaced.New(Order{ID: "o-1"}, signal.WithID("1"))
	paid, _ := signal.New("order.paid.v1", nil, signal.CausedBy(placed))
	fmt.Println(paid.Causation(), paid.Correlation(), paid.Hops())
	// Output: 1 1 1
}

func ExampleNew_invalid() {
	_, err := signal.New("order..placed", nil, signal.From("/shop\n"))
	fmt.Println(err)
	// Output:
	// signal "order..placed": attribute "source": control character U+000A at byte 5
	// attribute "type": empty segment
}
