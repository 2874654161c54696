package pull

import "time"

// ahead is how much work is taken in advance.
const ahead = 250 * time.Millisecond

// A pace works out how many messages to take in advance from how fast they are taken off.
// It starts at one, so that a process that crashes on its first message took only that.
type pace struct {
	limit int
	size  int
	taken int           // since the last look
	busy  time.Duration // spent on them
}

func newPace(limit int) pace { return pace{limit: limit, size: 1} }

// took notes that a message was handed over, which kept the handler's goroutine busy for d.
func (p *pace) took(d time.Duration) {
	p.taken++
	p.busy += d
}

// look returns how many messages should be underway now. It at most quadruples from one
// look to the next; a handler that takes longer than ahead brings it to zero.
func (p *pace) look() int {
	if p.taken == 0 {
		return p.size
	}
	each := max(p.busy/time.Duration(p.taken), time.Microsecond)
	p.size = min(int(ahead/each), 4*max(p.size, 1), p.limit)
	p.taken, p.busy = 0, 0
	return p.size
}

// restart begins anew with one message at a time.
func (p *pace) restart() { *p = newPace(p.limit) }
