package jpeg

import "fmt"

// refine adds what one progressive scan tells about a block (T.81, annex G).
// Coefficients are kept in zigzag order and not yet dequantized.
func (d *Decoder) refine(s *scanHeader, c *component, coef []int16) error {
	switch {
	case s.first == 0 && s.high == 0:
		if err := d.readDC(c, &d.huff[0][c.dc]); err != nil {
			return err
		}
		coef[0] = int16(c.pred << s.low)
		return nil
	case s.first == 0:
		if d.bits.bit() {
			coef[0] |= 1 << s.low
		}
		return nil
	case s.high == 0:
		return d.firstAC(s, &d.huff[1][c.ac], coef)
	}
	return d.refineAC(s, &d.huff[1][c.ac], coef)
}

// firstAC reads the first bits of a band of AC coefficients.
func (d *Decoder) firstAC(s *scanHeader, h *huffman, coef []int16) error {
	if d.eobRun > 0 {
		d.eobRun--
		return nil
	}
	for k := s.first; k <= s.last; k++ {
		symbol, ok := d.bits.symbol(h)
		if !ok {
			return errCode
		}
		run, size := int(symbol>>4), int(symbol&15)
		if size == 0 {
			if run != 15 {
				d.eobRun = d.runLength(run) - 1
				return nil
			}
			k += 15
			continue
		}
		if k += run; k > s.last {
			return fmt.Errorf("%w: a run leads out of its band", errCode)
		}
		coef[k] = int16(extend(d.bits.take(size), size) << s.low)
	}
	return nil
}

// runLength is the number of blocks, this one included, that an end-of-band symbol
// of the given run category covers.
func (d *Decoder) runLength(run int) int {
	n := 1 << run
	if run > 0 {
		if d.bits.n < 16 {
			d.bits.refill()
		}
		n += int(d.bits.take(run))
	}
	return n
}

// refineAC reads one more bit of each coefficient of a band that is known already,
// and coefficients that become known with this bit.
func (d *Decoder) refineAC(s *scanHeader, h *huffman, coef []int16) error {
	bit := int16(1) << s.low
	k := s.first
	if d.eobRun == 0 {
		for ; k <= s.last; k++ {
			symbol, ok := d.bits.symbol(h)
			if !ok {
				return errCode
			}
			run, value := int(symbol>>4), int16(0)
			switch symbol & 15 {
			case 0:
				if run != 15 {
					d.eobRun = d.runLength(run)
				}
			case 1:
				if value = -bit; d.bits.bit() {
					value = bit
				}
			default:
				return errCode
			}
			if d.eobRun > 0 {
				break
			}
			// Pass over run zeros, refining what is not zero.
			for ; k <= s.last; k++ {
				if coef[k] != 0 {
					d.refineOne(&coef[k], bit)
				} else if run--; run < 0 {
					break
				}
			}
			if value != 0 {
				if k > s.last {
					return fmt.Errorf("%w: a run leads out of its band", errCode)
				}
				coef[k] = value
			}
		}
	}
	if d.eobRun > 0 {
		for ; k <= s.last; k++ {
			if coef[k] != 0 {
				d.refineOne(&coef[k], bit)
			}
		}
		d.eobRun--
	}
	return nil
}

// refineOne adds a bit to the magnitude of a coefficient.
func (d *Decoder) refineOne(c *int16, bit int16) {
	if d.bits.bit() && *c&bit == 0 {
		if *c >= 0 {
			*c += bit
		} else {
			*c -= bit
		}
	}
}

// finish transforms the blocks of a progressive file.
func (d *Decoder) finish() {
	for i := range d.frame.comps {
		c := &d.frame.comps[i]
		quant := &d.quant[c.tq]
		for y := c.needY0; y < c.needY1; y++ {
			for x := c.needX0; x < c.needX1; x++ {
				coef := c.coef[64*(y*c.stride+x):][:64:64]
				clear(d.work[:])
				flat := true
				for k, v := range coef {
					if v != 0 {
						d.work[natural[k]&63] = int32(v) * quant[k]
						flat = flat && k == 0
					}
				}
				d.transform(c, x, y, flat)
			}
		}
	}
}
