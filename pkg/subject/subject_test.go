package subject_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/signal"
	"github.com/signalmesh/signalmesh/pkg/subject"
)

func TestNewSpace(t *testing.T) {
	t.Parallel()
	for _, prefix := range []string{"sig", "", "p", "tenant9", "abcdefghijklmnop"} {
		sp, err := subject.NewSpace(prefix)
		if err != nil {
			t.Errorf("NewSpace(%q) = %v, want no error", prefix, err)
		}
		if want := prefix; sp.Prefix() != want && (want != "" || sp.Prefix() != "sig") {
			t.Errorf("NewSpace(%q).Prefix() = %q", prefix, sp.Prefix())
		}
	}
	if sp, _ := subject.NewSpace("sig"); sp != (subject.Space{}) {
		t.Error("NewSpace(sig) is not the zero Space")
	}
	for _, prefix := range []string{"Sig", "9a", "a.b", "a-b", "a_b", "a b", "kv", "obj", "abcdefghijklmnopq", "*", "$js", "ä"} {
		if _, err := subject.NewSpace(prefix); !fault.Is(err, fault.Invalid) {
			t.Errorf("NewSpace(%q) = %v, want an error with the code invalid", prefix, err)
		}
	}
}

func TestSignal(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ typ, want string }{
		{"order.created", "sig.shop.order.created"},
		{"a", "sig.shop.a"},
		{"A_b-9.Z", "sig.shop.A_b-9.Z"},
		{"com.github/push v1", "sig.shop.com.github=2Fpush=20v1"},
		{"a=b", "sig.shop.a=3Db"},
		{"日本.x", "sig.shop.=E6=97=A5=E6=9C=AC.x"},
		{"$SYS.x", "sig.shop.=24SYS.x"},
		// Wildcards and what would be dropped or misread travel escaped.
		{"a.*", "sig.shop.a.=2A"},
		{">", "sig.shop.=3E"},
		{"50% off\"'", "sig.shop.50=25=20off=22=27"},
	} {
		got, err := subject.Space{}.Signal("shop", c.typ)
		if err != nil || got != c.want {
			t.Errorf("Signal(shop, %q) = %q, %v, want %q", c.typ, got, err, c.want)
		}
		bus, typ, err := subject.Space{}.Parse(c.want)
		if err != nil || bus != "shop" || typ != c.typ {
			t.Errorf("Parse(%q) = %q, %q, %v, want shop, %q", c.want, bus, typ, err, c.typ)
		}
	}
}

// TestRefusedTypes holds what a server would take and then lose, or choke on: notes in
// pkg/embed's tests of the same traps.
func TestRefusedTypes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		typ  string
		code fault.Code
	}{
		{"", fault.Invalid},
		{".", fault.Invalid},
		{".a", fault.Invalid},
		{"a.", fault.Invalid},
		{"a..b", fault.Invalid},
		{"a\x7fb", fault.Invalid}, // acknowledged by the server and found by no filter
		{"a\x00", fault.Invalid},
		{"a\nb", fault.Invalid},
		{"a\tb", fault.Invalid},
		{"a\u0085b", fault.Invalid},
		{"a\ufdd0", fault.Invalid},
		{"a\U0001ffff", fault.Invalid},
		{"a\xff", fault.Invalid},
		{strings.Repeat("a", 65), fault.TooLarge},
		{strings.Repeat("a.", 16) + "a", fault.TooLarge},
		{strings.Repeat("a", 60) + strings.Repeat("."+strings.Repeat("a", 60), 4), fault.TooLarge},
		{strings.Repeat("a", 5000), fault.TooLarge}, // would close the connection for good
	} {
		if s, err := (subject.Space{}).Signal("shop", c.typ); fault.CodeOf(err) != c.code || s != "" {
			t.Errorf("Signal(shop, %.70q) = %q, %v, want the code %s", c.typ, s, err, c.code)
		}
	}
}

// TestSubjectsAreShort finds the longest subject there can be.
func TestSubjectsAreShort(t *testing.T) {
	t.Parallel()
	sp, err := subject.NewSpace("abcdefghijklmnop")
	if err != nil {
		t.Fatal(err)
	}
	seg := strings.Repeat("ä", subject.MaxSegment/2)
	typ := strings.Join([]string{seg, seg, seg, seg[:len(seg)-4]}, ".")
	s, err := sp.Signal(strings.Repeat("b", 64), typ)
	if err != nil || len(s) > 1024 {
		t.Errorf("Signal of a type of %d bytes has %d bytes (%v), want at most 1024", len(typ), len(s), err)
	}
}

