package testkit_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/signalmesh/signalmesh/pkg/codec"
	"github.com/signalmesh/signalmesh/pkg/signal"
	"github.com/signalmesh/signalmesh/pkg/testkit"
)

// post sends a signal and returns the status, or 0 when there was no answer.
func post(ctx context.Context, t *testing.T, target *testkit.Receiver, mode codec.Mode) (status int, header http.Header, body string) {
	t.Helper()
	s, err := signal.New("order.created", 7, signal.WithID("1"))
	if err != nil {
		t.Fatal(err)
	}
	h, payload, err := codec.ToHTTP(s, mode)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target.URL+"/in?a=b", bytes.NewReader(payload))
	if err != nil {
		t.Fatal(err)
	}
	req.Header = h
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(req)
	if err != nil {
		return 0, nil, ""
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, res.Header, string(text)
}

func TestTargetRecords(t *testing.T) {
	t.Parallel()
	target := testkit.Target(t)
	target.Answer(http.StatusAccepted, "thanks")
	for i, mode := range []codec.Mode{codec.Structured, codec.Binary, codec.Msgpack} {
		if status, _, body := post(t.Context(), t, target, mode); status != http.StatusAccepted || body != "thanks" {
			t.Errorf("answer = %d %q, want 202 thanks", status, body)
		}
		got := target.Wait(i+1, testkit.Patience)[i]
		if s := got.Signal(t); s.Type != "order.created" || s.ID != "1" || string(s.Data) != "7" {
			t.Errorf("%s: recorded %+v", mode, s)
		}
		if got.Number != i+1 || got.Method != http.MethodPost || got.Path != "/in" || got.Query.Get("a") != "b" ||
			got.Header.Get("Content-Type") == "" || len(got.Body) == 0 || got.Fault != "" {
			t.Errorf("%s: recorded %+v", mode, got)
		}
	}
}

func TestTargetMisbehaves(t *testing.T) {
	t.Parallel()
	target := testkit.Target(t)
	target.Fail(2, http.StatusServiceUnavailable)
	target.Busy(1, http.StatusTooManyRequests, 3*time.Second)
	target.Drop(1)
	target.Hang(1)
	for i, want := range []int{503, 503, 429, 0} {
		status, header, _ := post(t.Context(), t, target, codec.Binary)
		if status != want {
			t.Errorf("request %d = %d, want %d", i+1, status, want)
		}
		if status == http.StatusTooManyRequests && header.Get("Retry-After") != "3" {
			t.Errorf("Retry-After = %q, want 3", header.Get("Retry-After"))
		}
	}
	ctx, giveUp := context.WithCancel(t.Context())
	answered := make(chan int, 1)
	go func() {
		status, _, _ := post(ctx, t, target, codec.Binary)
		answered <- status
	}()
	target.Wait(5, testkit.Patience)
	giveUp()
	if status := <-answered; status != 0 {
		t.Errorf("a hanging target answered %d", status)
	}
	if status, _, _ := post(t.Context(), t, target, codec.Binary); status != http.StatusOK {
		t.Errorf("request after all faults = %d, want 200", status)
	}
	var faults []string
	for _, r := range target.Requests() {
		faults = append(faults, r.Fault)
	}
	const want = "status 503|status 503|status 429, retry after 3s|drop|hang|"
	if got := strings.Join(faults, "|"); got != want {
		t.Errorf("faults = %s, want %s", got, want)
	}
}

// A target that hangs when the test ends does not hold it up.
func TestTargetHangsAtTheEnd(t *testing.T) {
	t.Parallel()
	done := make(chan struct{})
	t.Run("test", func(t *testing.T) {
		target := testkit.Target(t)
		target.Hang(1)
		go func() {
			defer close(done)
			res, err := http.Post(target.URL, "text/plain", nil)
			if err == nil {
				res.Body.Close()
			}
		}()
		if r := target.Wait(1, testkit.Patience)[0]; r.Err == nil {
			t.Errorf("an empty body was taken for %v", r.Signals)
		}
	})
	<-done
}

// failures is a test that notes how it failed instead of failing.
type failures struct {
	testing.TB
	text chan string
}

func (f *failures) Helper() {}
func (f *failures) Fatalf(format string, args ...any) {
	f.text <- fmt.Sprintf(format, args...)
	runtime.Goexit()
}

// failing runs do against a test of its own and returns what it failed with.
func failing(t *testing.T, do func(tb testing.TB)) string {
	t.Helper()
	f := &failures{t, make(chan string, 1)}
	go func() {
		defer close(f.text)
		do(f)
	}()
	return <-f.text
}

func TestTargetFailsTheTestThatWaitsInVain(t *testing.T) {
	t.Parallel()
	text := failing(t, func(tb testing.TB) {
		target := testkit.Target(tb)
		target.Fail(1, http.StatusTeapot)
		post(t.Context(), t, target, codec.Binary)
		target.Wait(2, time.Millisecond)
	})
	for _, want := range []string{"no 2 requests within 1ms", "1: POST /in order.created(1) -> status 418"} {
		if !strings.Contains(text, want) {
			t.Errorf("failure = %q, want %q in it", text, want)
		}
	}
}
