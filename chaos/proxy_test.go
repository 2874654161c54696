//go:build chaos

package chaos_test

import (
	"io"
	"net"
	"regexp"
	"sync"
	"testing"
	"time"
)

// A wall stands between the cluster ports of nodes: one proxy in front of each, which the
// others take for the node. It can cut a node off from all others, in both directions,
// while its clients still reach it.
type wall struct {
	mu    sync.Mutex
	off   string             // the node that is cut off
	links map[*link]struct{} // open connections
}

// A link is a connection from one node's server to another's.
type link struct {
	from, to      string
	dialed, taken net.Conn
}

func newWall() *wall { return &wall{links: map[*link]struct{}{}} }

// between puts a proxy in front of a node and returns its address.
func (w *wall) between(t *testing.T) func(name, target string) string {
	return func(name, target string) string {
		t.Helper()
		l, err := net.Listen("tcp", address(port(t)))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() })
		go func() { // ends when the listener is closed
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go w.pass(&link{to: name, taken: c}, target)
			}
		}()
		return l.Addr().String()
	}
}

// who finds the name of the server that dialed in what it says first.
var who = regexp.MustCompile(`"server_name":"([^"]+)"`)

// pass copies in both directions until one ends. It learns who dialed by listening.
func (w *wall) pass(l *link, target string) {
	defer l.taken.Close()
	var err error
	if l.dialed, err = net.DialTimeout("tcp", target, time.Second); err != nil {
		return
	}
	defer l.dialed.Close()
	if !w.add(l, "") {
		return
	}
	defer w.remove(l)
	go func() { // ends with the connection
		defer l.taken.Close()
		_, _ = io.Copy(l.taken, l.dialed)
	}()
	var heard []byte
	buf := make([]byte, 32<<10)
	for {
		n, err := l.taken.Read(buf)
		if l.from == "" {
			heard = append(heard, buf[:n]...)
			if m := who.FindSubmatch(heard); m != nil && !w.add(l, string(m[1])) {
				return
			}
		}
		if n > 0 {
			if _, werr := l.dialed.Write(buf[:n]); werr != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// add knows a link, or who it is from. It reports false when that is cut off.
func (w *wall) add(l *link, from string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	l.from = from
	w.links[l] = struct{}{}
	return !w.blocks(l)
}

func (w *wall) remove(l *link) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.links, l)
}

func (w *wall) blocks(l *link) bool { return w.off != "" && (l.to == w.off || l.from == w.off) }

// cut takes a node off the others; "" heals.
func (w *wall) cut(name string) (links int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.off = name
	for l := range w.links {
		if w.blocks(l) {
			links++
			_ = l.taken.Close()
			_ = l.dialed.Close()
		}
	}
	return links
}
