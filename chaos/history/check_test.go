package history_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/signalmesh/signalmesh/chaos/history"
)

// owed says that every signal goes to a, and those of type x.both also to b; a is promised
// order.
var owed = history.Owed{
	Receivers: func(typ string) []string {
		if typ == "x.both" {
			return []string{"a", "b"}
		}
		return []string{"a"}
	},
	OrderBy: map[string]func(string) string{"a": func(string) string { return "" }},
}

// line reads an operation: kind phase id, then name=value.
func line(t *testing.T, text string) history.Op {
	t.Helper()
	words := strings.Fields(text)
	op := history.Op{Kind: history.Kind(words[0]), Phase: history.Phase(words[1]), ID: words[2]}
	for _, w := range words[3:] {
		name, value, _ := strings.Cut(w, "=")
		switch name {
		case "type":
			op.Type = value
		case "to":
			op.Receiver = value
		case "key":
			op.Key = value
		case "seq":
			if _, err := fmt.Sscan(value, &op.Sequence); err != nil {
				t.Fatal(err)
			}
		}
	}
	return op
}

func lines(t *testing.T, text string) (ops []history.Op) {
	t.Helper()
	for l := range strings.Lines(strings.TrimSpace(text)) {
		ops = append(ops, line(t, l))
	}
	return ops
}

// good is a history in which everything happens that may happen.
const good = `
publish invoke 1 type=x.both
publish ok 1
deliver ok 1 to=a key=1a
publish invoke 2 type=x.one
publish unknown 2
publish invoke 3 type=x.one
publish unknown 3
publish invoke 3 type=x.one
publish ok 3
publish invoke 4 type=x.one
publish unknown 4
publish invoke 5 type=x.one
publish fail 5
deliver ok 2 to=a key=2a
deliver ok 1 to=a key=1a
stored ok 1 seq=1
stored ok 2 seq=2
stored ok 3 seq=3
dead ok 1 to=b
dead ok 2 to=a
waiting ok 3 to=a
`

func TestGoodHistory(t *testing.T) {
	t.Parallel()
	r := history.Check(lines(t, good), owed)
	if err := r.Err(); err != nil {
		t.Errorf("Check = %v, want nil", err)
	}
	want := "signals: 2 acknowledged, 2 unknown (1 of them stored), 1 refused, 3 stored; " +
		"deliveries: 4 accepted, 4 accounted for (2 delivered, 1 dead, 1 waiting), 1 repeats"
	if got := r.String(); got != want {
		t.Errorf("report = %s\nwant     %s", got, want)
	}
}

// TestPlantedFaults breaks one promise at a time and wants it found, and nothing else.
func TestPlantedFaults(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ without, with, want string }{
		"acknowledged signal vanished":  {without: "stored ok 3 seq=3|waiting ok 3 to=a", want: "3: acknowledged, and lost"},
		"receiver drops":                {without: "deliver ok 1 to=a key=1a|deliver ok 1 to=a key=1a", want: "1: lost on the way to a"},
		"dead letter lost":              {without: "dead ok 1 to=b", want: "1: lost on the way to b"},
		"parked delivery lost":          {without: "waiting ok 3 to=a", want: "3: lost on the way to a"},
		"stored twice":                  {with: "stored ok 3 seq=9", want: "3: stored 2 times, at [3 9]"},
		"refused and stored":            {with: "stored ok 5 seq=5|dead ok 5 to=a", want: "5: refused, and stored"},
		"a repeat with another key":     {with: "deliver ok 1 to=a key=other", want: `1 to a: a repeat carries the key "other"`},
		"a key used for two deliveries": {with: "deliver ok 1 to=b key=1a", want: `1 to b: carries the key "1a" of 1 to a`},
		"delivered to a stranger":       {with: "deliver ok 2 to=b key=2b", want: "2: delivered to b, which it does not owe"},
		"delivered and not stored":      {with: "deliver ok 4 to=a key=4a", want: "4: delivered to a, which it does not owe"},
		"delivered and not published":   {with: "stored ok 6 seq=6|deliver ok 6 to=a key=6a", want: "6: never published"},
		"out of order":                  {without: "deliver ok 1 to=a key=1a|deliver ok 1 to=a key=1a", with: "deliver ok 1 to=a key=1a", want: "1: delivered to a after 2"},
		"a dead letter of nothing":      {with: "dead ok 4 to=a", want: "4: a dead letter or a wait for a"},
		"a publish without end":         {with: "publish invoke 1", want: "1: 3 publishes begun, 1 ended"},
		"an unknown operation":          {with: "sleep ok 1", want: `no such operation: "sleep"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text := good
			for drop := range strings.SplitSeq(tc.without, "|") {
				text = strings.Replace(text, drop+"\n", "", 1)
			}
			text += strings.ReplaceAll(tc.with, "|", "\n")
			if name == "a publish without end" {
				text += "\n" + tc.with
			}
			r := history.Check(lines(t, text), owed)
			if len(r.Problems) != 1 || !strings.Contains(r.Problems[0], tc.want) {
				t.Errorf("problems = %q, want one: %s", r.Problems, tc.want)
			}
		})
	}
}

// TestEveryLossIsFound makes a history of a mesh that keeps its promises, by chance, and
// takes one delivery out of it.
func TestEveryLossIsFound(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var l history.Log
		n := rapid.IntRange(1, 20).Draw(t, "signals")
		var states []int // of operations that settle a delivery by themselves
		var ops []history.Op
		for i := range n {
			id := fmt.Sprint(i)
			ops = append(ops,
				history.Op{Kind: history.Publish, Phase: history.Invoke, ID: id, Type: rapid.SampledFrom([]string{"x.both", "x.one"}).Draw(t, "type")},
				history.Op{Kind: history.Publish, Phase: rapid.SampledFrom([]history.Phase{history.OK, history.Unknown}).Draw(t, "phase"), ID: id},
				history.Op{Kind: history.Stored, Phase: history.OK, ID: id, Sequence: uint64(i + 1)})
			for _, r := range owed.Receivers(ops[len(ops)-3].Type) {
				kind := rapid.SampledFrom([]history.Kind{history.Deliver, history.Dead, history.Waiting}).Draw(t, "state")
				states = append(states, len(ops))
				ops = append(ops, history.Op{Kind: kind, Phase: history.OK, ID: id, Receiver: r, Key: id + r})
			}
		}
		for _, op := range ops {
			l.Add(op)
		}
		ops = l.Ops()
		r := history.Check(ops, owed)
		if err := r.Err(); err != nil || r.Accepted != r.Accounted() || r.Accepted != len(states) {
			t.Fatalf("a good history: %s: %v", r, err)
		}
		at := rapid.SampledFrom(states).Draw(t, "lost")
		r = history.Check(slices.Delete(ops, at, at+1), owed)
		if err := r.Err(); err == nil || !strings.Contains(err.Error(), "lost on the way") || r.Accounted() != r.Accepted-1 {
			t.Errorf("without operation %d: %s: %v, want one loss", at, r, err)
		}
	})
}

func TestErrIsBounded(t *testing.T) {
	t.Parallel()
	var ops []history.Op
	for i := range 100 {
		ops = append(ops, history.Op{Kind: history.Stored, Phase: history.OK, ID: fmt.Sprint(i), Sequence: uint64(i)})
	}
	r := history.Check(ops, owed)
	if got := strings.Count(r.Err().Error(), "\n"); len(r.Problems) != 200 || got != 13 {
		t.Errorf("%d problems in %d lines, want 200 in 13", len(r.Problems), got)
	}
}
