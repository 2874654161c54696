package main

import (
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// arrange puts the command first, then all flags, then all arguments, whatever their order:
// people write `sigctl pub TYPE --data X` and `sigctl --server URL pub TYPE`, and the flag
// parser below stops at the first argument.
func arrange(app *cli.App, args []string) []string {
	if len(args) == 0 || slices.Contains(args, "--generate-bash-completion") {
		return args
	}
	command, flags, rest := args[:1:1], []string(nil), []string(nil)
	verbs, known := app.Commands, app.Flags
	for i := 1; i < len(args); i++ {
		arg := args[i]
		switch {
		case arg == "--":
			rest = append(rest, args[i+1:]...)
			i = len(args)
		case isFlag(known, arg):
			flags = append(flags, arg)
			if takesValue(known, arg) && i+1 < len(args) {
				i++
				flags = append(flags, args[i])
			}
		default:
			verb := find(verbs, arg)
			if verb == nil || len(rest) > 0 {
				rest, verbs = append(rest, arg), nil
				continue
			}
			command, verbs, known = append(command, arg), verb.Subcommands, append(known[:len(known):len(known)], verb.Flags...)
		}
	}
	if len(rest) > 0 {
		rest = append([]string{"--"}, rest...)
	}
	return slices.Concat(command, flags, rest)
}

// isFlag reports whether the argument is meant as a flag. Ids of dead letters may begin with
// a dash, so "-" and more than one letter is a flag only if there is one of that name.
func isFlag(known []cli.Flag, arg string) bool {
	if len(arg) < 2 || arg[0] != '-' {
		return false
	}
	name, _, _ := strings.Cut(strings.TrimLeft(arg, "-"), "=")
	return arg[1] == '-' || len(name) == 1 || name == "help" || name == "version" || lookup(known, name) != nil
}

func find(verbs []*cli.Command, name string) *cli.Command {
	for _, v := range verbs {
		if v.HasName(name) {
			return v
		}
	}
	return nil
}

// takesValue reports whether the flag is followed by its value as an argument of its own.
func takesValue(known []cli.Flag, arg string) bool {
	name := strings.TrimLeft(arg, "-")
	f := lookup(known, name)
	return f != nil && f.TakesValue()
}

// lookup finds a flag by one of its names.
func lookup(known []cli.Flag, name string) cli.DocGenerationFlag {
	for _, f := range known {
		if d, ok := f.(cli.DocGenerationFlag); ok && slices.Contains(f.Names(), name) {
			return d
		}
	}
	return nil
}
