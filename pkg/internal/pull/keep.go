package pull

import "time"

// keep tells the server about what is held, until nothing is any more.
func (l *Loop) keep() {
	t := time.NewTicker(max(l.cfg.KeepAlive/2, time.Millisecond))
	defer t.Stop()
	for {
		select {
		case <-l.idle:
			return
		case <-t.C:
		}
		if l.nc.IsClosed() {
			return
		}
		for _, m := range l.aged() {
			_ = m.InProgress() // settled meanwhile, or no connection: both are fine
		}
	}
}

// aged returns the held messages of which the server has not heard for long enough, and
// takes them as touched.
func (l *Loop) aged() []*Msg {
	l.mu.Lock()
	defer l.mu.Unlock()
	var old []*Msg
	now := time.Now()
	for m := range l.held {
		if now.Sub(m.touched) >= l.cfg.KeepAlive/2 {
			m.touched = now
			old = append(old, m)
		}
	}
	return old
}

// release lets go of a settled message.
func (l *Loop) release(m *Msg) {
	if l.cfg.KeepAlive <= 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, ok := l.held[m]; !ok {
		return
	}
	delete(l.held, m)
	if l.ended && len(l.held) == 0 {
		close(l.idle)
	}
}
