package embed_test

import (
	"context"
	"fmt"
	"os"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/signalmesh/signalmesh/pkg/embed"
)

// A program with its own server: no port is fixed, nothing is installed, and what was
// acknowledged is on disk.
func ExampleStart() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "embed")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)

	s, err := embed.Start(ctx, embed.Config{Dir: dir})
	if err != nil {
		panic(err)
	}
	defer s.Shutdown()
	nc, err := s.Connect()
	if err != nil {
		panic(err)
	}
	defer nc.Close()

	js, err := jetstream.New(nc)
	if err != nil {
		panic(err)
	}
	kv, err := js.CreateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: "settings"})
	if err != nil {
		panic(err)
	}
	rev, err := kv.PutString(ctx, "colour", "green")
	fmt.Println(rev, err, s.Durability())
	// Output: 1 <nil> sync
}
