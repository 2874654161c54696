package signal

import (
	"bytes"
	"crypto/rand"
	"encoding"
	"encoding/binary"
	"encoding/hex"
	"sync"
	"time"

	"github.com/signalmesh/signalmesh/pkg/fault"
)

// An ID is a UUIDv7: 48 bits of Unix milliseconds, a 12-bit sequence within the millisecond,
// and 62 random bits. Ids sort by time, as bytes and as text. The zero ID is no id.
type ID [16]byte

const (
	idTextLen   = 36
	maxSequence = 1<<12 - 1
)

// idState hands out the (millisecond, sequence) pairs of this process, each once, increasing.
var idState struct {
	sync.Mutex
	millis   int64
	sequence int
	random   [512]byte // bought in bulk: one system call for 64 ids
	unused   int       // bytes of random, from its end, not yet handed out
}

// NewID returns a fresh id, greater than every id this process made before, whatever the
// clock does. It may be called concurrently.
func NewID() ID {
	idState.Lock()
	defer idState.Unlock()
	return nextID(time.Now().UnixMilli())
}

// NewIDs returns n fresh ids in increasing order, with none made in between by others.
func NewIDs(n int) []ID {
	ids := make([]ID, max(n, 0))
	idState.Lock()
	defer idState.Unlock()
	now := time.Now().UnixMilli()
	for i := range ids {
		ids[i] = nextID(now)
	}
	return ids
}

// nextID needs the lock. When the sequence of a millisecond is used up, or the clock has gone
// back, it runs ahead of the clock.
func nextID(now int64) (id ID) {
	st := &idState
	switch {
	case now > st.millis:
		st.millis, st.sequence = now, 0
	case st.sequence < maxSequence:
		st.sequence++
	default:
		st.millis, st.sequence = st.millis+1, 0
	}
	if st.unused < 8 {
		_, _ = rand.Read(st.random[:]) // never fails; see crypto/rand
		st.unused = len(st.random)
	}
	binary.BigEndian.PutUint64(id[:8], uint64(st.millis)<<16|0x7<<12|uint64(st.sequence))
	copy(id[8:], st.random[len(st.random)-st.unused:][:8])
	st.unused -= 8
	id[8] = id[8]&0x3f | 0x80
	return id
}

// ParseID reads the text form of a UUIDv7, 8-4-4-4-12 hexadecimal digits of either case.
func ParseID(text string) (ID, error) {
	var id ID
	err := id.UnmarshalText([]byte(text))
	return id, err
}

// MustParseID is [ParseID] for constants; it panics on an error.
func MustParseID(text string) ID {
	id, err := ParseID(text)
	if err != nil {
		panic(err)
	}
	return id
}

// String returns the text form, 36 characters in lower case.
func (id ID) String() string {
	var b [idTextLen]byte
	return string(id.appendText(b[:0]))
}

func (id ID) appendText(dst []byte) []byte {
	for i, part := range [...][]byte{id[:4], id[4:6], id[6:8], id[8:10], id[10:]} {
		if i > 0 {
			dst = append(dst, '-')
		}
		dst = hex.AppendEncode(dst, part)
	}
	return dst
}

// Time returns when the id was made, to the millisecond, in UTC.
func (id ID) Time() time.Time {
	return time.UnixMilli(int64(binary.BigEndian.Uint64(id[:8]) >> 16)).UTC()
}

// Sequence returns the position of the id among those its process made in the same
// millisecond, 0 to 4095.
func (id ID) Sequence() int { return int(binary.BigEndian.Uint16(id[6:8]) & maxSequence) }

// Compare orders ids by time, then sequence, then the random part: -1, 0 or +1.
func (id ID) Compare(other ID) int { return bytes.Compare(id[:], other[:]) }

// IsZero reports whether it is no id.
func (id ID) IsZero() bool { return id == ID{} }

// MarshalText returns the text form.
func (id ID) MarshalText() ([]byte, error) {
	return id.appendText(make([]byte, 0, idTextLen)), nil
}

// UnmarshalText reads the text form; on an error the id stays as it was.
func (id *ID) UnmarshalText(text []byte) error {
	if len(text) != idTextLen || text[8] != '-' || text[13] != '-' || text[18] != '-' || text[23] != '-' {
		return fault.Newf(fault.Invalid, "id %.40q: not in the form of a UUID", text)
	}
	var parsed ID
	digits := append(make([]byte, 0, 32), text[:8]...)
	for _, part := range [...][]byte{text[9:13], text[14:18], text[19:23], text[24:]} {
		digits = append(digits, part...)
	}
	if _, err := hex.Decode(parsed[:], digits); err != nil {
		return fault.Newf(fault.Invalid, "id %.40q: not hexadecimal", text)
	}
	if parsed[6]>>4 != 7 || parsed[8]>>6 != 2 {
		return fault.Newf(fault.Invalid, "id %.40q: not a version 7 UUID", text)
	}
	*id = parsed
	return nil
}

var (
	_ encoding.TextMarshaler   = ID{}
	_ encoding.TextUnmarshaler = (*ID)(nil)
)
