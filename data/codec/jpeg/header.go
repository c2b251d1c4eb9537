package jpeg

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// ErrUnsupported is the cause of errors about files that are valid but of a kind
// that this package leaves to others: arithmetic coding, lossless and 12-bit
// files, four components (CMYK).
var ErrUnsupported = errors.New("kind of JPEG that is not supported")

// Markers of T.81, table B.1.
const (
	mSOF0  = 0xc0
	mSOF1  = 0xc1
	mSOF2  = 0xc2
	mDHT   = 0xc4
	mJPG   = 0xc8
	mSOF15 = 0xcf
	mDAC   = 0xcc
	mRST0  = 0xd0
	mRST7  = 0xd7
	mSOI   = 0xd8
	mEOI   = 0xd9
	mSOS   = 0xda
	mDQT   = 0xdb
	mDRI   = 0xdd
	mAPP0  = 0xe0
	mAPP14 = 0xee
	mTEM   = 0x01
)

// component is one plane of the picture.
type component struct {
	id     uint8
	h, v   int // sampling factors
	tq     uint8
	dc, ac uint8 // Huffman tables of the current scan

	blocksX, blocksY int // blocks that hold pixels
	stride, rows     int // of the padded grid of blocks, in blocks
	size             int // pixels of a block's side after the transform: 8, 4, 2 or 1
	width, height    int // pixels of the plane that count
	pix              []uint8
	pitch            int     // bytes of a row of pix
	coef             []int16 // progressive: all coefficients, 64 per block in zigzag order
	pred             int32   // last DC value
	seen             bool    // in a scan
	needX0, needX1   int     // blocks whose pixels are wanted
	needY0, needY1   int
}

// frame is what the frame header says.
type frame struct {
	width, height int
	progressive   bool
	comps         []component
	hMax, vMax    int
	base          int // side of a block of the component sampled most finely: 8, 4, 2 or 1
	mcusX, mcusY  int
}

// Size returns the width and height that the file's header tells, and its number
// of components.
func Size(data []byte) (width, height, components int, err error) {
	p := parser{data: data}
	for {
		marker, seg, err := p.next()
		if err != nil {
			return 0, 0, 0, err
		}
		switch {
		case isFrame(marker):
			if len(seg) < 6 {
				return 0, 0, 0, p.errorf("frame header of %d bytes", len(seg))
			}
			return int(binary.BigEndian.Uint16(seg[3:])), int(binary.BigEndian.Uint16(seg[1:])), int(seg[5]), nil
		case marker == mSOS || marker == mEOI:
			return 0, 0, 0, p.errorf("no frame header")
		}
	}
}

func isFrame(marker uint8) bool {
	return marker >= mSOF0 && marker <= mSOF15 && marker != mDHT && marker != mJPG && marker != mDAC
}

// parser walks the marker segments of a file.
type parser struct {
	data []byte
	pos  int
}

func (p *parser) errorf(format string, args ...any) error {
	return fmt.Errorf("jpeg: at byte %d of %d: %w", p.pos, len(p.data), fmt.Errorf(format, args...))
}

// next returns the next marker and its segment without the length field.
func (p *parser) next() (marker uint8, seg []byte, err error) {
	if p.pos == 0 {
		if len(p.data) < 2 || p.data[0] != 0xff || p.data[1] != mSOI {
			return 0, nil, p.errorf("no start-of-image marker")
		}
		p.pos = 2
	}
	// Skip to a marker; bytes that belong to nothing are passed over, as other
	// decoders do.
	for p.pos+1 < len(p.data) && !(p.data[p.pos] == 0xff && p.data[p.pos+1] != 0 && p.data[p.pos+1] != 0xff) {
		p.pos++
	}
	if p.pos+1 >= len(p.data) {
		return 0, nil, p.errorf("the file ends without an end-of-image marker")
	}
	marker = p.data[p.pos+1]
	p.pos += 2
	if marker == mEOI || marker == mTEM || marker >= mRST0 && marker <= mRST7 || marker == mSOI {
		return marker, nil, nil
	}
	if p.pos+2 > len(p.data) {
		return 0, nil, p.errorf("the file ends in a marker segment")
	}
	n := int(binary.BigEndian.Uint16(p.data[p.pos:]))
	if n < 2 || p.pos+n > len(p.data) {
		return 0, nil, p.errorf("marker segment of %d bytes does not fit", n)
	}
	seg = p.data[p.pos+2 : p.pos+n]
	p.pos += n
	return marker, seg, nil
}

