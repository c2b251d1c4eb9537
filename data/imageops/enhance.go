package imageops

import (
	"math"

	"github.com/gonatten/gonatten/data/raster"
)

// The enhancements blend an image with a degenerate version of itself: factor 0
// gives that version, 1 the image, values above 1 lie on the other side of it.

// blend is the mixture of a degenerate value and an image's value, in 32-bit
// floats and cut off to an integer as Pillow has it.
func blend(degenerate, value int, factor float32) int {
	// The conversion keeps processors that can from multiplying and adding in one
	// step, which would round differently.
	out := float32(degenerate) + float32(factor*float32(value-degenerate))
	return int(min(255, max(0, out)))
}

// differences holds the whole part of factor*(value-degenerate) for each
// difference from -255 to 255: the blend is the degenerate value plus that.
type differences [511]int16

func (d *differences) fill(factor float32) {
	for i := range d {
		d[i] = int16(math.Floor(float64(factor * float32(i-255))))
	}
}

func (d *differences) blend(degenerate, value uint8) uint8 {
	out := int32(degenerate) + int32(d[255+int(value)-int(degenerate)])
	if uint32(out) > 255 {
		out = ^out >> 31
	}
	return uint8(out)
}

// Brightness blends with black.
func Brightness(m *raster.Image, factor float64) {
	var t table
	t.fill(func(v int) int { return blend(0, v, float32(factor)) })
	applyOne(m.Pix, &t)
}

// Contrast blends with a gray image of the mean luminance.
func Contrast(m *raster.Image, factor float64) {
	if len(m.Pix) == 0 {
		return
	}
	sum := 0
	if m.Channels == 1 {
		for _, v := range m.Pix {
			sum += int(v)
		}
	} else {
		for i := 0; i+3 <= len(m.Pix); i += 3 {
			p := m.Pix[i : i+3 : i+3]
			sum += int(raster.Luma(p[0], p[1], p[2]))
		}
	}
	mean := int(float64(sum)/float64(m.Width*m.Height) + 0.5)
	var t table
	t.fill(func(v int) int { return blend(mean, v, float32(factor)) })
	applyOne(m.Pix, &t)
}

// Color blends with the gray version: the saturation. A gray image stays.
func Color(m *raster.Image, factor float64) {
	if m.Channels == 1 {
		return
	}
	var d differences
	d.fill(float32(factor))
	for i := 0; i+3 <= len(m.Pix); i += 3 {
		p := m.Pix[i : i+3 : i+3]
		l := raster.Luma(p[0], p[1], p[2])
		p[0], p[1], p[2] = d.blend(l, p[0]), d.blend(l, p[1]), d.blend(l, p[2])
	}
}

// Sharpness writes to dst the blend of src with a smoothed version of it, in which
// each inner pixel is the mean of its 3x3 neighbourhood with the centre counted
// five times. dst must not be src.
func Sharpness(dst, src *raster.Image, factor float64) {
	dst.CopyFrom(src)
	if src.Width < 3 || src.Height < 3 {
		return // the border is not smoothed
	}
	var d differences
	d.fill(float32(factor))
	c := src.Channels
	n := src.Width * c
	for y := 1; y < src.Height-1; y++ {
		above, row, below := src.Row(y-1), src.Row(y), src.Row(y+1)
		out := dst.Row(y)
		// Sums of the three rows, so that each is made once and not three times.
		for ch := range c {
			left := int(above[ch]) + int(row[ch]) + int(below[ch])
			middle := int(above[ch+c]) + int(row[ch+c]) + int(below[ch+c])
			for i := ch + c; i < n-c; i += c {
				right := int(above[i+c]) + int(row[i+c]) + int(below[i+c])
				v := row[i]
				smooth := (2*(left+middle+right+4*int(v)) + 13) / 26
				out[i] = d.blend(uint8(smooth), v)
				left, middle = middle, right
			}
		}
	}
}

// Hue turns the colours around the HSV circle by shift, -0.5 to 0.5 of a full
// turn, by way of an 8-bit HSV image as torchvision's adjust_hue does. A gray
// image stays.
func Hue(m *raster.Image, shift float64) {
	if m.Channels == 1 {
		return
	}
	turn := uint8(int(shift * 255)) // wraps around
	for i := 0; i+3 <= len(m.Pix); i += 3 {
		p := m.Pix[i : i+3 : i+3]
		h, s, v := toHSV(p[0], p[1], p[2])
		p[0], p[1], p[2] = fromHSV(h+turn, s, v)
	}
}

// toHSV is Pillow's conversion to its 8-bit HSV mode.
func toHSV(r, g, b uint8) (h, s, v uint8) {
	hi, lo := max(r, g, b), min(r, g, b)
	if hi == lo {
		return 0, 0, hi
	}
	spread := float32(hi - lo)
	rc, gc, bc := float32(hi-r)/spread, float32(hi-g)/spread, float32(hi-b)/spread
	var angle float32
	switch hi {
	case r:
		angle = bc - gc
	case g:
		angle = float32(2 + float64(rc) - float64(bc))
	default:
		angle = float32(4 + float64(gc) - float64(rc))
	}
	turn := float64(angle)/6 + 1
	turn -= math.Floor(turn)
	return uint8(float64(float32(turn)) * 255), uint8(float64(spread/float32(hi)) * 255), hi
}

// fromHSV is the way back.
func fromHSV(h, s, v uint8) (r, g, b uint8) {
	if s == 0 {
		return v, v, v
	}
	turn := float64(h) * 6 / 255
	sector := math.Floor(turn)
	f, fs := float64(float32(turn-sector)), float64(float32(s)/255)
	p := uint8(math.Round(float64(v) * (1 - fs)))
	q := uint8(math.Round(float64(v) * (1 - fs*f)))
	t := uint8(math.Round(float64(v) * (1 - fs*(1-f))))
	switch int(sector) % 6 {
	case 0:
		return v, t, p
	case 1:
		return q, v, p
	case 2:
		return p, v, t
	case 3:
		return p, q, v
	case 4:
		return t, p, v
	}
	return v, p, q
}
