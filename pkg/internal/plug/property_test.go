package plug_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/signalmesh/signalmesh/pkg/internal/plug"
)

type sample struct {
	Text  string            `json:"text" default:"x"`
	Int   int64             `json:"int" default:"7"`
	Uint  uint64            `json:"uint"`
	Float float64           `json:"float"`
	Flag  bool              `json:"flag" default:"true"`
	Wait  time.Duration     `json:"wait" default:"1s"`
	Size  plug.Size         `json:"size"`
	List  []string          `json:"list" single:"true"`
	Map   map[string]int    `json:"map"`
	Inner *sampleInner      `json:"inner"`
	Many  []sampleInner     `json:"many"`
	Plain sampleInner       `json:"plain"`
	Words map[string]string `json:"words"`
}

type sampleInner struct {
	A int    `json:"a" default:"1"`
	B string `json:"b"`
}

func drawInner(t *rapid.T) sampleInner {
	return sampleInner{A: rapid.Int().Draw(t, "a"), B: rapid.String().Draw(t, "b")}
}

// Decoding what was encoded gives the same value, whatever it holds.
func TestEncodeDecode(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		want := sample{
			Text: rapid.String().Draw(t, "text"), Int: rapid.Int64().Draw(t, "int"), Uint: rapid.Uint64().Draw(t, "uint"),
			Float: rapid.Float64().Draw(t, "float"), Flag: rapid.Bool().Draw(t, "flag"),
			Wait:  time.Duration(rapid.Int64Min(0).Draw(t, "wait")),
			Size:  plug.Size(rapid.Int64Min(0).Draw(t, "size")),
			Plain: drawInner(t),
		}
		if l := rapid.SliceOfN(rapid.String(), 1, 4).Draw(t, "list"); rapid.Bool().Draw(t, "has list") {
			want.List = l
			want.Map = map[string]int{l[0]: 1}
			inner := drawInner(t)
			want.Inner, want.Many = &inner, []sampleInner{drawInner(t)}
		}
		b, err := plug.Encode(want)
		if err != nil {
			t.Fatal(err)
		}
		n, err := plug.Parse(b, "")
		if err != nil {
			t.Fatalf("Parse(%s): %v", b, err)
		}
		var got sample
		if err := n.Decode(&got); err != nil {
			t.Fatalf("Decode(%s): %v", b, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("Decode(Encode(v)) of %s (-want +got):\n%s", b, diff)
		}
	})
}

// Whatever the document, decoding ends, and its canonical JSON is a fixed point.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"a: 1", "{\"a\": [1, 2.5, null]}", "a: &x [1]\nb: *x", "<<: {a: 1}", "- a\n- {b: c}", "a: 0o17\nb: 0x1f\nc: 1_0", "? [a]\n: b",
		"a: !!binary aGk=", "---\na\n---\nb", "a: 2026-01-01T00:00:00Z", "text: 5\nwait: 5\nmany: [{a: x}, ]",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		n, err := plug.Parse(data, "f")
		if err != nil {
			return
		}
		var s sample
		_ = n.Decode(&s)
		first, err := n.JSON()
		if err != nil {
			return
		}
		again, err := plug.FromJSON(first, "")
		if err != nil {
			t.Fatalf("FromJSON(%s): %v", first, err)
		}
		second, err := again.JSON()
		if err != nil || string(first) != string(second) {
			t.Errorf("JSON = %s, then %s, %v", first, second, err)
		}
	})
}
