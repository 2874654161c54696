package netguard

import (
	"net/netip"
	"net/url"
	"strings"

	"github.com/signalmesh/signalmesh/pkg/fault"
)

// CheckURL says whether u is a URL that outgoing HTTP may use: scheme http or https, a
// host, no user name or password (they would be logged; credentials have settings of
// their own), and a host that is not already known to be refused. It resolves nothing;
// a name is judged again when it is dialed. Errors have the code Invalid for a URL that
// makes no sense and Denied for a refused host; both are permanent, and neither repeats
// more of the URL than its host.
func (g *Guard) CheckURL(u *url.URL) error {
	switch {
	case u == nil || u.Host == "" || u.Hostname() == "":
		return invalid("url has no host")
	case u.Scheme != "http" && u.Scheme != "https":
		return invalid("url scheme %q is not http or https", u.Scheme)
	case u.User != nil:
		return invalid("url of host %s holds a user name or password", u.Hostname())
	}
	return g.checkHost(u.Hostname())
}

// checkHost refuses what needs no resolver to be known: literal addresses and the names
// that always mean this machine.
func (g *Guard) checkHost(host string) error {
	if a, err := netip.ParseAddr(host); err == nil {
		return g.Check(a)
	}
	name := strings.ToLower(strings.TrimSuffix(host, "."))
	if name != "localhost" && !strings.HasSuffix(name, ".localhost") {
		return nil
	}
	v4, v6 := g.Check(netip.AddrFrom4([4]byte{127, 0, 0, 1})), g.Check(netip.IPv6Loopback())
	if v4 == nil || v6 == nil {
		return nil
	}
	return v4
}

func invalid(format string, args ...any) error {
	return fault.Permanent(fault.Newf(fault.Invalid, format, args...))
}