func TestRefusedSubjects(t *testing.T) {
	t.Parallel()
	for _, s := range []string{
		"", "sig", "sig.", "sig.shop", "sig.shop.", "sig..a", "other.shop.a", "sig-dlq.shop.a", "sig.a b.x",
		"sig.shop.a..b", "sig.shop.a.", "sig.shop..a",
		"sig.shop.*", "sig.shop.>", "sig.shop.a/b", "sig.shop.日本", "sig.shop.a b", "sig.shop.a\x7f",
		"sig.shop.=", "sig.shop.=2", "sig.shop.=G0", "sig.shop.=2f", "sig.shop.=e6=97=a5", // lower case
		"sig.shop.=41", "sig.shop.=2E", "sig.shop.=5F", // escapes of what needs none
		"sig.shop.=00", "sig.shop.=7F", "sig.shop.=E6=97", "sig.shop.=FF", // no types
		"sig.x_DLQ.a", "sig." + strings.Repeat("b", 65) + ".a", "sig.shop." + strings.Repeat("a.", 3000) + "a",
	} {
		bus, typ, err := subject.Space{}.Parse(s)
		if err == nil || bus != "" || typ != "" {
			t.Errorf("Parse(%.70q) = %q, %q, %v, want an error alone", s, bus, typ, err)
		}
		if code := fault.CodeOf(err); code != fault.Invalid && code != fault.TooLarge {
			t.Errorf("Parse(%.70q) has the code %q", s, code)
		}
		if err != nil && len(err.Error()) > 500 {
			t.Errorf("Parse(%.70q) says so in %d bytes", s, len(err.Error()))
		}
	}
}

// TestTypesAreThoseOfSignals checks that what is a valid type of a signal has a subject,
// and nothing else.
func TestTypesAreThoseOfSignals(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		typ := drawAnyType(t)
		_, err := subject.Space{}.Signal("b", typ)
		s := &signal.Signal{ID: "1", Source: "/x", Type: typ, Time: time.Unix(0, 0)}
		want := s.Validate()
		if (err == nil) != (want == nil) {
			t.Fatalf("Signal(b, %q) = %v, Validate() = %v", typ, err, want)
		}
	})
}

func FuzzEscape(f *testing.F) {
	for _, typ := range []string{"a.b", "com.github/push v1", "=", "=3D", "日本", "a.*.>", "\x7f", "a..b", "%41"} {
		f.Add(typ)
	}
	f.Fuzz(func(t *testing.T, typ string) {
		s, err := subject.Space{}.Signal("b", typ)
		if err != nil {
			return
		}
		if !regexp.MustCompile(`^sig\.b(\.([A-Za-z0-9_-]|=[0-9A-F]{2})+)+$`).MatchString(s) {
			t.Fatalf("Signal(b, %q) = %q, which holds more than words and escapes", typ, s)
		}
		if strings.Count(s, ".") != strings.Count(typ, ".")+2 {
			t.Fatalf("Signal(b, %q) = %q, which has another depth", typ, s)
		}
		bus, back, err := subject.Space{}.Parse(s)
		if err != nil || bus != "b" || back != typ {
			t.Fatalf("Parse(Signal(b, %q)) = %q, %q, %v", typ, bus, back, err)
		}
	})
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"sig.b.a", "sig.b.=2F", "sig.b.=2f", "sig.b.=41", "sig..a", "sig.b.", "sig.b.=E6=97=A5"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		bus, typ, err := subject.Space{}.Parse(s)
		if err != nil {
			return
		}
		if !utf8.ValidString(typ) {
			t.Fatalf("Parse(%q) gives the type %q, which is not UTF-8", s, typ)
		}
		if again, err := (subject.Space{}).Signal(bus, typ); err != nil || again != s {
			t.Fatalf("Signal(Parse(%q)) = %q, %v: a type has more than one subject", s, again, err)
		}
	})
}

