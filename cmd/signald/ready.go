package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/node"
)

// readyFile is the path of the file that exists while the node is ready, for scripts and
// tests to wait for; "" is none.
type readyFile string

// address is what the file holds.
type address struct {
	NATS string `json:"nats"`
	HTTP string `json:"http"`
	PID  int    `json:"pid"`
}

// clear removes what a node that was killed has left, and finds out before the start
// whether the file can be written at all.
func (f readyFile) clear() error {
	if f == "" {
		return nil
	}
	if info, err := os.Stat(filepath.Dir(string(f))); err != nil || !info.IsDir() {
		return fault.Newf(fault.Invalid, "ready file %s: there is no such folder", string(f))
	}
	if err := os.Remove(string(f)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("ready file: %w", err)
	}
	return nil
}

// write puts the addresses of the node there in one step, so that whoever waits for the
// file never reads half of it.
func (f readyFile) write(n *node.Node) error {
	if f == "" {
		return nil
	}
	doc, err := json.Marshal(address{NATS: n.NATSURL(), HTTP: n.HTTPURL(), PID: os.Getpid()})
	if err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(string(f)), ".ready-*")
	if err != nil {
		return fmt.Errorf("ready file: %w", err)
	}
	_, err = tmp.Write(append(doc, '\n'))
	if err = errors.Join(err, tmp.Close()); err == nil {
		err = os.Rename(tmp.Name(), string(f))
	}
	if err != nil {
		_ = os.Remove(tmp.Name()) // what is wrong is told already
		return fmt.Errorf("ready file: %w", err)
	}
	return nil
}

// withdraw removes the file, unless another node has written it since.
func (f readyFile) withdraw() error {
	if f == "" {
		return nil
	}
	text, err := os.ReadFile(string(f))
	var a address
	if err != nil || json.Unmarshal(text, &a) != nil || a.PID != os.Getpid() {
		return nil //nolint:nilerr // never written, or not ours
	}
	return os.Remove(string(f))
}
