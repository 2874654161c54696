package dispatch

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"strings"

	"github.com/signalmesh/signalmesh/pkg/signal"
)

// Info says which delivery an attempt belongs to. It travels in the attempt's context.
type Info struct {
	Key      string // idempotency key: the same for every attempt of the delivery; see [Key]
	Bus      string // bus the signal is on
	Route    string // route or subscription that caused the delivery
	Target   string // name of the target within it
	Attempt  int    // from 1
	Sequence uint64 // position of the signal on the bus
}

type infoKey struct{}

// WithInfo returns a context that carries info.
func WithInfo(ctx context.Context, info Info) context.Context {
	return context.WithValue(ctx, infoKey{}, info)
}

// InfoFrom returns the Info in ctx, or the zero Info.
func InfoFrom(ctx context.Context) Info {
	info, _ := ctx.Value(infoKey{}).(Info)
	return info
}

// Key makes an idempotency key of what identifies a delivery: 22 letters, digits, "-" and
// "_", fit for any header. Different parts give different keys.
func Key(parts ...string) string {
	var room [256]byte
	text := room[:0]
	for _, p := range parts { // the length first, so that parts can't run into each other
		text = binary.LittleEndian.AppendUint64(text, uint64(len(p)))
		text = append(text, p...)
	}
	sum := sha256.Sum256(text)
	return base64.RawURLEncoding.EncodeToString(sum[:16])
}

// KeyOf returns the idempotency key of the delivery: the one in ctx, else one made from the
// signal's identity. It holds letters, digits, "-" and "_" only; a key in ctx that does not
// is replaced by the [Key] of it.
func KeyOf(ctx context.Context, s *signal.Signal) string {
	switch info := InfoFrom(ctx); {
	case info.Key == "":
		return Key(s.Source, s.ID)
	case strings.IndexFunc(info.Key, func(r rune) bool { return !isKeyRune(r) }) >= 0:
		return Key(info.Key)
	default:
		return info.Key
	}
}

func isKeyRune(r rune) bool {
	return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '-' || r == '_'
}
