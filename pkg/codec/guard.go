package codec

import (
	"encoding/binary"

	"github.com/signalmesh/signalmesh/pkg/fault"
)

// maxMsgpackDepth is the limit on nested arrays and maps in MessagePack.
const maxMsgpackDepth = 64

// CheckMsgpack reports whether b is exactly one MessagePack value that can be decoded safely:
// every declared length is there, nothing is nested deeper than 64, nothing follows. It
// allocates nothing and does not recurse.
//
// It must pass before the library sees a byte: that allocates what a length claims (five bytes
// are enough to ask for 64 GB, which no one survives) and recurses as deep as it is told.
func CheckMsgpack(b []byte) error {
	var left [maxMsgpackDepth]uint64 // values still to come in each open array or map
	depth, pos := 0, 0
	for {
		size, children, ok := msgpackHead(b[pos:])
		if !ok {
			return fault.Newf(fault.Invalid, "malformed MessagePack at byte %d", pos)
		}
		if pos += size; children > uint64(len(b)-pos) {
			return fault.Newf(fault.Invalid, "malformed MessagePack: it ends too early, at byte %d", len(b))
		}
		if children > 0 {
			if depth == maxMsgpackDepth {
				return fault.Newf(fault.TooLarge, "MessagePack nested deeper than %d at byte %d", maxMsgpackDepth, pos)
			}
			left[depth] = children
			depth++
			continue
		}
		for depth > 0 {
			if left[depth-1]--; left[depth-1] > 0 {
				break
			}
			depth--
		}
		if depth == 0 {
			break
		}
	}
	if pos != len(b) {
		return fault.Newf(fault.Invalid, "malformed MessagePack at byte %d: more bytes after the value", pos)
	}
	return nil
}

// msgpackHead reads the head of a value: how many bytes it has, up to its children, and how
// many children. It is not ok if b is shorter, or no value starts like that.
func msgpackHead(b []byte) (size int, children uint64, ok bool) {
	if len(b) == 0 {
		return 0, 0, false
	}
	c := b[0]
	switch {
	case c <= 0x7f || c >= 0xe0: // small integers
		return 1, 0, true
	case c <= 0x8f: // small map
		return 1, 2 * uint64(c&0x0f), true
	case c <= 0x9f: // small array
		return 1, uint64(c & 0x0f), true
	case c <= 0xbf: // short string
		size = 1 + int(c&0x1f)
		return size, 0, size <= len(b)
	}
	k := msgpackKinds[c-0xc0]
	if k.head == 0 || k.head > len(b) {
		return 0, 0, false
	}
	if !k.counted {
		return k.head, 0, true
	}
	n := bigEndian(b[1 : 1+k.width])
	switch {
	case k.per > 0:
		return k.head, n * k.per, true
	case n > uint64(len(b)-k.head):
		return 0, 0, false
	}
	return k.head + int(n), 0, true
}

// msgpackKind describes the values that start with one of the bytes 0xc0 to 0xdf.
type msgpackKind struct {
	head    int    // bytes up to the content or the children; 0 for a byte that starts nothing
	counted bool   // a length or a count of that many bytes follows the first byte
	width   int    // of the length or count
	per     uint64 // children per count; 0 means that the length is of bytes
}

var msgpackKinds = [0x20]msgpackKind{
	0x00: {head: 1},       // nil
	0x02: {head: 1},       // false
	0x03: {head: 1},       // true
	0x04: lengthed(1, 0),  // bin
	0x05: lengthed(2, 0),  //
	0x06: lengthed(4, 0),  //
	0x07: lengthed(1, 1),  // ext, whose type byte follows the length
	0x08: lengthed(2, 1),  //
	0x09: lengthed(4, 1),  //
	0x0a: {head: 5},       // float
	0x0b: {head: 9},       //
	0x0c: {head: 2},       // uint
	0x0d: {head: 3},       //
	0x0e: {head: 5},       //
	0x0f: {head: 9},       //
	0x10: {head: 2},       // int
	0x11: {head: 3},       //
	0x12: {head: 5},       //
	0x13: {head: 9},       //
	0x14: {head: 2 + 1},   // fixext: code, type, content
	0x15: {head: 2 + 2},   //
	0x16: {head: 2 + 4},   //
	0x17: {head: 2 + 8},   //
	0x18: {head: 2 + 16},  //
	0x19: lengthed(1, 0),  // str
	0x1a: lengthed(2, 0),  //
	0x1b: lengthed(4, 0),  //
	0x1c: {3, true, 2, 1}, // array
	0x1d: {5, true, 4, 1}, //
	0x1e: {3, true, 2, 2}, // map
	0x1f: {5, true, 4, 2}, //
}

func lengthed(width, extra int) msgpackKind {
	return msgpackKind{head: 1 + width + extra, counted: true, width: width}
}

func bigEndian(b []byte) uint64 {
	switch len(b) {
	case 1:
		return uint64(b[0])
	case 2:
		return uint64(binary.BigEndian.Uint16(b))
	}
	return uint64(binary.BigEndian.Uint32(b))
}
