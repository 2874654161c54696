package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime/debug"

	"github.com/urfave/cli/v2"

	"github.com/signalmesh/signalmesh/pkg/config"
	"github.com/signalmesh/signalmesh/pkg/fault"
)

// program is signald without the process around it, so that tests can run it.
type program struct {
	stdout, stderr io.Writer
	environ        []string
	hangUp         <-chan os.Signal // asks to read the configuration again; nil: nobody does
}

// run executes one command line and returns the exit code: 0 ok, 1 failure, 2 usage,
// 3 not found, 4 conflict, 5 denied, 6 unreachable, 7 invalid.
func (p *program) run(ctx context.Context, args []string) int {
	err := p.app().RunContext(ctx, args)
	if err == nil {
		return 0
	}
	p.complain(err)
	return exitCode(err)
}

// complain says what is wrong, and what to do about it if that is known.
func (p *program) complain(err error) {
	fmt.Fprintf(p.stderr, "signald: %v\n", err)
	if hint := fault.HintOf(err); hint != "" {
		fmt.Fprintf(p.stderr, "hint: %s\n", hint)
	}
}

// errUsage marks what is wrong with the command line itself.
var errUsage = errors.New("see signald help")

func exitCode(err error) int {
	if errors.Is(err, errUsage) {
		return 2
	}
	return fault.CodeOf(err).Exit()
}

func (p *program) app() *cli.App {
	files := &cli.StringSliceFlag{Name: "config", Aliases: []string{"c"}, Usage: "read `FILE`; may be given several times, the later wins key by key"}
	ready := &cli.StringFlag{Name: "ready-file", Usage: "write the node's addresses as JSON to `PATH` once it is ready; gone when it ends"}
	app := &cli.App{
		Name: "signald", Usage: "one node of the signal mesh", Description: description, Version: version(),
		Writer: p.stdout, ErrWriter: p.stderr, OnUsageError: usageError, HideHelpCommand: true,
		Flags:          []cli.Flag{cli.HelpFlag},     // a command named help takes it away
		ExitErrHandler: func(*cli.Context, error) {}, // run reports and picks the code
		Action:         noCommand,
		Commands: []*cli.Command{
			{
				Name: "dev", Usage: "start a node with an embedded server and a demo route; nothing to install",
				Flags: []cli.Flag{
					files, ready,
					&cli.StringFlag{Name: "data", Usage: "keep signals in `DIR` (default: a temporary folder, removed at the end)"},
					&cli.StringFlag{Name: "nats", Usage: "listen for NATS on `HOST:PORT` (default: 127.0.0.1:4222 or the next free port)"},
					&cli.StringFlag{Name: "http", Usage: "listen for HTTP on `HOST:PORT` (default: 127.0.0.1:8222 or the next free port)"},
				},
				Action: noArgs(p.dev), OnUsageError: usageError, HideHelpCommand: true,
			},
			{
				Name: "run", Usage: "start a node from configuration files",
				Flags:  []cli.Flag{files, ready},
				Action: noArgs(p.start), OnUsageError: usageError, HideHelpCommand: true,
			},
			{
				Name: "config", Usage: "check and explain configuration", Action: noCommand, OnUsageError: usageError, HideHelpCommand: true,
				Subcommands: []*cli.Command{
					{Name: "check", Usage: "report everything that is wrong with files", ArgsUsage: "FILE...", Action: p.check, OnUsageError: usageError, HideHelpCommand: true},
					{Name: "doc", Usage: "print every key with its type, default and meaning", Action: noArgs(p.reference), OnUsageError: usageError, HideHelpCommand: true},
				},
			},
			{Name: "help", Usage: "describe the commands, or one of them", ArgsUsage: "[COMMAND]", Action: help, HideHelpCommand: true},
		},
	}
	return app
}

const description = `An interrupt or SIGTERM drains the node, a second one ends it at once; neither loses what was
accepted. SIGHUP reads the configuration files again. Exit codes: 0 ok, 1 failure, 2 usage,
3 not found, 4 conflict, 5 denied, 6 unreachable, 7 invalid.`

func usageError(_ *cli.Context, err error, _ bool) error { return fmt.Errorf("%w; %w", err, errUsage) }

// noCommand is what runs when no command was named.
func noCommand(c *cli.Context) error {
	if c.Args().Present() {
		return fmt.Errorf("%s: no such command; %w", c.Args().First(), errUsage)
	}
	if c.Command.Name == c.App.Name {
		return cli.ShowAppHelp(c)
	}
	return cli.ShowSubcommandHelp(c)
}

func help(c *cli.Context) error {
	name := c.Args().First()
	switch {
	case name == "":
		return cli.ShowAppHelp(c)
	case c.App.Command(name) == nil:
		return fmt.Errorf("%s: no such command; %w", name, errUsage)
	}
	return cli.ShowCommandHelp(c, name)
}

// noArgs refuses arguments that would otherwise be ignored.
func noArgs(action cli.ActionFunc) cli.ActionFunc {
	return func(c *cli.Context) error {
		if c.Args().Present() {
			return fmt.Errorf("unexpected argument %q; %w", c.Args().First(), errUsage)
		}
		return action(c)
	}
}

// check reads files as run would, and opens nothing else.
func (p *program) check(c *cli.Context) error {
	if !c.Args().Present() {
		return fmt.Errorf("config check needs a file; %w", errUsage)
	}
	if err := config.Check(p.environ, c.Args().Slice()...); err != nil {
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
