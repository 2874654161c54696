package codec_test

import (
	"net/http"
	"testing"

	"github.com/signalmesh/signalmesh/pkg/codec"
	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/internal/signaltest"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

// checkRead is what holds for every reader: an error is coded as the input's fault, and a valid
// signal survives being sent on in every mode.
func checkRead(t *testing.T, s *signal.Signal, err error) {
	t.Helper()
	if err != nil {
		if code := fault.CodeOf(err); code != fault.Invalid && code != fault.TooLarge {
			t.Errorf("error %v is coded %s", err, code)
		}
		return
	}
	if s.Validate() != nil {
		return
	}
	for _, mode := range modes {
		header, body, err := codec.ToNATS(s, mode)
		if err != nil {
			if !fault.Is(err, fault.TooLarge) {
				t.Errorf("ToNATS(%v) = %v", mode, err)
			}
			continue
		}
		again, err := codec.FromNATS(header, body)
		if err != nil {
			t.Fatalf("sent on as %v %v %q: %v", mode, header, body, err)
		}
		if diff := signaltest.Diff(s, again); diff != "" {
			t.Errorf("sent on as %v: %s", mode, diff)
		}
	}
}

func FuzzFromNATS(f *testing.F) {
	for _, folder := range []string{"valid", "refused"} {
		for _, text := range vectors(f, folder) {
			f.Add("Content-Type", codec.TypeJSON, "", "", text)
		}
	}
	for _, value := range []string{"a%20b", `quote " 100% €`, "%FF", `"x\"y"`, "100%", "%C3%28", "\x00"} {
		f.Add("ce-subject", value, "ce-specversion", "1.0", []byte("{}"))
	}
	f.Add("content-type", "text/plain", "ce-specversion", "1.0.2", []byte("text"))
	f.Add("ce-meshhops", "3", "Ce-Specversion", "1.0", []byte{})
	f.Add("ce-time", "2026-01-02T03:04:05+01:00", "ce-specversion", "1.0", []byte("\xff"))
	f.Fuzz(func(t *testing.T, name1, value1, name2, value2 string, body []byte) {
		h := map[string][]string{"ce-id": {"1"}, "ce-source": {"/s"}, "ce-type": {"t"}}
		h[name1], h[name2] = []string{value1}, []string{value2}
		s, err := codec.FromNATS(h, body)
		checkRead(t, s, err)
	})
}

func FuzzFromHTTP(f *testing.F) {
	for _, folder := range []string{"valid", "refused"} {
		for _, text := range vectors(f, folder) {
			f.Add(codec.TypeJSON, "", text)
			f.Add(codec.TypeJSONBatch, "", append(append([]byte{'['}, text...), ']'))
		}
	}
	f.Add("text/plain", "a%20b", []byte("x"))
	f.Add("application/json", `"quoted"`, []byte("{}"))
	f.Add(codec.TypeMsgpackBatch, "", []byte{0x91, 0x80})
	f.Fuzz(func(t *testing.T, contentType, subject string, body []byte) {
		h := http.Header{
			"Content-Type": {contentType}, "Ce-Specversion": {"1.0"}, "Ce-Id": {"1"}, "Ce-Source": {"/s"}, "Ce-Type": {"t"},
			"Ce-Subject": {subject},
		}
		got, err := codec.FromHTTP(h, body)
		if err != nil {
			checkRead(t, nil, err)
		}
		for _, s := range got {
			checkRead(t, s, nil)
		}
	})
}

func FuzzUnmarshalMsgpack(f *testing.F) {
	for _, text := range vectors(f, "valid") {
		s := new(signal.Signal)
		if err := s.UnmarshalJSON(text); err != nil {
			f.Fatal(err)
		}
		body, err := codec.MarshalMsgpack(s)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(body)
		f.Add(append([]byte{0x91}, body...))
	}
	for _, body := range hostile {
		f.Add(body[:min(len(body), 100)])
	}
	f.Add(pack(f, event("data", map[string]any{"a": []any{1, "b", nil, 1.5, []byte{1}}})...))
	f.Fuzz(func(t *testing.T, body []byte) {
		s, err := codec.UnmarshalMsgpack(body)
		checkRead(t, s, err)
		if err == nil && codec.CheckMsgpack(body) != nil {
			t.Errorf("decoded %x, which the guard refuses", body)
		}
		batch, err := codec.UnmarshalMsgpackBatch(body)
		for _, s := range batch {
			checkRead(t, s, err)
		}
	})
}
