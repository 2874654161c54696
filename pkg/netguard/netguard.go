// Package netguard keeps outgoing connections on the public Internet unless the
// operator allowed more.
//
// It promises that a program which makes its connections through a [Guard] cannot be
// talked into reaching the machine it runs on, the network around it, or a cloud's
// metadata service. What is judged is the address that is really dialed, after the name
// was resolved, so a name that resolves to a private address, or that changes its mind
// between two look-ups, gains nothing. HTTP made here follows no redirects and takes no
// proxy from the environment.
package netguard

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/signalmesh/signalmesh/pkg/fault"
)

// A Guard decides which addresses may be connected to: public ones, and those of the
// prefixes it was made with. The zero Guard and a nil one allow public addresses only.
// A Guard never changes and is safe for concurrent use.
type Guard struct {
	allow []netip.Prefix
}

// New makes a guard with exceptions: addresses in allow may be reached although they are
// not public. An IPv4 prefix covers the IPv4-mapped form of its addresses too.
func New(allow ...netip.Prefix) *Guard {
	g := &Guard{allow: make([]netip.Prefix, 0, len(allow))}
	for _, p := range allow {
		if p.Addr().Is4In6() && p.Bits() >= 96 {
			p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
		}
		g.allow = append(g.allow, p.Masked())
	}
	return g
}

// Check says whether a may be connected to. The error has the code Denied, is permanent,
// and carries a hint that names the setting to change.
func (g *Guard) Check(a netip.Addr) error {
	a = a.WithZone("").Unmap()
	kind := refusal(a)
	if kind == "" || g.allowed(a) {
		return nil
	}
	err := fault.Permanent(fault.Newf(fault.Denied, "%s is %s address, which outgoing calls may not reach", a, kind))
	if !a.IsValid() {
		return err
	}
	return fault.Hint(err, "if this destination is meant, add %s to network.allow", netip.PrefixFrom(a, a.BitLen()))
}

func (g *Guard) allowed(a netip.Addr) bool {
	return g != nil && slices.ContainsFunc(g.allow, func(p netip.Prefix) bool { return p.Contains(a) })
}

// DialContext connects like [net.Dialer.DialContext] over TCP or UDP, and refuses every
// resolved address that [Guard.Check] refuses before a packet is sent to it.
func (g *Guard) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	d := net.Dialer{Timeout: 30 * time.Second, KeepAlive: 30 * time.Second, ControlContext: g.control}
	return d.DialContext(ctx, network, address)
}

// control runs between resolving and connecting, once for each address that is tried.
func (g *Guard) control(_ context.Context, network, address string, _ syscall.RawConn) error {
	if !strings.HasPrefix(network, "tcp") && !strings.HasPrefix(network, "udp") {
		return fault.Permanent(fault.Newf(fault.Denied, "network %q may not be dialed", network))
	}
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return fault.Permanent(fault.Newf(fault.Denied, "%q is not an address that may be dialed", address))
	}
	return g.Check(ap.Addr())
}

// Transport returns a new HTTP transport that dials through the guard. It uses no proxy,
// asks for no compression (a small body stays small), limits response headers to 64 KiB,
// and keeps up to 64 idle connections per host for 90 seconds. The caller closes its idle
// connections when done.
func (g *Guard) Transport() *http.Transport {
	return &http.Transport{
		DialContext:            g.DialContext,
		ForceAttemptHTTP2:      true,
		DisableCompression:     true,
		MaxIdleConns:           256,
		MaxIdleConnsPerHost:    64,
		MaxResponseHeaderBytes: 64 << 10,
		IdleConnTimeout:        90 * time.Second,
		TLSHandshakeTimeout:    10 * time.Second,
		ExpectContinueTimeout:  time.Second,
	}
}

// Client returns a new HTTP client over [Guard.Transport] that follows no redirects: a
// 3xx answer is returned as it is. It has no timeout of its own; the request's context
// bounds the call.
func (g *Guard) Client() *http.Client {
	return &http.Client{
		Transport:     g.Transport(),
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}
