package bus_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/signalmesh/signalmesh/pkg/bus"
	"github.com/signalmesh/signalmesh/pkg/embed"
	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

// exampleServer is a server in a temporary directory, and a connection to it.
func exampleServer(ctx context.Context) (*nats.Conn, func()) {
	dir, err := os.MkdirTemp("", "signalmesh")
	if err != nil {
		panic(err)
	}
	srv, err := embed.Start(ctx, embed.Config{Dir: dir, Durability: embed.Fast})
	if err != nil {
		panic(err)
	}
	nc, err := srv.Connect()
	if err != nil {
		panic(err)
	}
	return nc, func() {
		nc.Close()
		srv.Shutdown()
		_ = os.RemoveAll(dir)
	}
}

// Order is the data of an example.
type Order struct {
	ID    string `json:"id"`
	Cents int    `json:"cents"`
}

// OrderPlaced is a type of signals, declared once.
var OrderPlaced = signal.Define[Order]("order.placed.v1", signal.From("/shop"))

var errAsleep = errors.New("billing is asleep")

// bill is asleep at first.
func bill(_ context.Context, o Order) error {
	if !billing {
		billing = true
		return errAsleep
	}
	fmt.Println("billed", o.ID, o.Cents)
	return nil
}

var billing bool

func audit(next signal.Handler) signal.Handler {
	return func(ctx context.Context, s *signal.Signal) error {
		err := next(ctx, s)
		fmt.Println("published", s.Type, s.Subject, err)
		return err
	}
}

// Publish and handle; the returned error is the whole delivery protocol.
func ExampleOn() {
	ctx := context.Background()
	nc, stop := exampleServer(ctx)
	defer stop()

	s, err := OrderPlaced.New(Order{ID: "o-1", Cents: 4200}, signal.About("o-1"))
	if err != nil {
		panic(err)
	}
	b, err := bus.Open(ctx, nc, bus.Named("shop"), bus.WithMiddleware(audit))
	if err != nil {
		panic(err)
	}
	defer b.Close()

	billed := make(chan bool)
	sub, err := bus.On(ctx, b, OrderPlaced, func(ctx context.Context, o Order, _ *signal.Signal) error {
		switch err := bill(ctx, o); {
		case errors.Is(err, errAsleep):
			return fault.RetryAfter(time.Millisecond, err) // redelivered
		case err != nil:
			return fault.Permanent(err) // dead-lettered
		}
		close(billed)
		return nil // acknowledged
	}, bus.Durable("billing"), bus.MaxAttempts(5), bus.FromOrigin())
	if err != nil {
		panic(err)
	}
	if err := b.Publish(ctx, s); err != nil {
		panic(err)
	}
	<-billed
	if err := sub.Drain(ctx); err != nil {
		panic(err)
	}
	fmt.Println("handled", sub.Stats().Handled, "failed", sub.Stats().Failed)

	// Unordered output:
	// published order.placed.v1 o-1 <nil>
	// billed o-1 4200
	// handled 1 failed 1
}

// History is a range loop.
func ExampleBus_Replay() {
	ctx := context.Background()
	nc, stop := exampleServer(ctx)
	defer stop()
	b, err := bus.Open(ctx, nc)
	if err != nil {
		panic(err)
	}
	defer b.Close()
	for i, typ := range []string{"order.created", "mail.sent", "order.paid", "order.item.added"} {
		s, err := signal.New(typ, nil, signal.About(fmt.Sprint("o-", i)), signal.At(time.Unix(int64(i), 0).UTC()))
		if err == nil {
			err = b.Publish(ctx, s)
		}
		if err != nil {
			panic(err)
		}
	}
	yesterday := time.Now().AddDate(0, 0, -1)

	show := func() error {
		for s, err := range b.Replay(ctx, "order.**", bus.Since(yesterday), bus.Limit(100)) {
			if err != nil {
				return err
			}
			fmt.Println(s.Time, s.Type, s.Subject)
		}
		return nil
	}
	if err := show(); err != nil {
		panic(err)
	}
	// Output:
	// 1970-01-01 00:00:00 +0000 UTC order.created o-0
	// 1970-01-01 00:00:02 +0000 UTC order.paid o-2
	// 1970-01-01 00:00:03 +0000 UTC order.item.added o-3
}

// What is given up waits for somebody to look at it.
func ExampleDeadLetters() {
	ctx := context.Background()
	nc, stop := exampleServer(ctx)
	defer stop()
	b, err := bus.Open(ctx, nc, bus.WithLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		panic(err)
	}
	defer b.Close()

	calls := make(chan string, 1)
	broken := func(context.Context, *signal.Signal) error {
		calls <- "broken"
		return fault.Permanent(errors.New("no such mailbox"))
	}
	sub, err := b.Subscribe(ctx, "mail.*", broken, bus.Durable("mailer"))
	if err != nil {
		panic(err)
	}
	s, err := signal.New("mail.requested", map[string]string{"to": "ann"})
	if err == nil {
		err = b.Publish(ctx, s)
	}
	if err != nil {
		panic(err)
	}
	fmt.Println(<-calls)
	if err := sub.Drain(ctx); err != nil { // the letter is written
		panic(err)
	}

	mended := func(context.Context, *signal.Signal) error {
		calls <- "mended"
		return nil
	}
	if _, err := b.Subscribe(ctx, "mail.*", mended, bus.Durable("mailer")); err != nil {
		panic(err)
	}
	for l, err := range b.DeadLetters().List(ctx, bus.LetterFilter{Newest: true}) {
		if err != nil {
			panic(err)
		}
		fmt.Println(l.Kind, l.Name, l.Reason, l.Error)
		if err := b.DeadLetters().Redrive(ctx, l.ID, "ann"); err != nil {
			panic(err)
		}
	}
	fmt.Println(<-calls)
	// Output:
	// broken
	// subscription mailer permanent no such mailbox
	// mended
}

// A handler takes; what comes of it is said when it is known.
func ExampleManualAck() {
	ctx := context.Background()
	nc, done := exampleServer(ctx)
	defer done()
	b, err := bus.Open(ctx, nc)
	if err != nil {
		panic(err)
	}
	defer b.Close()
	taken := make(chan *signal.Signal)
	sub, err := b.Subscribe(ctx, "order.*", func(_ context.Context, s *signal.Signal) error {
		taken <- s
		return nil
	}, bus.Durable("billing"), bus.ManualAck())
	if err != nil {
		panic(err)
	}
	order, err := signal.New("order.created", nil, signal.From("/shop"), signal.WithID("o-1"))
	if err != nil {
		panic(err)
	}
	if err := b.Publish(ctx, order); err != nil {
		panic(err)
	}
	s := <-taken
	fmt.Println(sub.Stats().InFlight, "in flight")
	fmt.Println(sub.Ack(ctx, s.ID), sub.Ack(ctx, s.ID))
	fmt.Println(errors.Is(sub.Ack(ctx, "o-2"), bus.ErrNotInFlight))
	// Output:
	// 1 in flight
	// <nil> <nil>
	// true
}
