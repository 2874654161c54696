package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime/debug"

	"github.com/urfave/cli/v2"

	"github.com/signalmesh/signalmesh/pkg/config"
	"github.com/signalmesh/signalmesh/pkg/fault"
)

// program is signald without the process around it, so that tests can run it.
type program struct {
	stdout, stderr io.Writer
	environ        []string
	reload         <-chan struct{} // asks to read the configuration again
}

// run executes one command line and returns the exit code: 0 ok, 1 failure, 2 usage,
// 3 not found, 4 conflict, 5 denied, 6 unreachable, 7 invalid.
func (p *program) run(ctx context.Context, args []string) int {
	err := p.app().RunContext(ctx, args)
	if err == nil {
		return 0
	}
	fmt.Fprintf(p.stderr, "signald: %v\n", err)
	if hint := fault.HintOf(err); hint != "" {
		fmt.Fprintf(p.stderr, "hint: %s\n", hint)
	}
	return exitCode(err)
}

// errUsage marks what is wrong with the command line itself.
var errUsage = errors.New("see signald help")

func exitCode(err error) int {
	if errors.Is(err, errUsage) {
		return 2
	}
	switch fault.CodeOf(err) {
	case fault.NotFound:
		return 3
	case fault.Conflict:
		return 4
	case fault.Denied, fault.Unauthenticated:
		return 5
	case fault.Unavailable:
		return 6
	case fault.Invalid, fault.TooLarge:
		return 7
	default:
		return 1
	}
}

func (p *program) app() *cli.App {
	files := &cli.StringSliceFlag{Name: "config", Usage: "read `FILE`; may be given several times, the later wins"}
	ready := &cli.StringFlag{Name: "ready-file", Usage: "write the node's addresses as JSON to `PATH` once it is ready"}
	usage := func(_ *cli.Context, err error, _ bool) error { return fmt.Errorf("%w; %w", err, errUsage) }
	app := &cli.App{
		Name: "signald", Usage: "one node of the signal mesh", Version: version(),
		Writer: p.stdout, ErrWriter: p.stderr, OnUsageError: usage, HideHelpCommand: true,
		ExitErrHandler: func(*cli.Context, error) {}, // run reports and picks the code
		Action:         p.noCommand,
		Commands: []*cli.Command{
			{
				Name: "dev", Usage: "start a node with an embedded server and a demo route, nothing to install",
				Flags: []cli.Flag{
					files, ready,
					&cli.StringFlag{Name: "data", Usage: "keep signals in `DIR` (default: a temporary folder, removed at the end)"},
					&cli.StringFlag{Name: "nats", Usage: "listen for NATS on `HOST:PORT` (default: 127.0.0.1:4222 or the next free port)"},
					&cli.StringFlag{Name: "http", Usage: "listen for HTTP on `HOST:PORT` (default: 127.0.0.1:8222 or the next free port)"},
				},
				Action: p.noArgs(p.dev), OnUsageError: usage,
			},
			{
				Name: "run", Usage: "start a node from configuration files",
				Flags:  []cli.Flag{files, ready},
				Action: p.noArgs(p.start), OnUsageError: usage,
			},
			{
				Name: "config", Usage: "check and explain configuration", OnUsageError: usage, Action: p.noCommand,
				Subcommands: []*cli.Command{
					{Name: "check", Usage: "report everything that is wrong with files", ArgsUsage: "FILE...", Action: p.check, OnUsageError: usage},
					{Name: "doc", Usage: "print every key with its type, default and meaning", Action: p.noArgs(p.reference), OnUsageError: usage},
				},
			},
		},
	}
	return app
}

func (p *program) noCommand(c *cli.Context) error {
	if c.Args().Present() {
		return fmt.Errorf("%s: no such command; %w", c.Args().First(), errUsage)
	}
	return cli.ShowAppHelp(c)
}

// noArgs refuses arguments that would otherwise be ignored.
func (p *program) noArgs(action cli.ActionFunc) cli.ActionFunc {
	return func(c *cli.Context) error {
		if c.Args().Present() {
			return fmt.Errorf("unexpected argument %q; %w", c.Args().First(), errUsage)
		}
		return action(c)
	}
}

// check reads files as run would, and opens nothing.
func (p *program) check(c *cli.Context) error {
	if !c.Args().Present() {
		return fmt.Errorf("config check needs a file; %w", errUsage)
	}
	if _, err := config.Load(p.environ, c.Args().Slice()...); err != nil {
		return err
	}
	fmt.Fprintln(p.stdout, "ok")
	return nil
}

func (p *program) reference(*cli.Context) error { return config.Reference(p.stdout) }

// logger writes as the configuration says.
func (p *program) logger(c config.Log) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.Level)); err != nil {
		level = slog.LevelInfo
	}
	opts := &slog.HandlerOptions{Level: level}
	if c.Format == "json" {
		return slog.New(slog.NewJSONHandler(p.stderr, opts))
	}
	return slog.New(slog.NewTextHandler(p.stderr, opts))
}

// version is the module's version, or the revision it was built from.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "dev"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			return s.Value[:12]
		}
	}
	return "dev"
}
