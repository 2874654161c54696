package bus

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/signalmesh/signalmesh/pkg/delivery"
	"github.com/signalmesh/signalmesh/pkg/fault"
)

// A LetterGroup is the dead letters whose failures look alike.
type LetterGroup struct {
	Fingerprint string            `json:"fingerprint"`
	Count       int               `json:"count"`
	First       time.Time         `json:"first"`     // when the first of them was given up
	Last        time.Time         `json:"last"`      // and the last
	Receivers   []string          `json:"receivers"` // "route orders/http", "subscription billing"; sorted
	Reasons     []delivery.Reason `json:"reasons"`   // sorted
	Adapter     string            `json:"adapter,omitempty"`
	Code        fault.Code        `json:"code,omitempty"`
	Error       string            `json:"error,omitempty"` // of the last
	Letter      string            `json:"letter"`          // id of the last
}

// Groups puts what the filter selects together by fingerprint, the largest group first.
func (d DeadLetters) Groups(ctx context.Context, f LetterFilter) ([]LetterGroup, error) {
	groups := make(map[string]*LetterGroup)
	for l, err := range d.selected(ctx, f) {
		if err != nil {
			return nil, fmt.Errorf("group dead letters: %w", err)
		}
		g := groups[l.Fingerprint]
		if g == nil {
			g = &LetterGroup{Fingerprint: l.Fingerprint}
			groups[l.Fingerprint] = g
		}
		g.add(l.Letter)
	}
	all := make([]LetterGroup, 0, len(groups))
	for _, g := range groups {
		all = append(all, *g)
	}
	slices.SortFunc(all, func(a, b LetterGroup) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), b.Last.Compare(a.Last), cmp.Compare(a.Fingerprint, b.Fingerprint))
	})
	return all, nil
}

func (g *LetterGroup) add(l delivery.Letter) {
	if g.Count == 0 || l.LastAt.Before(g.First) {
		g.First = l.LastAt
	}
	if g.Count == 0 || !l.LastAt.Before(g.Last) {
		g.Last, g.Adapter, g.Code, g.Error, g.Letter = l.LastAt, l.Adapter, l.Code, l.Error, l.ID
	}
	g.Count++
	receiver := string(l.Kind) + " " + l.Name
	if l.Target != "" {
		receiver += "/" + l.Target
	}
	g.Receivers = insert(g.Receivers, receiver)
	g.Reasons = insert(g.Reasons, l.Reason)
}

// insert adds v to a sorted list that lacks it.
func insert[T cmp.Ordered](all []T, v T) []T {
	i, found := slices.BinarySearch(all, v)
	if found {
		return all
	}
	return slices.Insert(all, i, v)
}

// Export writes what the filter selects as JSON, one whole letter per line, and says how
// many that were. The signal of a letter that was too large to carry it is taken from the
// bus, if it is still there.
func (d DeadLetters) Export(ctx context.Context, f LetterFilter, w io.Writer) (int, error) {
	n, err := d.export(ctx, f, w)
	if err != nil {
		return n, fmt.Errorf("export dead letters: %w", err)
	}
	return n, nil
}

func (d DeadLetters) export(ctx context.Context, f LetterFilter, w io.Writer) (n int, err error) {
	lines := json.NewEncoder(w)
	lines.SetEscapeHTML(false)
	for l, err := range d.selected(ctx, f) {
		if err != nil {
			return n, err
		}
		if len(l.Signal) == 0 && len(l.Raw) == 0 && l.Sequence > 0 {
			e, err := d.b.Get(ctx, l.Sequence)
			switch {
			case err == nil:
				l.Signal = e.Signal.AppendJSON(nil)
			case !fault.Is(err, fault.NotFound) && !fault.Is(err, fault.Invalid):
				return n, err
			}
		}
		if err := lines.Encode(l.Letter); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}
