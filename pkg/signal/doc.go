// Package signal is the unit that travels through the mesh: one CloudEvents 1.0 event.
package signal
