package main

import (
	"fmt"
	"io"

	"github.com/urfave/cli/v2"
)

// The scripts ask the program itself what may come next.
const (
	bashCompletion = `# sigctl completion for bash: eval "$(sigctl completion bash)"
_sigctl() {
  local cur="${COMP_WORDS[COMP_CWORD]}" words
  if [[ "$cur" == -* ]]; then
    words=$("${COMP_WORDS[@]:0:COMP_CWORD}" "$cur" --generate-bash-completion 2>/dev/null)
  else
    words=$("${COMP_WORDS[@]:0:COMP_CWORD}" --generate-bash-completion 2>/dev/null)
  fi
  COMPREPLY=($(compgen -W "${words}" -- "${cur}"))
}
complete -o bashdefault -o default -F _sigctl sigctl
`
	zshCompletion = `#compdef sigctl
# sigctl completion for zsh: source <(sigctl completion zsh)
_sigctl() {
  local -a opts
  local cur="${words[-1]}"
  if [[ "$cur" == -* ]]; then
    opts=("${(@f)$(${words[@]:0:#words[@]-1} ${cur} --generate-bash-completion 2>/dev/null)}")
  else
    opts=("${(@f)$(${words[@]:0:#words[@]-1} --generate-bash-completion 2>/dev/null)}")
  fi
  if [[ -n "${opts[1]}" ]]; then
    compadd -- "${opts[@]}"
  else
    _files
  fi
}
compdef _sigctl sigctl
`
)

func (p *program) completion() *cli.Command {
	return p.verb(cli.Command{
		Name: "completion", Usage: "print a shell's completion script: bash, zsh or fish", ArgsUsage: "SHELL",
	}, 1, 1, func(s *session) error {
		var script string
		switch shell := s.cli.Args().First(); shell {
		case "bash":
			script = bashCompletion
		case "zsh":
			script = zshCompletion
		case "fish":
			var err error
			if script, err = s.cli.App.ToFishCompletion(); err != nil {
				return fmt.Errorf("fish completion: %w", err)
			}
		default:
			return usagef("shell %q is none of bash, zsh, fish", shell)
		}
		_, err := io.WriteString(s.stdout, script)
		return err
	})
}