// readFrame reads a frame header.
func (d *Decoder) readFrame(marker uint8, seg []byte) error {
	if d.frame.comps != nil {
		return d.errorf("a second frame header")
	}
	if marker > mSOF2 {
		return d.errorf("%w: coding process %d", ErrUnsupported, marker-mSOF0)
	}
	if len(seg) < 6 || len(seg) != 6+3*int(seg[5]) {
		return d.errorf("frame header of %d bytes", len(seg))
	}
	f := &d.frame
	f.progressive = marker == mSOF2
	f.height, f.width = int(binary.BigEndian.Uint16(seg[1:])), int(binary.BigEndian.Uint16(seg[3:]))
	n := int(seg[5])
	switch {
	case seg[0] != 8:
		return d.errorf("%w: %d bits per sample", ErrUnsupported, seg[0])
	case f.width == 0 || f.height == 0:
		return d.errorf("picture of %dx%d pixels", f.width, f.height)
	case n != 1 && n != 3:
		return d.errorf("%w: %d components", ErrUnsupported, n)
	}
	// The shortest code of a block's DC value has one bit: a header that claims more
	// blocks than the file has bits is a lie, and could ask for any amount of memory.
	if f.width*f.height/64 > 8*len(d.data) {
		return d.errorf("picture of %dx%d pixels in %d bytes", f.width, f.height, len(d.data))
	}
	if f.progressive {
		for i := range d.huff[1] {
			if h := &d.huff[1][i]; h.defined {
				if err := h.separate(); err != nil {
					return d.errorf("%w", err)
				}
			}
		}
	}
	f.comps = d.comps[:n]
	f.hMax, f.vMax = 1, 1
	for i := range f.comps {
		c, s := &f.comps[i], seg[6+3*i:]
		c.seen = false
		c.id, c.h, c.v, c.tq = s[0], int(s[1]>>4), int(s[1]&15), s[2]
		if c.h < 1 || c.h > 4 || c.v < 1 || c.v > 4 || c.tq > 3 {
			return d.errorf("component %d has sampling %dx%d and table %d", i, c.h, c.v, c.tq)
		}
		f.hMax, f.vMax = max(f.hMax, c.h), max(f.vMax, c.v)
	}
	if n == 1 { // one component is never interleaved: its factors mean nothing
		f.comps[0].h, f.comps[0].v, f.hMax, f.vMax = 1, 1, 1, 1
	}
	f.mcusX, f.mcusY = ceilDiv(f.width, 8*f.hMax), ceilDiv(f.height, 8*f.vMax)
	for i := range f.comps {
		c := &f.comps[i]
		if f.hMax%c.h != 0 || f.vMax%c.v != 0 {
			return d.errorf("%w: component %d of sampling %dx%d beside %dx%d", ErrUnsupported, i, c.h, c.v, f.hMax, f.vMax)
		}
		c.blocksX = ceilDiv(ceilDiv(f.width*c.h, f.hMax), 8)
		c.blocksY = ceilDiv(ceilDiv(f.height*c.v, f.vMax), 8)
		c.stride, c.rows = f.mcusX*c.h, f.mcusY*c.v
	}
	return nil
}

// readQuant reads quantization tables.
func (d *Decoder) readQuant(seg []byte) error {
	for len(seg) > 0 {
		precision, id := seg[0]>>4, seg[0]&15
		size := 64 * (1 + int(precision))
		if precision > 1 || id > 3 || len(seg) < 1+size {
			return d.errorf("bad quantization table")
		}
		t := &d.quant[id]
		for k := range t {
			if precision == 0 {
				t[k] = int32(seg[1+k])
			} else {
				t[k] = int32(binary.BigEndian.Uint16(seg[1+2*k:]))
			}
		}
		d.hasQuant[id] = true
		seg = seg[1+size:]
	}
	return nil
}

// readHuffman reads Huffman tables.
func (d *Decoder) readHuffman(seg []byte) error {
	for len(seg) > 0 {
		if len(seg) < 17 {
			return d.errorf("bad Huffman table")
		}
		class, id := seg[0]>>4, seg[0]&15
		n := 0
		for _, c := range seg[1:17] {
			n += int(c)
		}
		if class > 1 || id > 3 || n > 256 || len(seg) < 17+n {
			return d.errorf("bad Huffman table")
		}
		if err := d.huff[class][id].build(seg[1:17], seg[17:17+n], class == 1 && !d.frame.progressive); err != nil {
			return d.errorf("%w", err)
		}
		seg = seg[17+n:]
	}
	return nil
}

func ceilDiv(a, b int) int { return (a + b - 1) / b }
