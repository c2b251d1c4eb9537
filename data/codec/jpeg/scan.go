package jpeg

import (
	"errors"
	"fmt"
)

// natural maps the zigzag order of coefficients to 8*row+column (T.81, figure 5).
// Entries past the end catch runs that a damaged file makes too long.
var natural = [64 + 16]uint8{
	0, 1, 8, 16, 9, 2, 3, 10,
	17, 24, 32, 25, 18, 11, 4, 5,
	12, 19, 26, 33, 40, 48, 41, 34,
	27, 20, 13, 6, 7, 14, 21, 28,
	35, 42, 49, 56, 57, 50, 43, 36,
	29, 22, 15, 23, 30, 37, 44, 51,
	58, 59, 52, 45, 38, 31, 39, 46,
	53, 60, 61, 54, 47, 55, 62, 63,
	63, 63, 63, 63, 63, 63, 63, 63,
	63, 63, 63, 63, 63, 63, 63, 63,
}

var (
	errCode  = errors.New("bits that are no Huffman code")
	errShort = errors.New("the data end too early")
)

// scanHeader is what a start-of-scan segment says.
type scanHeader struct {
	comps       []*component
	first, last int // spectral selection
	high, low   int // successive approximation
	list        [4]*component
}

// readScanHeader reads a start-of-scan segment.
func (d *Decoder) readScanHeader(seg []byte) (*scanHeader, error) {
	if d.frame.comps == nil {
		return nil, d.errorf("a scan before the frame header")
	}
	if len(seg) < 4 || int(seg[0]) < 1 || int(seg[0]) > 4 || len(seg) != 4+2*int(seg[0]) {
		return nil, d.errorf("scan header of %d bytes", len(seg))
	}
	s := &d.scan
	n := int(seg[0])
	s.comps = s.list[:0]
	for i := range n {
		id, tables := seg[1+2*i], seg[2+2*i]
		var c *component
		for k := range d.frame.comps {
			if d.frame.comps[k].id == id {
				c = &d.frame.comps[k]
			}
		}
		if c == nil || tables>>4 > 3 || tables&15 > 3 {
			return nil, d.errorf("scan of component %d with tables %#02x", id, tables)
		}
		for _, other := range s.comps {
			if other == c {
				return nil, d.errorf("component %d twice in a scan", id)
			}
		}
		c.dc, c.ac, c.seen = tables>>4, tables&15, true
		s.comps = append(s.comps, c)
	}
	t := seg[1+2*n:]
	s.first, s.last, s.high, s.low = int(t[0]), int(t[1]), int(t[2]>>4), int(t[2]&15)
	if !d.frame.progressive {
		s.first, s.last, s.high, s.low = 0, 63, 0, 0
	}
	if s.last > 63 || s.first > s.last || s.first == 0 && s.last != 0 && d.frame.progressive ||
		s.first > 0 && n > 1 || s.low > 13 || s.high > 0 && s.high != s.low+1 {
		return nil, d.errorf("scan of coefficients %d to %d, bits %d to %d", s.first, s.last, s.high, s.low)
	}
	for _, c := range s.comps {
		needDC := s.first == 0 && s.high == 0
		needAC := s.last > 0
		if needDC && !d.huff[0][c.dc].defined || needAC && !d.huff[1][c.ac].defined {
			return nil, d.errorf("scan without its Huffman tables")
		}
		if !d.hasQuant[c.tq] {
			return nil, d.errorf("component %d without a quantization table", c.id)
		}
	}
	return s, nil
}

// readScan decodes the entropy-coded data of a scan.
func (d *Decoder) readScan(s *scanHeader) error {
	src := d.data[d.pos:]
	var read int
	var ended bool
	d.clean, d.starts, read, ended = unstuff(d.clean, d.starts, src)
	d.pos += read
	b := &d.bits
	mcusX, mcusY := d.frame.mcusX, d.frame.mcusY
	interleaved := len(s.comps) > 1
	if !interleaved {
		mcusX, mcusY = s.comps[0].blocksX, s.comps[0].blocksY
	}
	// Rows below the region need not be read, unless it is in doubt whether the file
	// is whole.
	lastRow := mcusY
	if ended && !d.frame.progressive {
		lastRow = 0
		for _, c := range s.comps {
			rows := c.needY1
			if interleaved {
				rows = ceilDiv(c.needY1, c.v)
			}
			lastRow = max(lastRow, rows)
		}
	}
	interval, left := 0, 0
	d.eobRun = 0
	for my := range lastRow {
		for mx := range mcusX {
			if left == 0 {
				if interval > 0 && b.consumed() > 8*d.starts[interval] || interval+1 >= len(d.starts) {
					return d.errorf("in row %d of %d: %w", my, mcusY, errShort)
				}
				// Without restarts, the only interval is the whole scan.
				left = mcusX * mcusY
				if d.restart > 0 {
					left = d.restart
				}
				*b = bits{data: d.clean, pos: d.starts[interval]}
				interval++
				for _, c := range s.comps {
					c.pred = 0
				}
				d.eobRun = 0
			}
			left--
			for _, c := range s.comps {
				h, v := c.h, c.v
				if !interleaved {
					h, v = 1, 1
				}
				for j := range v {
					for i := range h {
						if err := d.block(s, c, mx*h+i, my*v+j); err != nil {
							return d.errorf("in row %d of %d: %w", my, mcusY, err)
						}
					}
				}
			}
		}
		if b.consumed() > 8*d.starts[interval] {
			return d.errorf("in row %d of %d: %w", my, mcusY, errShort)
		}
	}
	return nil
}

