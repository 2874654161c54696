package pattern_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/internal/vectors"
	"github.com/signalmesh/signalmesh/pkg/pattern"
)

func TestMatchVectors(t *testing.T) {
	t.Parallel()
	for _, v := range vectors.Matches(t) {
		p, err := pattern.Parse(v.Pattern)
		if err != nil {
			t.Errorf("Parse(%s) = %v", v.Pattern, err)
			continue
		}
		if got := p.Match(v.Type); got != v.Want {
			t.Errorf("Parse(%s).Match(%q) = %t, want %t", v.Pattern, v.Type, got, v.Want)
		}
		if got := naive(v.Pattern, v.Type); got != v.Want {
			t.Errorf("the reference matches %s with %q: %t, want %t", v.Pattern, v.Type, got, v.Want)
		}
	}
}

func TestParseErrors(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ text, want string }{
		{"", `pattern "": segment 1 (column 1) is empty`},
		{".", `pattern ".": segment 1 (column 1) is empty`},
		{".a", `pattern ".a": segment 1 (column 1) is empty`},
		{"a.", `pattern "a.": segment 2 (column 3) is empty`},
		{"order..x", `pattern "order..x": segment 2 (column 7) is empty`},
		{"order.>", `pattern "order.>": segment 2 (column 7) has '>': only letters, digits, "_" and "-" are allowed`},
		{"a b", `pattern "a b": segment 1 (column 2) has ' ': only letters, digits, "_" and "-" are allowed`},
		{"a\n", `pattern "a\n": segment 1 (column 2) has '\n': only letters, digits, "_" and "-" are allowed`},
		{"a.b\x00", `pattern "a.b\x00": segment 2 (column 4) has '\x00': only letters, digits, "_" and "-" are allowed`},
		{"日本.**", `pattern "日本.**": segment 1 (column 1) has '日': only letters, digits, "_" and "-" are allowed`},
		{"a.\xff", `pattern "a.\xff": segment 2 (column 3) is not UTF-8`},
		{"or*der", `pattern "or*der": segment 1 (column 3) has a "*" beside other characters: a wildcard is a whole segment, "*" or "**"`},
		{"a.*b", `pattern "a.*b": segment 2 (column 3) has a "*" beside other characters: a wildcard is a whole segment, "*" or "**"`},
		{"a.***", `pattern "a.***": segment 2 (column 3) has a "*" beside other characters: a wildcard is a whole segment, "*" or "**"`},
		{"**.**", `pattern "**.**": segment 2 (column 4) repeats "**": one of them selects the same types`},
		{"a.**.**.b", `pattern "a.**.**.b": segment 3 (column 6) repeats "**": one of them selects the same types`},
	} {
		p, err := pattern.Parse(c.text)
		if err == nil || err.Error() != c.want {
			t.Errorf("Parse(%q) = %v, want %s", c.text, err, c.want)
		}
		if !fault.Is(err, fault.Invalid) {
			t.Errorf("Parse(%q) has the code %q, want %q", c.text, fault.CodeOf(err), fault.Invalid)
		}
		if p != (pattern.Pattern{}) {
			t.Errorf("Parse(%q) = %v beside the error, want the zero Pattern", c.text, p)
		}
	}
}

func TestParseLimits(t *testing.T) {
	t.Parallel()
	most := strings.Repeat("a.", pattern.MaxLength/2-1) + "ab"
	if _, err := pattern.Parse(most); err != nil {
		t.Errorf("Parse(%d bytes) = %v, want no error", len(most), err)
	}
	_, err := pattern.Parse(most + "c")
	if !fault.Is(err, fault.Invalid) {
		t.Errorf("Parse(%d bytes) = %v, want an error with the code %q", len(most)+1, err, fault.Invalid)
	}
	_, err = pattern.Parse(strings.Repeat("世", 1000))
	if err == nil || len(err.Error()) > 300 {
		t.Errorf("Parse(1000 runes) = %v, want a short error", err)
	}
}

func TestMustParse(t *testing.T) {
	t.Parallel()
	defer func() {
		if err, _ := recover().(error); !fault.Is(err, fault.Invalid) {
			t.Errorf("MustParse(a..b) panics with %v, want the error of Parse", err)
		}
	}()
	pattern.MustParse("a..b")
}

