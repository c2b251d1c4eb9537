package imageops

import "github.com/gonatten/gonatten/data/raster"

// table maps the 256 values of one channel.
type table [256]uint8

// apply sends every byte of m through the table of its channel.
func apply(m *raster.Image, t *[3]table) {
	if m.Channels == 1 {
		applyOne(m.Pix, &t[0])
		return
	}
	for i := 0; i+3 <= len(m.Pix); i += 3 {
		p := m.Pix[i : i+3 : i+3]
		p[0], p[1], p[2] = t[0][p[0]], t[1][p[1]], t[2][p[2]]
	}
}

func applyOne(pix []uint8, t *table) {
	for i, v := range pix {
		pix[i] = t[v]
	}
}

// fill makes a table of a function, limited to 0 ... 255.
func (t *table) fill(f func(v int) int) {
	for v := range t {
		t[v] = uint8(min(255, max(0, f(v))))
	}
}

// histogram counts the values of each channel.
func histogram(m *raster.Image) [3][256]int32 {
	var h [3][256]int32
	if m.Channels == 1 {
		for _, v := range m.Pix {
			h[0][v]++
		}
		return h
	}
	for i := 0; i+3 <= len(m.Pix); i += 3 {
		p := m.Pix[i : i+3 : i+3]
		h[0][p[0]]++
		h[1][p[1]]++
		h[2][p[2]]++
	}
	return h
}

// Invert replaces each value by 255 less it.
func Invert(m *raster.Image) {
	for i, v := range m.Pix {
		m.Pix[i] = ^v
	}
}

// Posterize keeps the highest bits of each value, 0 (black) to 8 (no change).
func Posterize(m *raster.Image, bits int) {
	mask := uint8(0xff << (8 - min(8, max(0, bits))))
	for i, v := range m.Pix {
		m.Pix[i] = v & mask
	}
}

// Solarize inverts the values from threshold on; 256 changes nothing.
func Solarize(m *raster.Image, threshold int) {
	var t table
	t.fill(func(v int) int {
		if v < threshold {
			return v
		}
		return 255 - v
	})
	applyOne(m.Pix, &t)
}

// SolarizeAdd adds to the values below threshold, up to 255.
func SolarizeAdd(m *raster.Image, add, threshold int) {
	var t table
	t.fill(func(v int) int {
		if v < threshold {
			return v + add
		}
		return v
	})
	applyOne(m.Pix, &t)
}

// AutoContrast stretches each channel so that its darkest value becomes 0 and its
// brightest 255. A channel of one value stays.
func AutoContrast(m *raster.Image) {
	h := histogram(m)
	var t [3]table
	for c := range m.Channels {
		lo, hi := 0, 255
		for lo < 255 && h[c][lo] == 0 {
			lo++
		}
		for hi > 0 && h[c][hi] == 0 {
			hi--
		}
		if hi <= lo {
			t[c].fill(func(v int) int { return v })
			continue
		}
		scale := 255 / float64(hi-lo)
		offset := -float64(lo) * scale
		t[c].fill(func(v int) int { return int(float64(float64(v)*scale) + offset) })
	}
	apply(m, &t)
}

// Equalize makes the distribution of each channel's values as uniform as a
// mapping of values can.
func Equalize(m *raster.Image) {
	h := histogram(m)
	var t [3]table
	for c := range m.Channels {
		total, used, last := 0, 0, 0
		for _, n := range h[c] {
			if n > 0 {
				total, used, last = total+int(n), used+1, int(n)
			}
		}
		step := (total - last) / 255
		if used <= 1 || step == 0 {
			t[c].fill(func(v int) int { return v })
			continue
		}
		n := step / 2
		t[c].fill(func(v int) int {
			out := n / step
			n += int(h[c][v])
			return out
		})
	}
	apply(m, &t)
}
