package webhook_test

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"pgregory.net/rapid"

	"github.com/signalmesh/signalmesh/pkg/adapter/webhook"
	"github.com/signalmesh/signalmesh/pkg/fault"
)

// The vector of the Standard Webhooks reference libraries.
func TestSignVector(t *testing.T) {
	t.Parallel()
	key, err := webhook.ParseSecret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	if err != nil {
		t.Fatal(err)
	}
	got := webhook.Sign(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", time.Unix(1614265330, 0), []byte(`{"test": 2432232314}`))
	if want := "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="; got != want {
		t.Errorf("Sign() = %s, want %s", got, want)
	}
}

// Whatever is signed here, the specification's own verifier accepts.
func TestSignAgainstReference(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		raw := rapid.SliceOfN(rapid.Byte(), 1, 64).Draw(t, "key")
		body := rapid.SliceOf(rapid.Byte()).Draw(t, "body")
		id := rapid.StringMatching(`[A-Za-z0-9_-]{1,40}`).Draw(t, "id")
		key, err := webhook.ParseSecret("whsec_" + base64.StdEncoding.EncodeToString(raw))
		if err != nil {
			t.Fatal(err)
		}
		reference, err := standardwebhooks.NewWebhookRaw(raw)
		if err != nil {
			t.Fatal(err)
		}
		now := time.Now()
		h := http.Header{}
		h.Set(webhook.HeaderID, id)
		h.Set(webhook.HeaderTimestamp, strconv.FormatInt(now.Unix(), 10))
		h.Set(webhook.HeaderSignature, "v1,AAAA "+webhook.Sign(key, id, now, body))
		if err := reference.Verify(body, h); err != nil {
			t.Errorf("the reference refuses our signature: %v", err)
		}
	})
}

func TestVerifySignature(t *testing.T) {
	t.Parallel()
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	at, body := time.Unix(1700000000, 0), []byte(`{"a":1}`)
	hmacSig := webhook.Sign([]byte("new"), "id1", at, body)
	edSig := webhook.SignEd25519(private, "id1", at, body)
	secrets, keys := [][]byte{[]byte("old"), []byte("new")}, []ed25519.PublicKey{public}
	tests := []struct {
		name, header, id, timestamp, body string
		want                              bool
	}{
		{"second secret", hmacSig, "id1", "1700000000", `{"a":1}`, true},
		{"ed25519", edSig, "id1", "1700000000", `{"a":1}`, true},
		{"one of several", "v1,AAAA v9,x " + hmacSig, "id1", "1700000000", `{"a":1}`, true},
		{"other body", hmacSig + " " + edSig, "id1", "1700000000", `{"a":2}`, false},
		{"other id", hmacSig + " " + edSig, "id2", "1700000000", `{"a":1}`, false},
		{"other time", hmacSig + " " + edSig, "id1", "1700000001", `{"a":1}`, false},
		{"version confusion", strings.Replace(edSig, "v1a,", "v1,", 1), "id1", "1700000000", `{"a":1}`, false},
		{"empty", "", "id1", "1700000000", `{"a":1}`, false},
		{"empty signature", "v1, v1a,", "id1", "1700000000", `{"a":1}`, false},
		{"not base64", "v1,%%%", "id1", "1700000000", `{"a":1}`, false},
	}
	for _, tt := range tests {
		if got := webhook.VerifySignature(tt.header, tt.id, tt.timestamp, []byte(tt.body), secrets, keys); got != tt.want {
			t.Errorf("VerifySignature(%s) = %t, want %t", tt.name, got, tt.want)
		}
	}
}

func TestParseKeys(t *testing.T) {
	t.Parallel()
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	text := base64.StdEncoding.EncodeToString(private)
	for _, in := range []string{"whsk_" + text, text, "whsk_" + base64.StdEncoding.EncodeToString(private.Seed())} {
		if key, err := webhook.ParsePrivateKey(in); err != nil || !key.Equal(private) {
			t.Errorf("ParsePrivateKey(%d bytes) = %v, want the key", len(in), err)
		}
	}
	mixed := append(append([]byte{}, private.Seed()...), make([]byte, 32)...)
	for _, in := range []string{"", "whsk_", "whsk_SECRETSECRET", base64.StdEncoding.EncodeToString(mixed)} {
		if _, err := webhook.ParsePrivateKey(in); !fault.Is(err, fault.Invalid) || strings.Contains(err.Error(), "SECRET") {
			t.Errorf("ParsePrivateKey(%q) = %v, want Invalid without the text", in, err)
		}
	}
	public := private.Public().(ed25519.PublicKey)
	if key, err := webhook.ParsePublicKey("whpk_" + base64.StdEncoding.EncodeToString(public)); err != nil || !key.Equal(public) {
		t.Errorf("ParsePublicKey() = %v, want the key", err)
	}
	if _, err := webhook.ParsePublicKey("whpk_AAAA"); !fault.Is(err, fault.Invalid) {
		t.Errorf("ParsePublicKey(short) = %v, want Invalid", err)
	}
	if key, err := webhook.ParseSecret("webhook-secret-key"); err != nil || string(key) != "webhook-secret-key" {
		t.Errorf("ParseSecret(raw) = %q, %v, want the bytes of the text", key, err)
	}
	for _, in := range []string{"", "whsec_", "whsec_SECRET!"} {
		if _, err := webhook.ParseSecret(in); !fault.Is(err, fault.Invalid) || strings.Contains(err.Error(), "SECRET") {
			t.Errorf("ParseSecret(%q) = %v, want Invalid without the text", in, err)
		}
	}
}

// openssl: printf '1700000000.{"a":1}' | openssl dgst -sha256 -hmac webhook-secret-key
func ExampleLegacySignature() {
	fmt.Println(webhook.LegacySignature([]byte("webhook-secret-key"), time.Unix(1700000000, 0), []byte(`{"a":1}`)))
	// Output: a10af737371b1516872727dd7b75d0ce9de05fcb6bd68c01a771f82f8a20946c
}

func TestHMAC256Vector(t *testing.T) { // RFC 4231, test case 2
	t.Parallel()
	got := hex.EncodeToString(webhook.HMAC256([]byte("Jefe"), []byte("what do ya "), []byte("want for nothing?")))
	if want := "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"; got != want {
		t.Errorf("HMAC256() = %s, want %s", got, want)
	}
	if !webhook.Equal("a", "a") || webhook.Equal("a", "b") || webhook.Equal("a", "aa") {
		t.Error("Equal() does not compare")
	}
}
