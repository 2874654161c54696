package embed

import (
	"context"
	"errors"
	"net"
	"strconv"
	"syscall"

	"github.com/signalmesh/signalmesh/pkg/fault"
)

// portsToTry is how far the search for a free port goes.
const portsToTry = 100

// Listen opens a TCP listener on host and port, or on the next free port of the hundred
// that follow. A port of 0 or [RandomPort] means any free port.
//
// The error is fault.Conflict when all of them are taken.
func Listen(ctx context.Context, host string, port int) (net.Listener, error) {
	l, err := ListenOn(ctx, host, port)
	for next := port + 1; port > 0 && fault.Is(err, fault.Conflict); next++ {
		if next > 65535 || next > port+portsToTry {
			return nil, fault.Newf(fault.Conflict, "no free port in %d-%d on %s", port, next-1, host)
		}
		l, err = ListenOn(ctx, host, next)
	}
	return l, err
}

// ListenOn opens a TCP listener on exactly that port; 0 or [RandomPort] means any free one.
//
// Errors are fault.Conflict for a port in use, Denied for one that needs privileges,
// Invalid for an address that this host does not have, else Unavailable.
func ListenOn(ctx context.Context, host string, port int) (net.Listener, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(max(port, 0))))
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, portTaken(host, port)
	case errors.Is(err, syscall.EACCES):
		return nil, fault.Newf(fault.Denied, "listen on port %d: %w", port, err)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return nil, fault.Newf(fault.Invalid, "listen on %s: %w", host, err)
	case err != nil:
		return nil, fault.Newf(fault.Unavailable, "listen: %w", err)
	}
	return l, nil
}

func portTaken(host string, port int) error {
	return fault.Hint(
		fault.Newf(fault.Conflict, "port %d on %s is in use", port, host),
		"stop the other process, or choose another port")
}
