package journal

import (
	"errors"
	"fmt"
	"strings"

	"github.com/signalmesh/signalmesh/pkg/fault"
)

// What [Journal.Record] refuses.
var (
	// ErrCauseNotFound: the cause is not in the journal. Code fault.NotFound.
	ErrCauseNotFound = fault.Wrap(fault.NotFound, errors.New("cause not found"))
	// ErrCycle: the signal is among the causes of its own cause. Code fault.Conflict.
	ErrCycle = fault.Wrap(fault.Conflict, errors.New("causality cycle"))
	// ErrOrder: the signal happened before its cause. Code fault.Invalid.
	ErrOrder = fault.Wrap(fault.Invalid, errors.New("effect before cause"))
)

// ErrNotFound says that nothing is recorded under this id. Code fault.NotFound.
var ErrNotFound = fault.Wrap(fault.NotFound, errors.New("not in the journal"))

// ErrDataGone says that the signal is recorded, but the bus has dropped it by now and its data with
// it. Code fault.NotFound.
var ErrDataGone = fault.Wrap(fault.NotFound, errors.New("no longer on the bus"))

// An AmbiguousError reports that signals of several sources have the same id; ask again with
// [FromSource]. Its code is fault.Invalid.
type AmbiguousError struct {
	ID      string
	Sources []string // in the order in which they were recorded
}

// Error lists the sources.
func (e *AmbiguousError) Error() string {
	return fmt.Sprintf("signals of %d sources have the id %q: %s", len(e.Sources), e.ID, strings.Join(e.Sources, ", "))
}

func ambiguous(id string, found []*Record) error {
	e := &AmbiguousError{ID: id}
	for _, r := range found {
		e.Sources = append(e.Sources, r.Source)
	}
	return fault.Hint(fault.Wrap(fault.Invalid, e), "say which one by its source")
}
