// Command signald is one node of the mesh. See `signald help`.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	_ "github.com/signalmesh/signalmesh/pkg/adapter/std" // the adapters that files may name
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // whoever asks a second time does not want to wait
	hangUp := make(chan os.Signal, 1)
	signal.Notify(hangUp, syscall.SIGHUP)
	p := program{stdout: os.Stdout, stderr: os.Stderr, environ: os.Environ(), hangUp: hangUp}
	os.Exit(p.run(ctx, os.Args))
}