func TestCheckName(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"a", "shop", "A_b-9", strings.Repeat("x", 64), "_DLQx", "route_DLQx"} {
		if err := subject.CheckName("bus", name); err != nil {
			t.Errorf("CheckName(bus, %q) = %v, want no error", name, err)
		}
	}
	for _, name := range []string{"", "a.b", "a b", "a*", ">", "a/b", "ä", "a\x00", strings.Repeat("x", 65), "x_DLQ", "x_LATER", "x_SNAPSHOTS", "x_JOURNAL"} {
		if err := subject.CheckName("bus", name); !fault.Is(err, fault.Invalid) || !strings.HasPrefix(err.Error(), "bus name ") {
			t.Errorf("CheckName(bus, %q) = %v, want an error with the code invalid that names the bus", name, err)
		}
	}
	if err := subject.CheckName("route", "x_DLQ"); err != nil {
		t.Errorf("CheckName(route, x_DLQ) = %v, want no error: only a bus has streams", err)
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	p, err := subject.NewSpace("p")
	if err != nil {
		t.Fatal(err)
	}
	var sig subject.Space
	for _, c := range []struct{ got, want string }{
		{sig.All("default"), "sig.default.>"},
		{sig.Stream("default"), "SIG_default"},
		{sig.DeadStream("default"), "SIG_default_DLQ"},
		{sig.LaterStream("default"), "SIG_default_LATER"},
		{sig.JournalBucket("default"), "SIG_default_JOURNAL"},
		{sig.JournalStream("default"), "KV_SIG_default_JOURNAL"},
		{sig.RoutesBucket(), "SIGMESH_ROUTES"},
		{sig.NodesBucket(), "SIGMESH_NODES"},
		{sig.DeadLetter("shop", "route", "big-orders"), "sig-dlq.shop.route.big-orders"},
		{sig.AllDead("shop"), "sig-dlq.shop.>"},
		{sig.SnapshotStream("shop"), "SIG_shop_SNAPSHOTS"},
		{sig.Snapshot("shop", "monday"), "sig-snap.shop.info.monday"},
		{sig.SnapshotData("shop", "01"), "sig-snap.shop.data.01"},
		{sig.Later("shop", "subscription", "billing"), "sig-later.shop.run.subscription.billing"},
		{sig.Scheduled("shop", "k1"), "sig-later.shop.at.k1"},
		{sig.AllLater("shop"), "sig-later.shop.>"},
		{sig.Delayed("shop", "i", subject.MsgID("/s", "i")), "sig-later.shop.at.signal." + subject.Key("i") + "." + subject.MsgID("/s", "i")},
		{sig.DelayedID("shop", "i"), "sig-later.shop.at.signal." + subject.Key("i") + ".*"},
		{sig.AllDelayed("shop"), "sig-later.shop.at.signal.>"},
		{sig.Schedule("shop", "nightly"), "sig-later.shop.at.schedule.nightly"},
		{sig.AllSchedules("shop"), "sig-later.shop.at.schedule.*"},
		{sig.Fired("shop", "nightly"), "sig-later.shop.at.fired.nightly"},
		{sig.Cancelled("shop", "k1"), "sig-later.shop.at.cancelled.k1"},
		{sig.Named("compensation_manager"), "sig-named.compensation_manager"},
		{p.All("shop"), "p.shop.>"},
		{p.Stream("shop"), "P_shop"},
		{p.JournalBucket("shop"), "P_shop_JOURNAL"},
		{p.RoutesBucket(), "PMESH_ROUTES"},
		{p.DeadLetter("shop", "signal", "x"), "p-dlq.shop.signal.x"},
		{p.Named("n"), "p-named.n"},
		{sig.Named("a.b"), "sig-named." + subject.Key("a.b")},
		{sig.DeadLetter("shop", "signal", ""), "sig-dlq.shop.signal." + subject.Key("")},
		{sig.Scheduled("shop", ">"), "sig-later.shop.at." + subject.Key(">")},
	} {
		if c.got != c.want {
			t.Errorf("name %q, want %q", c.got, c.want)
		}
	}
}

func TestBusOf(t *testing.T) {
	t.Parallel()
	for stream, want := range map[string]string{
		"SIG_shop": "shop", "SIG_a_b": "a_b", "SIG_shop_DLQ": "", "SIG_shop_LATER": "", "SIG_shop_SNAPSHOTS": "", "KV_SIG_shop_JOURNAL": "",
		"KV_SIGMESH_ROUTES": "", "SIG_": "", "OTHER": "", "sig_shop": "",
	} {
		if bus, ok := (subject.Space{}).BusOf(stream); bus != want || ok != (want != "") {
			t.Errorf("BusOf(%s) = %q, %t, want %q", stream, bus, ok, want)
		}
	}
}

