package expr

import (
	"fmt"
	"regexp"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common"

	"github.com/signalmesh/signalmesh/pkg/fault"
)

// compileError shows every issue with its position, and its line with a caret.
func (d *dialect) compileError(source string, issues []*cel.Error) error {
	lines := strings.Split(source, "\n")
	texts := make([]string, 0, len(issues))
	for _, issue := range issues {
		texts = append(texts, d.showIssue(lines, issue))
	}
	return fault.Newf(fault.Invalid, "%s", strings.Join(texts, "\n"))
}

func (d *dialect) showIssue(lines []string, issue *common.Error) string {
	line, column := issue.Location.Line(), issue.Location.Column()
	text := d.explain(issue.Message)
	if line < 1 || line > len(lines) {
		return text
	}
	shown := strings.ReplaceAll(strings.TrimSuffix(lines[line-1], "\r"), "\t", " ")
	start := 0
	if column > 60 { // long lines are shown around the place
		start = column - 60
	}
	runes := []rune(shown)
	end := min(start+100, len(runes))
	start = min(start, end)
	return fmt.Sprintf("%d:%d: %s\n | %s\n | %s^", line, column+1, text,
		string(runes[start:end]), strings.Repeat(".", max(column-start, 0)))
}

var (
	undeclared = regexp.MustCompile(`^undeclared reference to '\.?([^']+)'(?: \(in container ''\))?( \(did you mean '[^']+'\?\))?`)
	undefined  = regexp.MustCompile(`^undefined field '([^']+)'`)
	expecting  = regexp.MustCompile(` expecting \{.*`)
)

// explain says in our words what the checker found, with what was probably meant.
func (d *dialect) explain(message string) string {
	if m := undeclared.FindStringSubmatch(message); m != nil {
		return d.unknownName(m[1], m[2])
	}
	if m := undefined.FindStringSubmatch(message); m != nil {
		message = fmt.Sprintf("a signal has no attribute %q", m[1])
		if _, ok := core[strings.ToLower(m[1])]; ok {
			return message + ", did you mean " + strings.ToLower(m[1]) + "?"
		}
		return message + "; the names are lower-case letters and digits"
	}
	if strings.Contains(message, "'type(type)") && d.attributes != "" {
		return message + ", did you mean " + d.attributes + ".type?"
	}
	message = strings.ReplaceAll(message, "mismatched input '<EOF>'", "the expression ends too early;")
	return strings.TrimRight(expecting.ReplaceAllString(message, ""), ";")
}

func (d *dialect) unknownName(name, suggestion string) string {
	_, isAttribute := core[name]
	switch text := name + " is not known here"; {
	case isAttribute && d.attributes != "":
		return fmt.Sprintf("%s, did you mean %s.%s?", text, d.attributes, name)
	case suggestion != "" && !strings.Contains(suggestion, "'type'"):
		return text + suggestion
	default:
		return fmt.Sprintf("%s; what was sent is %s.%s", text, d.payload, name)
	}
}
