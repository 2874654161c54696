package netguard_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/netguard"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestCheck(t *testing.T) {
	t.Parallel()
	refused := []string{
		"127.0.0.1", "127.255.255.254", "::1", "::ffff:127.0.0.1", "::127.0.0.1",
		"0.0.0.0", "0.1.2.3", "::", "10.0.0.1", "10.255.255.255", "172.16.0.1", "172.31.255.255", "192.168.1.1",
		"::ffff:10.0.0.1", "fc00::1", "fdff::1", "169.254.169.254", "169.254.0.1", "fe80::1", "fe80::1%eth0", "fec0::1",
		"100.64.0.1", "100.127.255.255", "100.100.100.200", "168.63.129.16", "fd00:ec2::254",
		"64:ff9b::127.0.0.1", "64:ff9b::a00:1", "64:ff9b::169.254.169.254", "64:ff9b:1::1", "2002:7f00:1::1",
		"224.0.0.1", "239.1.1.1", "ff02::1", "240.0.0.1", "255.255.255.255", "192.0.0.192", "198.18.0.1",
		"192.0.2.1", "198.51.100.1", "203.0.113.1", "2001:db8::1", "2001::1", "100::1", "5f00::1", "4000::1",
	}
	for _, guard := range []*netguard.Guard{nil, {}, netguard.New()} {
		for _, text := range refused {
			err := guard.Check(netip.MustParseAddr(text))
			if !fault.Is(err, fault.Denied) || !fault.IsPermanent(err) || !strings.Contains(fault.HintOf(err), "network.allow") {
				t.Errorf("Check(%s) = %v (hint %q), want a permanent Denied with a hint", text, err, fault.HintOf(err))
			}
		}
		for _, text := range []string{"8.8.8.8", "::ffff:8.8.8.8", "1.1.1.1", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "64:ff9b::8.8.8.8"} {
			if err := guard.Check(netip.MustParseAddr(text)); err != nil {
				t.Errorf("Check(%s) = %v, want nil", text, err)
			}
		}
	}
	if err := netguard.New().Check(netip.Addr{}); !fault.Is(err, fault.Denied) {
		t.Errorf("Check(zero address) = %v, want Denied", err)
	}
}

func TestAllow(t *testing.T) {
	t.Parallel()
	g := netguard.New(netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("10.1.2.3/16"),
		netip.MustParsePrefix("::ffff:192.168.0.0/120"), netip.MustParsePrefix("fe80::/10"))
	for text, want := range map[string]bool{
		"127.0.0.1": true, "::ffff:127.0.0.9": true, "10.1.9.9": true, "192.168.0.7": true, "fe80::1%lo": true,
		"10.2.0.1": false, "192.168.1.1": false, "::1": false,
		"64:ff9b::7f00:1": false, // another network's loopback, not ours
	} {
		if err := g.Check(netip.MustParseAddr(text)); (err == nil) != want {
			t.Errorf("Check(%s) = %v, want allowed = %t", text, err, want)
		}
	}
}

func TestCheckURL(t *testing.T) {
	t.Parallel()
	tests := []struct {
		url   string
		allow string
		want  fault.Code
	}{
		{url: "https://example.com/hook"},
		{url: "http://8.8.8.8:8080"},
		{url: "ftp://example.com", want: fault.Invalid},
		{url: "file:///etc/passwd", want: fault.Invalid},
		{url: "example.com/x", want: fault.Invalid},
		{url: "http://:80/", want: fault.Invalid},
		{url: "https://user:hunter2@example.com/", want: fault.Invalid},
		{url: "http://127.0.0.1/", want: fault.Denied},
		{url: "http://[::1]:9/", want: fault.Denied},
		{url: "http://[::ffff:127.0.0.1]/", want: fault.Denied},
		{url: "http://LOCALHOST./", want: fault.Denied},
		{url: "http://db.localhost/", want: fault.Denied},
		{url: "http://localhost/", allow: "127.0.0.0/8"},
		{url: "http://localhost/", allow: "::1/128"},
	}
	for _, tt := range tests {
		u, err := url.Parse(tt.url)
		if err != nil {
			t.Fatalf("Parse(%s) = %v", tt.url, err)
		}
		g := netguard.New()
		if tt.allow != "" {
			g = netguard.New(netip.MustParsePrefix(tt.allow))
		}
		err = g.CheckURL(u)
		if got := fault.CodeOf(err); got != tt.want {
			t.Errorf("CheckURL(%s) = %v, want code %q", tt.url, err, tt.want)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("CheckURL(%s) repeats the password", tt.url)
		}
	}
	if err := netguard.New().CheckURL(nil); !fault.Is(err, fault.Invalid) {
		t.Errorf("CheckURL(nil) = %v, want Invalid", err)
	}
}

// What a name resolves to is judged when it is dialed, whatever the URL looked like.
func TestDialRefusesResolvedAddress(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the request arrived") }))
	defer srv.Close()
	port := srv.URL[strings.LastIndex(srv.URL, ":")+1:]
	for _, host := range []string{"localhost", "127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "127.1", "2130706433", ""} {
		conn, err := netguard.New().DialContext(t.Context(), "tcp", host+":"+port)
		if err == nil {
			conn.Close()
			t.Errorf("DialContext(%q) connected", host)
		}
		if host == "localhost" && (!fault.Is(err, fault.Denied) || !fault.IsPermanent(err)) {
			t.Errorf("DialContext(localhost) = %v, want a permanent Denied", err)
		}
	}
	if _, err := netguard.New().DialContext(t.Context(), "unix", "/tmp/x.sock"); !fault.Is(err, fault.Denied) {
		t.Errorf("DialContext(unix) = %v, want Denied", err)
	}
}

func TestClientCodes(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://169.254.169.254/latest/meta-data/", http.StatusFound)
	}))
	defer srv.Close()
	get := func(c *http.Client) (*http.Response, error) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, srv.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		return c.Do(req)
	}
	refusing := netguard.New().Client()
	if resp, err := get(refusing); err == nil {
		resp.Body.Close()
		t.Error("Do(loopback) succeeded without an allow list")
	} else if !fault.Is(err, fault.Denied) {
		t.Errorf("Do(loopback) = %v, want Denied", err)
	}
	allowing := netguard.New(netip.MustParsePrefix("127.0.0.0/8")).Client()
	defer allowing.CloseIdleConnections()
	resp, err := get(allowing)
	if err != nil {
		t.Fatalf("Do(allowed loopback) = %v", err)
	}
	_, err = io.Copy(io.Discard, resp.Body)
	if err = errors.Join(err, resp.Body.Close()); err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != http.StatusFound {
		t.Errorf("status = %d, want 302: redirects are not followed", resp.StatusCode)
	}
}

// The environment's proxy would see every request and dial for us, so it is not used.
func TestTransportIgnoresProxy(t *testing.T) {
	t.Setenv("HTTP_PROXY", "http://192.0.2.1:3128")
	t.Setenv("HTTPS_PROXY", "http://192.0.2.1:3128")
	if netguard.New().Transport().Proxy != nil {
		t.Error("Transport().Proxy is set, want none")
	}
}