// TestNamesDoNotCollide draws two owners of names and looks for one that both would use.
func TestNamesDoNotCollide(t *testing.T) {
	t.Parallel()
	drawn := func(t *rapid.T, label string) (string, []string) {
		prefix := rapid.SampledFrom([]string{"sig", "sigmesh", "s", "p", "pmesh", "kvx"}).Draw(t, label+" prefix")
		bus := rapid.StringMatching(`[AS](_|MESH|ROUTES|SIG|DLQ|LATER|JOURNAL|KV|P){0,4}`).Draw(t, label+" bus")
		sp, err := subject.NewSpace(prefix)
		if err != nil || subject.CheckName("bus", bus) != nil {
			return "", nil
		}
		return prefix + "/" + bus, []string{
			sp.Stream(bus), sp.DeadStream(bus), sp.LaterStream(bus), sp.JournalStream(bus),
			sp.All(bus), sp.AllDead(bus), sp.AllLater(bus),
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		a, as := drawn(t, "first")
		b, bs := drawn(t, "second")
		if a == b {
			return
		}
		for _, x := range as {
			for _, y := range bs {
				if x == y {
					t.Fatalf("%s and %s both use %s", a, b, x)
				}
			}
		}
	})
}

func TestKeys(t *testing.T) {
	t.Parallel()
	valid := regexp.MustCompile(`^[A-Za-z0-9_-]{22}$`) // as a token of a subject, a KV key, a header value
	seen := map[string]string{}
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.String().Draw(t, "text")
		key := subject.Key(text)
		if !valid.MatchString(key) || key != subject.Key(text) {
			t.Fatalf("Key(%q) = %q", text, key)
		}
		if other, ok := seen[key]; ok && other != text {
			t.Fatalf("Key(%q) = Key(%q)", text, other)
		}
		seen[key] = text
	})
	// They are stored: another form would make every repeat a new signal.
	if got, want := subject.MsgID("/a", "b"), "wObdZH2vX6JZIIVeIIy2Iw"; got != want {
		t.Errorf("MsgID(/a, b) = %s, want %s", got, want)
	}
	if got, want := subject.Key(""), "47DEQpj8HBSa-_TImW-5JA"; got != want {
		t.Errorf("Key() = %s, want %s", got, want)
	}
	for _, pair := range [][2]string{{"/ab", ""}, {"/", "ab"}, {"/b", "a"}, {"b", "/a"}, {"/a", "B"}} {
		if subject.MsgID("/a", "b") == subject.MsgID(pair[0], pair[1]) {
			t.Errorf("MsgID(/a, b) = MsgID(%s, %s)", pair[0], pair[1])
		}
	}
}

func TestSignalRefusesBusNames(t *testing.T) {
	t.Parallel()
	for _, bus := range []string{"", "a.b", "*", ">", "a b", "x_DLQ"} {
		if _, err := (subject.Space{}).Signal(bus, "a"); !fault.Is(err, fault.Invalid) {
			t.Errorf("Signal(%q, a) = %v, want an error with the code invalid", bus, err)
		}
	}
}

func ExampleSpace_Signal() {
	var sp subject.Space
	s, _ := sp.Signal("shop", "com.github/push v1")
	fmt.Println(s)

	_, typ, _ := sp.Parse(s)
	fmt.Println(typ)

	_, err := sp.Signal("shop", "order..created")
	fmt.Println(err)
	// Output:
	// sig.shop.com.github=2Fpush=20v1
	// com.github/push v1
	// type "order..created": segment 2 is empty
}

// drawAnyType draws what is nearly a type.
func drawAnyType(t *rapid.T) string {
	seg := rapid.OneOf(
		rapid.StringMatching(`[a-zA-Z0-9_-]{1,8}`),
		rapid.StringN(0, 10, 70),
		rapid.SampledFrom([]string{"", "*", ">", "=", "\x7f", "日本", "a b", "\xff", "\ufffe", "\ufffd", "\u0085", strings.Repeat("x", 64), strings.Repeat("x", 65)}),
	)
	return strings.Join(rapid.SliceOfN(seg, 1, rapid.SampledFrom([]int{1, 3, 17}).Draw(t, "most")).Draw(t, "type"), ".")
}
