// Command signald is one node of the mesh. See `signald help`.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	_ "github.com/signalmesh/signalmesh/pkg/adapter/std" // the adapters that files may name
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	p := program{stdout: os.Stdout, stderr: os.Stderr, environ: os.Environ(), reload: reloads(ctx, hup)}
	code := p.run(ctx, os.Args)
	stop()
	os.Exit(code)
}

// reloads turns hang-ups into requests to read the configuration again. It ends with ctx.
func reloads(ctx context.Context, hup <-chan os.Signal) <-chan struct{} {
	out := make(chan struct{})
	go func() { // ends with ctx
		for {
			select {
			case <-ctx.Done():
				return
			case <-hup:
			}
			select {
			case out <- struct{}{}:
			case <-ctx.Done():
			default:
				fmt.Fprintln(os.Stderr, "signald: still starting, hang-up ignored")
			}
		}
	}()
	return out
}
