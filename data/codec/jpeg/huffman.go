package jpeg

import (
	"bytes"
	"encoding/binary"
	"errors"
)

// lookBits is how many bits of the stream index the look-up table. Most codes,
// together with the number that follows them, are shorter.
const lookBits = 11

// huffman is a decoding table. An entry of look, found with the next lookBits bits
// of the stream, is one of
//
//	0                        the code is longer, see slow
//	symbol<<16 | length      the code ends within these bits, its number does not
//	value<<16 | run<<8 | whole | length
//	                         code and number end within these bits: a coefficient
//	                         after a run of zeros (sequential AC tables only)
type huffman struct {
	look    [1 << lookBits]uint32
	limit   [18]uint32 // first 16-bit prefix that no code of at most this length has
	offset  [17]int32  // from a code of this length to its place in symbols
	counts  [16]uint8
	symbols [256]uint8
	defined bool
}

const (
	whole     = 1 << 6
	lenMask   = whole - 1
	endOfRun  = 64 // as a run: no coefficient is left
	signShift = 16
)

// build makes the tables from the number of codes of each length and the symbols.
// combine allows whole entries.
func (h *huffman) build(counts, symbols []byte, combine bool) error {
	clear(h.look[:])
	h.defined = true
	copy(h.counts[:], counts)
	copy(h.symbols[:], symbols)
	code, k := uint32(0), 0
	for length := 1; length <= 16; length++ {
		h.offset[length] = int32(k) - int32(code)
		n := int(counts[length-1])
		if code+uint32(n) > 1<<length {
			return errors.New("overfull Huffman table")
		}
		for range n {
			if length <= lookBits {
				h.fillLook(code, length, h.symbols[k], combine)
			}
			code++
			k++
		}
		h.limit[length] = code << (16 - length)
		code <<= 1
	}
	h.limit[17] = 1 << 31
	return nil
}

// separate rebuilds the table without whole entries: a progressive file's numbers
// mean other things.
func (h *huffman) separate() error {
	return h.build(h.counts[:], h.symbols[:], false)
}

// fillLook enters one code.
func (h *huffman) fillLook(code uint32, length int, symbol uint8, combine bool) {
	spare := lookBits - length
	run, size := uint32(symbol>>4), int(symbol&15)
	for rest := range uint32(1) << spare {
		e := uint32(symbol)<<16 | uint32(length)
		switch {
		case combine && size == 0 && run == 0:
			e = endOfRun<<8 | whole | uint32(length)
		case combine && size > 0 && size <= spare:
			v := extend(rest>>(spare-size), size)
			e = uint32(v)<<16 | run<<8 | whole | uint32(length+size)
		}
		h.look[code<<spare|rest] = e
	}
}

// extend turns the size bits after a code into the number they stand for (T.81,
// figure F.12).
func extend(bits uint32, size int) int32 {
	if bits < 1<<(size-1) {
		return int32(bits) - 1<<size + 1
	}
	return int32(bits)
}

// slow finds a code of more than lookBits bits: its length, 0 if there is none,
// and its symbol.
func (h *huffman) slow(prefix uint32) (length int, symbol uint8) {
	for length = lookBits + 1; prefix >= h.limit[length]; length++ {
	}
	if length > 16 {
		return 0, 0
	}
	return length, h.symbols[uint8(int32(prefix>>(16-length))+h.offset[length])]
}

// bits is a bit stream: the next bits are the high ones of acc, n of them valid.
// Past the end it gives zeros; consumed tells how far it was read.
type bits struct {
	data []byte // at least 8 bytes longer than the stream
	pos  int
	acc  uint64
	n    uint
}

// refill makes at least 56 bits valid.
func (b *bits) refill() {
	if b.pos+8 <= len(b.data) {
		b.acc |= binary.BigEndian.Uint64(b.data[b.pos:]) >> b.n
	}
	b.pos += int(63-b.n) >> 3
	b.n |= 56
}

// take returns the next size <= 16 bits; at least as many must be valid.
func (b *bits) take(size int) uint32 {
	v := uint32(b.acc >> (64 - uint(size)))
	b.acc <<= uint(size)
	b.n -= uint(size)
	return v
}

// bit returns one bit.
func (b *bits) bit() bool {
	if b.n == 0 {
		b.refill()
	}
	return b.take(1) == 1
}

// symbol decodes one code of a table without whole entries.
func (b *bits) symbol(h *huffman) (symbol uint8, ok bool) {
	if b.n < 32 {
		b.refill()
	}
	e := h.look[b.acc>>(64-lookBits)]
	length, symbol := int(e&lenMask), uint8(e>>16)
	if e == 0 {
		if length, symbol = h.slow(uint32(b.acc >> 48)); length == 0 {
			return 0, false
		}
	}
	b.acc <<= uint(length)
	b.n -= uint(length)
	return symbol, true
}

// consumed is the number of bits read so far.
func (b *bits) consumed() int { return b.pos*8 - int(b.n) }

// unstuff copies entropy-coded data up to the next marker other than a restart
// into dst, without the zero bytes that follow each 0xff, and notes where each
// restart interval begins. It returns dst, the intervals' offsets with the end of
// the last one behind them, how much of src was read, and whether a marker ended
// it.
func unstuff(dst []byte, starts []int, src []byte) (out []byte, intervals []int, read int, marker bool) {
	out, intervals = dst[:0], append(starts[:0], 0)
	pos := 0
	for {
		i := bytes.IndexByte(src[pos:], 0xff)
		if i < 0 || pos+i+1 >= len(src) {
			out = append(out, src[pos:]...)
			pos = len(src)
			break
		}
		next := src[pos+i+1]
		if next == 0 {
			out = append(out, src[pos:pos+i+1]...)
			pos += i + 2
			continue
		}
		out = append(out, src[pos:pos+i]...)
		pos += i
		switch {
		case next == 0xff: // fill bytes
			pos++
		case next >= mRST0 && next <= mRST7:
			intervals = append(intervals, len(out))
			pos += 2
		default:
			intervals = append(intervals, len(out))
			return append(out, 0, 0, 0, 0, 0, 0, 0, 0), intervals, pos, true
		}
	}
	intervals = append(intervals, len(out))
	return append(out, 0, 0, 0, 0, 0, 0, 0, 0), intervals, pos, false
}
