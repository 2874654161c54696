package expr_test

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/signalmesh/signalmesh/pkg/expr"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

// The decoder gives what the standard library gives.
func FuzzDecodeJSON(f *testing.F) {
	for _, seed := range []string{
		`{}`, ` [ ] `, `{"a":{"b":[1,-2.5e+3,true,false,null,"x\"\\\u00e9\ud83d\ude00"]},"a":1}`, `"é"`, `-0`, `1e400`, `{"":"\\"}`, "\t5\n", `[[],{},""]`,
		`"\ud800"`, `{"a" : 1 , "b" : [ 1 , 2 ] }`, `"\\\""`, ``, `nul`, `01`, `"a`, `[1,]`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := expr.DecodeJSON(data)
		if (err == nil) != (signal.ValidJSON(data) == nil) {
			t.Fatalf("DecodeJSON(%q) = %v", data, err)
		}
		if err != nil {
			return
		}
		dec := json.NewDecoder(bytes.NewReader(data))
		dec.UseNumber()
		var want any
		if err := dec.Decode(&want); err != nil {
			t.Fatalf("encoding/json refuses %q: %v", data, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("DecodeJSON(%q) (-want +got):\n%s", data, diff)
		}
	})
}
