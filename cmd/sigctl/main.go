// Command sigctl asks and operates the mesh. It speaks to NATS directly; see `sigctl help`.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"

	"github.com/urfave/cli/v2"

	_ "github.com/signalmesh/signalmesh/pkg/adapter/std" // the adapters that routes may name
	"github.com/signalmesh/signalmesh/pkg/fault"
)

func main() { os.Exit(run(os.Args, os.Stdin, os.Stdout, os.Stderr)) }

// run executes one command line and returns the exit code. Data goes to stdout and nothing
// else does; what is wrong, and what to do about it, goes to stderr.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	p := &program{stdin: stdin, stdout: stdout, stderr: stderr}
	app := p.app()
	err := app.RunContext(context.Background(), arrange(app, args))
	var code exitStatus
	if err == nil || errors.As(err, &code) {
		return int(code)
	}
	fmt.Fprintf(stderr, "sigctl: %v\n", err)
	if hint := fault.HintOf(err); hint != "" {
		fmt.Fprintf(stderr, "hint: %s\n", hint)
	}
	return exitCode(err)
}

// exitStatus ends the program with a code that is no failure.
type exitStatus int

func (s exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(s)) }

// planHasChanges is how a plan that would change something ends.
const planHasChanges exitStatus = 10

// errUsage marks what is wrong with the command line itself.
var errUsage = errors.New("see sigctl help")

func usagef(format string, args ...any) error {
	return fmt.Errorf("%w; %w", fmt.Errorf(format, args...), errUsage)
}

// exitCode says in a number what kind of failure err is.
func exitCode(err error) int {
	if errors.Is(err, errUsage) {
		return 2
	}
	return fault.CodeOf(err).Exit()
}

// program is the command without the process around it.
type program struct {
	stdin          io.Reader
	stdout, stderr io.Writer
}

const description = `Flags may stand anywhere on the line. Data goes to standard output, as tables on a terminal and
as JSON elsewhere; -o chooses. Exit codes: 0 ok, 1 failure, 2 usage, 3 not found, 4 conflict,
5 denied, 6 unreachable, 7 invalid, 10 a plan with changes.`

func (p *program) app() *cli.App {
	app := &cli.App{
		Name: "sigctl", Usage: "ask and operate the signal mesh", Description: description, Version: version(),
		Writer: p.stdout, ErrWriter: p.stderr, HideHelpCommand: true, EnableBashCompletion: true,
		Flags: commonFlags(), OnUsageError: usageError,
		ExitErrHandler: func(*cli.Context, error) {}, // run reports and picks the code
		Action:         unknownCommand,
		Commands: []*cli.Command{
			p.pub(), p.delayed(), p.schedule(), p.tail(), p.replay(), p.snapshot(), p.get(), p.trace(), p.why(),
			p.routes(), p.streams(), p.subs(), p.dlq(), p.nodes(), p.completion(),
			{Name: "help", Usage: "describe the commands", Action: func(c *cli.Context) error { return cli.ShowAppHelp(c) }},
		},
	}
	return app
}

// group is a noun with verbs.
func group(name, usage string, verbs ...*cli.Command) *cli.Command {
	return &cli.Command{Name: name, Usage: usage, Subcommands: verbs, Action: unknownCommand, HideHelpCommand: true, OnUsageError: usageError}
}

func usageError(_ *cli.Context, err error, _ bool) error { return usagef("%w", err) }

// unknownCommand is what runs when no verb was named.
func unknownCommand(c *cli.Context) error {
	if c.Args().Present() {
		return usagef("%s: no such command", c.Args().First())
	}
	if c.Command.Name == c.App.Name {
		return cli.ShowAppHelp(c)
	}
	return cli.ShowSubcommandHelp(c)
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
