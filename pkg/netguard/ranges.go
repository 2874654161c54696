package netguard

import "net/netip"

// A block is a range of addresses that are not public, with the words an error uses.
type block struct {
	prefix netip.Prefix
	kind   string
}

// blocks4 is the IANA special-purpose registry for IPv4, and the one metadata address
// that lies in public space. The first match names the kind.
var blocks4 = []block{
	{netip.MustParsePrefix("0.0.0.0/8"), "an unspecified"},
	{netip.MustParsePrefix("127.0.0.0/8"), "a loopback"},
	{netip.MustParsePrefix("169.254.169.254/32"), "a cloud metadata"},
	{netip.MustParsePrefix("169.254.0.0/16"), "a link-local"},
	{netip.MustParsePrefix("168.63.129.16/32"), "a cloud metadata"},
	{netip.MustParsePrefix("100.100.100.200/32"), "a cloud metadata"},
	{netip.MustParsePrefix("100.64.0.0/10"), "a carrier-grade NAT"},
	{netip.MustParsePrefix("10.0.0.0/8"), "a private"},
	{netip.MustParsePrefix("172.16.0.0/12"), "a private"},
	{netip.MustParsePrefix("192.168.0.0/16"), "a private"},
	{netip.MustParsePrefix("192.0.0.0/24"), "a reserved"},
	{netip.MustParsePrefix("192.0.2.0/24"), "a documentation"},
	{netip.MustParsePrefix("198.51.100.0/24"), "a documentation"},
	{netip.MustParsePrefix("203.0.113.0/24"), "a documentation"},
	{netip.MustParsePrefix("192.88.99.0/24"), "a relay"},
	{netip.MustParsePrefix("198.18.0.0/15"), "a benchmarking"},
	{netip.MustParsePrefix("224.0.0.0/4"), "a multicast"},
	{netip.MustParsePrefix("240.0.0.0/4"), "a reserved"},
}

// blocks6 names kinds of IPv6 addresses; what lies outside global6 is refused even when
// no block names it.
var blocks6 = []block{
	{netip.MustParsePrefix("::/128"), "an unspecified"},
	{netip.MustParsePrefix("::1/128"), "a loopback"},
	{netip.MustParsePrefix("fd00:ec2::254/128"), "a cloud metadata"},
	{netip.MustParsePrefix("fd20:ce::254/128"), "a cloud metadata"},
	{netip.MustParsePrefix("fc00::/7"), "a private"},
	{netip.MustParsePrefix("fe80::/10"), "a link-local"},
	{netip.MustParsePrefix("ff00::/8"), "a multicast"},
	{netip.MustParsePrefix("2001::/23"), "a reserved"}, // Teredo, ORCHID and other protocol assignments
	{netip.MustParsePrefix("2001:db8::/32"), "a documentation"},
	{netip.MustParsePrefix("3fff::/20"), "a documentation"},
	{netip.MustParsePrefix("2002::/16"), "a relay"}, // 6to4 embeds an IPv4 address
}

var (
	global6 = netip.MustParsePrefix("2000::/3")
	nat64   = netip.MustParsePrefix("64:ff9b::/96")
)

// refusal reports why the address is not public, or "". a has no zone and is unmapped.
func refusal(a netip.Addr) string {
	switch {
	case !a.IsValid():
		return "an invalid"
	case a.Is4():
		return kindIn(blocks4, a)
	case nat64.Contains(a): // the network translates it to the IPv4 address in its last four bytes
		b := a.As16()
		return kindIn(blocks4, netip.AddrFrom4([4]byte(b[12:])))
	}
	if kind := kindIn(blocks6, a); kind != "" || global6.Contains(a) {
		return kind
	}
	return "a reserved"
}

func kindIn(blocks []block, a netip.Addr) string {
	for _, b := range blocks {
		if b.prefix.Contains(a) {
			return b.kind
		}
	}
	return ""
}
