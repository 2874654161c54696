package pull

// A queue holds messages in order. The zero queue is empty.
type queue struct {
	items []*Msg
	head  int
}

func (q *queue) len() int { return len(q.items) - q.head }

func (q *queue) push(m *Msg) {
	if q.head > 0 && len(q.items) == cap(q.items) {
		q.items = append(q.items[:0], q.items[q.head:]...)
		q.head = 0
	}
	q.items = append(q.items, m)
}

// pop returns the oldest message, nil when there is none.
func (q *queue) pop() *Msg {
	if q.len() == 0 {
		return nil
	}
	m := q.items[q.head]
	q.items[q.head] = nil
	if q.head++; q.head == len(q.items) {
		q.items, q.head = q.items[:0], 0
	}
	return m
}

// clear empties the queue and returns what was in it.
func (q *queue) clear() []*Msg {
	rest := q.items[q.head:]
	q.items, q.head = nil, 0
	return rest
}