func TestPatternIsAValue(t *testing.T) {
	t.Parallel()
	a, b := pattern.MustParse("a.*.**"), pattern.MustParse("a.*.**")
	if a != b {
		t.Error("two patterns of the same text differ")
	}
	if got, want := a.Segments(), []string{"a", "*", "**"}; !slices.Equal(got, want) {
		t.Errorf("Segments() = %q, want %q", got, want)
	}
	if a.IsExact() || a.IsZero() || !pattern.MustParse("a.b").IsExact() {
		t.Error("a.*.** is not exact nor zero, a.b is exact")
	}

	var zero pattern.Pattern
	if zero.Match("") || zero.Match("a") || zero.IsExact() || !zero.IsZero() || zero.Segments() != nil {
		t.Error("the zero Pattern selects something, or is exact")
	}
}

func TestText(t *testing.T) {
	t.Parallel()
	type doc struct {
		On []pattern.Pattern          `json:"on"`
		By map[pattern.Pattern]string `json:"by"`
		No pattern.Pattern            `json:"no"`
	}
	const text = `{"on":["order.**","a"],"by":{"*.x":"y"},"no":""}`
	var d doc
	if err := json.Unmarshal([]byte(text), &d); err != nil {
		t.Fatal(err)
	}
	if b, err := json.Marshal(d); err != nil || string(b) != text {
		t.Errorf("Marshal(Unmarshal(%s)) = %s, %v", text, b, err)
	}
	p := pattern.MustParse("kept")
	if err := p.UnmarshalText([]byte("a..b")); !fault.Is(err, fault.Invalid) || p.String() != "kept" {
		t.Errorf("UnmarshalText(a..b) = %v and leaves %s, want an error and kept", err, p)
	}
}

func TestSpecificity(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int{
		"a.b": 13000, "a.*": 9100, "a.**": 8200, "*.b": 6000, "**.created": 5000, "*.*": 2100, "*": 1000, "**": 0,
		"user.*.created": 17100, "user.**.created": 16200, "user.123.created": 24000, "a.b.*": 20200,
	} {
		if got := pattern.MustParse(text).Specificity(); got != want {
			t.Errorf("Specificity(%s) = %d, want %d", text, got, want)
		}
	}
}

func TestCompare(t *testing.T) {
	t.Parallel()
	order := []string{"a.b.c", "a.b", "a", "a.b.*", "a.b.**", "a.*.c", "a.**.c", "a.*", "a.**", "*.b", "**.created", "*.*", "*", "**", ""}
	for i := range order {
		for j := range order {
			var a, b pattern.Pattern
			if a.UnmarshalText([]byte(order[i])) != nil || b.UnmarshalText([]byte(order[j])) != nil {
				t.Fatalf("%q and %q are not both patterns", order[i], order[j])
			}
			got := pattern.Compare(a, b)
			if (got < 0) != (i < j) || (got > 0) != (i > j) {
				t.Errorf("Compare(%s, %s) = %d, want the sign of %d", a, b, got, i-j)
			}
		}
	}
}

func TestMatchDoesNotAllocate(t *testing.T) {
	typ := strings.Repeat("a.", 40) + "b"
	for _, text := range []string{typ, "*.**", "**.a.**.a.*.b", "a.**", "**.c"} {
		p := pattern.MustParse(text)
		if n := testing.AllocsPerRun(100, func() { p.Match(typ) }); n != 0 {
			t.Errorf("Match of %s allocates %g times, want 0", text, n)
		}
	}
}

// TestMatchIsLinear makes types 16 times longer. Linear is 16 times the time, quadratic
// 256 times; the bound is far from both.
func TestMatchIsLinear(t *testing.T) {
	const n, factor, bound = 4096, 16, 64
	for _, text := range []string{
		strings.Repeat("**.a.", 30) + "b",
		"**." + strings.Repeat("a.", 30) + "b",
		"**.*.a.*.a.*.a.b.**.c",
		strings.Repeat("**.*.", 30) + "b",
		"a.**.b",
	} {
		p := pattern.MustParse(text)
		short, long := strings.Repeat("a.", n)+"a", strings.Repeat("a.", factor*n)+"a"
		a, b := fastest(p, short), fastest(p, long)
		if b > bound*a {
			t.Errorf("Match of %s takes %v for %d segments and %v for %d", text, a, n, b, factor*n)
		}
	}
}