// block decodes one block of a scan, and transforms it where all of it is known.
func (d *Decoder) block(s *scanHeader, c *component, x, y int) error {
	if d.frame.progressive {
		return d.refine(s, c, c.coef[64*(y*c.stride+x):][:64:64])
	}
	dc, ac := &d.huff[0][c.dc], &d.huff[1][c.ac]
	if x < c.needX0 || x >= c.needX1 || y < c.needY0 || y >= c.needY1 {
		return d.skipBlock(c, dc, ac)
	}
	clear(d.work[:])
	flat, err := d.readBlock(c, dc, ac, &d.quant[c.tq])
	if err != nil {
		return err
	}
	d.transform(c, x, y, flat)
	return nil
}

// transform turns d.work into pixels; flat says that it has a DC value only.
func (d *Decoder) transform(c *component, x, y int, flat bool) {
	out := c.pix[y*c.size*c.pitch+x*c.size:]
	switch c.size {
	case 8:
		if flat {
			fill8(d.work[0], out, c.pitch)
		} else {
			idct8(&d.work, out, c.pitch)
		}
	case 4:
		idct4(&d.work, out, c.pitch)
	case 2:
		idct2(&d.work, out, c.pitch)
	default:
		idct1(d.work[0], out)
	}
}

// readDC decodes a DC difference and returns the new value.
func (d *Decoder) readDC(c *component, h *huffman) error {
	size, ok := d.bits.symbol(h)
	if !ok || size > 15 {
		return errCode
	}
	if size > 0 {
		c.pred += extend(d.bits.take(int(size)), int(size))
	}
	return nil
}

// readBlock decodes a sequential block into d.work, dequantized. It reports
// whether all AC coefficients are zero.
func (d *Decoder) readBlock(c *component, dc, ac *huffman, quant *[64]int32) (flat bool, err error) {
	if err := d.readDC(c, dc); err != nil {
		return false, err
	}
	work := &d.work
	work[0] = c.pred * quant[0]
	b := d.bits // a copy that the compiler can keep in registers
	flat = true
	for k := 1; k < 64; k++ {
		if b.n < 32 {
			b.refill()
		}
		e := ac.look[b.acc>>(64-lookBits)]
		if e&whole != 0 {
			length := uint(e & lenMask)
			b.acc <<= length
			b.n -= length
			k += int(e >> 8 & 0xff)
			if k > 63 {
				break
			}
			work[natural[k]&63] = (int32(e) >> signShift) * quant[k]
			flat = false
			continue
		}
		length, symbol := int(e&lenMask), uint8(e>>16)
		if e == 0 {
			if length, symbol = ac.slow(uint32(b.acc >> 48)); length == 0 {
				return false, errCode
			}
		}
		b.acc <<= uint(length)
		b.n -= uint(length)
		run, size := int(symbol>>4), int(symbol&15)
		if size == 0 {
			if run != 15 {
				break
			}
			k += 15
			continue
		}
		if k += run; k > 63 {
			return false, fmt.Errorf("%w: a run leads out of its block", errCode)
		}
		work[natural[k]&63] = extend(b.take(size), size) * quant[k]
		flat = false
	}
	d.bits = b
	return flat, nil
}

// skipBlock reads past a block of which only the DC difference matters.
func (d *Decoder) skipBlock(c *component, dc, ac *huffman) error {
	if err := d.readDC(c, dc); err != nil {
		return err
	}
	b := d.bits
	for k := 1; k < 64; k++ {
		if b.n < 32 {
			b.refill()
		}
		e := ac.look[b.acc>>(64-lookBits)]
		if e&whole != 0 {
			length := uint(e & lenMask)
			b.acc <<= length
			b.n -= length
			k += int(e >> 8 & 0xff)
			continue
		}
		length, symbol := int(e&lenMask), uint8(e>>16)
		if e == 0 {
			if length, symbol = ac.slow(uint32(b.acc >> 48)); length == 0 {
				return errCode
			}
		}
		run, size := int(symbol>>4), int(symbol&15)
		length += size
		b.acc <<= uint(length)
		b.n -= uint(length)
		if size == 0 && run != 15 {
			break
		}
		k += run
	}
	d.bits = b
	return nil
}
