package batch

import "time"

// What is assumed of a batch before the first one: measured for one replica in files. Only
// the fixed part differs much between stores, so that is what is learned.
const (
	batchFixed = 3 * time.Millisecond // to open and commit one
	batchEach  = 10 * time.Microsecond
)

const (
	sampleSize  = 8                // messages whose pipelined cost is timed
	sampleEvery = 10 * time.Second // how long that is believed while batches are in use
)

// pace is what messages are found to cost here. The pipelined cost per message is the time
// between the first and the last reply, free of the round trip: some 8 µs, or a sync of some
// 200 µs where each message is synced.
type pace struct {
	each    time.Duration // of a pipelined message; 0 is not known yet
	fixed   time.Duration // of a batch
	sampled time.Time     // when each was last learned
}

func newPace() pace { return pace{fixed: batchFixed} }

// batchPays reports whether n messages are cheaper as a batch, by half: where nothing is
// synced the two can come close, and the batch then costs the server more.
func (p *pace) batchPays(n int) bool {
	return time.Duration(n)*p.each > (p.fixed+time.Duration(n)*batchEach)*3/2
}

// sample returns how many of n messages should be pipelined first, to learn what they cost:
// none when that is known, or when n is pipelined anyway.
func (p *pace) sample(n int, now time.Time) int {
	stale := p.each == 0 || now.Sub(p.sampled) > sampleEvery
	if n <= sampleSize || !stale {
		return 0
	}
	return sampleSize
}

// pipelined learns from n messages whose replies came within d.
func (p *pace) pipelined(n int, d time.Duration) {
	if n < sampleSize || d <= 0 {
		return
	}
	p.each = blend(p.each, d/time.Duration(n-1))
	p.sampled = time.Now()
}

// batched learns from a batch of n that took d.
func (p *pace) batched(n int, d time.Duration) {
	p.fixed = blend(p.fixed, max(d-time.Duration(n)*batchEach, batchFixed/3))
}

// blend moves old a quarter of the way to seen.
func blend(old, seen time.Duration) time.Duration {
	if old == 0 {
		return seen
	}
	return old + (seen-old)/4
}
