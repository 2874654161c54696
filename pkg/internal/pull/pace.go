package pull

import "time"

// ahead is how much work is taken in advance.
const ahead = 250 * time.Millisecond

// A pace works out how many messages to take in advance from how fast they are settled. It
// starts with none, so that a process that crashes on its first message took only that, and
// a slow handler leaves the rest to others.
type pace struct {
	limit int
	size  int
	since time.Time // the last look that counted
	seen  uint64    // settled until then
}

func newPace(limit int) pace { return pace{limit: limit, since: time.Now()} }

// look returns how many messages should be underway beyond the one that is waited for,
// when so many have been settled altogether. It at most quadruples from one look to the
// next.
func (p *pace) look(now time.Time, settled uint64) int {
	n, d := settled-p.seen, now.Sub(p.since)
	if n == 0 {
		if d > ahead {
			p.size = 0
		}
		return p.size
	}
	each := max(d/time.Duration(n), time.Microsecond)
	p.size = min(int(ahead/each), 4*max(p.size, 1), p.limit)
	p.since, p.seen = now, settled
	return p.size
}

// restart begins anew with none.
func (p *pace) restart() { p.size = 0 }
