package plug_test

import (
	"testing"

	"github.com/signalmesh/signalmesh/pkg/internal/plug"
)

func TestBuild(t *testing.T) {
	t.Parallel()
	n := plug.Merge(
		plug.Scalar("5", "ENV").Under("a", "int"), plug.Scalar("true", "ENV").Under("a", "bool"), plug.Scalar("x: [", "ENV").Under("a", "odd"),
		plug.Text("5", "ENV").Under("a", "text"), plug.List("ENV", plug.Text("x", "ENV"), plug.Node{}).Under("a", "list"), plug.Node{}.Under("a"),
	)
	got, err := n.JSON()
	if want := `{"a":{"bool":true,"int":5,"list":["x",""],"odd":"x: [","text":"5"}}`; err != nil || string(got) != want {
		t.Errorf("JSON = %s, %v, want %s", got, err, want)
	}
	var into struct {
		A struct {
			Int string `json:"int"`
		} `json:"a"`
	}
	err = plug.Scalar("5", "ENV").Under("a", "int").Decode(&into)
	if want := "ENV: a.int: expected a string, found the number 5; put it in quotes"; err == nil || err.Error() != want {
		t.Errorf("Decode = %v, want %s", err, want)
	}
}
