//go:build chaos

package chaos_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/signalmesh/signalmesh/pkg/bus"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

// What makes the test binary a subscriber, which is a process so that it can be killed.
const (
	subscriberURL    = "CHAOS_SUBSCRIBER_NATS"
	subscriberTarget = "CHAOS_SUBSCRIBER_TARGET"
	subscriberCrash  = "CHAOS_SUBSCRIBER_CRASH" // one in so many deliveries kills it before its ack; 0 is never
)

// subscriber passes signals on to the target, and dies between that and the ack.
func subscriber() int {
	nc, err := nats.Connect(os.Getenv(subscriberURL), nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond), nats.RetryOnFailedConnect(true))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer nc.Close()
	ctx := context.Background()
	b, err := bus.Open(ctx, nc, bus.WithoutProvision(), bus.WithNode("subscriber"))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	crash, _ := strconv.Atoi(os.Getenv(subscriberCrash))
	s, err := b.Subscribe(ctx, "chaos.**", func(ctx context.Context, s *signal.Signal) error {
		err := pass(ctx, s)
		if err == nil && crash > 0 && rand.IntN(crash) == 0 {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {} // until the signal arrives
		}
		return err
	}, bus.Durable("follow"), bus.FromOrigin(), bus.AckWait(time.Second), bus.Concurrency(4))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	<-s.Done()
	return 1
}

// pass tells the test about a signal.
func pass(ctx context.Context, s *signal.Signal) error {
	body, err := s.MarshalJSON()
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, os.Getenv(subscriberTarget)+"/sub", bytes.NewReader(body))
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return errors.New(resp.Status)
	}
	return nil
}

// subscribers keeps one subscriber running until stopped, which crashes now and then.
func (w *world) subscribers(t *testing.T, crash int) (stop func() (crashes int)) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan int, 1)
	var log syncBuffer
	go func() { // ends with ctx
		for lives := 0; ; lives++ {
			cmd := exec.CommandContext(ctx, os.Args[0])
			cmd.Env = append(os.Environ(), subscriberURL+"="+w.nodes[0].NATS, subscriberTarget+"="+w.base, subscriberCrash+"="+strconv.Itoa(crash))
			cmd.Stderr = &log
			_ = cmd.Run()
			if ctx.Err() != nil {
				ended <- lives
				return
			}
		}
	}()
	return func() int {
		cancel()
		n := <-ended
		if t.Failed() {
			t.Logf("log of the subscriber: %s", log.tail())
		}
		return n
	}
}

// TestConsumerCrash kills a subscriber between a delivery and its ack, over and over, and
// the node under it in between.
func TestConsumerCrash(t *testing.T) {
	w := newWorld(t)
	w.follow = true
	d := w.single(t)
	start(t, d)
	end := w.subscribers(t, 60)
	stop := w.load(2)
	for range times(2, 8) {
		let(300*time.Millisecond, time.Second)
		d.kill(t)
		start(t, d)
	}
	let(time.Second, 2*time.Second)
	stop()
	crashes := end()
	end = w.subscribers(t, 0)
	w.judge(t, fmt.Sprintf("%d crashes of a consumer before its ack", crashes))
	end()
	if crashes == 0 {
		t.Error("the consumer never crashed")
	}
}
