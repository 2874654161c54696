package plug_test

import (
	"testing"

	"github.com/signalmesh/signalmesh/pkg/internal/plug"
)

func TestMerge(t *testing.T) {
	t.Parallel()
	parse := func(text string) plug.Node {
		n, err := plug.Parse([]byte(text), "f")
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	tests := []struct{ a, b, want string }{
		{"", "", "null"},
		{"a: 1", "", `{"a":1}`},
		{"", "a: 1", `{"a":1}`},
		{"a: 1", "a: 2", `{"a":2}`},
		{"a: 1", "a: null", `{"a":1}`},
		{"a: {x: 1, y: 2}", "a: {y: 3, z: 4}", `{"a":{"x":1,"y":3,"z":4}}`},
		{"a: [1]", "a: [2, 3]", `{"a":[1,2,3]}`},
		{"a: [1]", "a: 2", `{"a":2}`},
	}
	for _, tt := range tests {
		a, b := parse(tt.a), parse(tt.b)
		got, err := plug.Merge(a, b).JSON()
		if err != nil || string(got) != tt.want {
			t.Errorf("Merge(%q, %q) = %s, %v, want %s", tt.a, tt.b, got, err, tt.want)
		}
	}
}

// TestMergeKeepsPlaces shows that a problem in a merged document names the file it is in.
func TestMergeKeepsPlaces(t *testing.T) {
	t.Parallel()
	a, _ := plug.Parse([]byte("http: {listen: x}\n"), "a.yaml")
	b, _ := plug.Parse([]byte("\nhttp:\n  listne: y\n"), "b.yaml")
	var into struct {
		HTTP struct {
			Listen string `json:"listen"`
		} `json:"http"`
	}
	err := plug.Merge(a, b).Decode(&into)
	want := `b.yaml:3: http.listne: unknown key, did you mean "listen"?`
	if err == nil || err.Error() != want {
		t.Errorf("Decode() = %v, want %s", err, want)
	}
}