func fastest(p pattern.Pattern, typ string) time.Duration {
	best := time.Hour
	for range 5 {
		start := time.Now()
		p.Match(typ)
		best = min(best, time.Since(start))
	}
	return best
}

func TestMatchAgreesWithReference(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text, typ := drawPattern(t), drawType(t)
		if got, want := pattern.MustParse(text).Match(typ), naive(text, typ); got != want {
			t.Fatalf("Parse(%s).Match(%s) = %t, want %t", text, typ, got, want)
		}
	})
}

// TestEveryInstanceMatches replaces wildcards by what they stand for.
func TestEveryInstanceMatches(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text := drawPattern(t)
		var segs []string
		for _, seg := range strings.Split(text, ".") {
			switch seg {
			case "*":
				segs = append(segs, drawType(t)[:1])
			case "**":
				if rapid.Bool().Draw(t, "some") {
					segs = append(segs, strings.Split(drawType(t), ".")...)
				}
			default:
				segs = append(segs, seg)
			}
		}
		if typ := strings.Join(segs, "."); typ != "" && !pattern.MustParse(text).Match(typ) {
			t.Fatalf("Parse(%s).Match(%s) = false, want true", text, typ)
		}
	})
}

func FuzzParse(f *testing.F) {
	for _, text := range []string{"a.b", "*.**", "a..b", "**.**", "a*", "\xff", "日本", ".", "", "a-_9.Z"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := pattern.Parse(text)
		if want := validPattern(text); (err == nil) != want {
			t.Fatalf("Parse(%q) = %v, want valid: %t", text, err, want)
		}
		if err != nil {
			if !fault.Is(err, fault.Invalid) || p != (pattern.Pattern{}) {
				t.Fatalf("Parse(%q) = %v, %v (%s)", text, p, err, fault.CodeOf(err))
			}
			return
		}
		if p.String() != text || strings.Join(p.Segments(), ".") != text || p.Specificity() < 0 {
			t.Fatalf("Parse(%q) = %v with segments %q and specificity %d", text, p, p.Segments(), p.Specificity())
		}
		if p.IsExact() && !p.Match(text) {
			t.Fatalf("Parse(%q) does not match itself", text)
		}
	})
}

func FuzzMatch(f *testing.F) {
	for _, v := range [][2]string{{"a.**.b", "a.x.b"}, {"**", "a..b"}, {"*", ""}, {"**.a.*.b", "a.a.a.b"}, {"a.*", "a.\x00"}} {
		f.Add(v[0], v[1])
	}
	f.Fuzz(func(t *testing.T, text, typ string) {
		p, err := pattern.Parse(text)
		if err != nil || len(text) > 60 || len(typ) > 60 { // the reference is slow
			return
		}
		if got, want := p.Match(typ), naive(text, typ); got != want {
			t.Fatalf("Parse(%q).Match(%q) = %t, want %t", text, typ, got, want)
		}
	})
}

// naive is what the grammar says, word by word.
func naive(text, typ string) bool {
	segs := strings.Split(typ, ".")
	return !slices.Contains(segs, "") && naiveSegs(strings.Split(text, "."), segs)
}

func naiveSegs(pattern, typ []string) bool {
	switch {
	case len(pattern) == 0:
		return len(typ) == 0
	case pattern[0] == "**":
		return naiveSegs(pattern[1:], typ) || len(typ) > 0 && naiveSegs(pattern, typ[1:])
	}
	return len(typ) > 0 && (pattern[0] == "*" || pattern[0] == typ[0]) && naiveSegs(pattern[1:], typ[1:])
}

func validPattern(text string) bool {
	last := ""
	for _, seg := range strings.Split(text, ".") {
		if seg == "" || seg == "**" && last == "**" {
			return false
		}
		if last = seg; seg == "*" || seg == "**" {
			continue
		}
		for _, c := range []byte(seg) {
			if !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-", rune(c)) {
				return false
			}
		}
	}
	return len(text) <= pattern.MaxLength
}

func drawPattern(t *rapid.T) string {
	segs := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "c", "*", "**"}), 1, 8).Draw(t, "pattern")
	return strings.Join(slices.CompactFunc(segs, func(x, y string) bool { return x == "**" && y == "**" }), ".")
}

func drawType(t *rapid.T) string {
	return strings.Join(rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "c"}), 1, 8).Draw(t, "type"), ".")
}
