package jpeg

import (
	"image"

	"github.com/gonatten/gonatten/data/raster"
)

// convert upsamples the colour planes and writes the region as gray or RGB.
func (d *Decoder) convert(dst *raster.Image, region image.Rectangle) {
	f := &d.frame
	y := &f.comps[0]
	if len(f.comps) == 1 {
		dst.Reset(region.Dx(), region.Dy(), 1)
		for row := range dst.Height {
			copy(dst.Row(row), y.pix[(region.Min.Y+row)*y.pitch+region.Min.X:])
		}
		return
	}
	dst.Reset(region.Dx(), region.Dy(), 3)
	// Room for the pixels to the left and right of the region that upsampling in
	// pairs writes too.
	width := f.hMax*y.stride*y.size + 8
	d.y, d.cb, d.cr = grow(d.y, width), grow(d.cb, width), grow(d.cr, width)
	for row := range dst.Height {
		at := region.Min.Y + row
		cb := d.upsample(&f.comps[1], d.cb, at, region.Min.X, region.Max.X)
		cr := d.upsample(&f.comps[2], d.cr, at, region.Min.X, region.Max.X)
		luma := d.upsample(y, d.y, at, region.Min.X, region.Max.X)
		if d.isRGB() {
			interleave(dst.Row(row), luma, cb, cr)
		} else {
			toRGB(dst.Row(row), luma, cb, cr)
		}
	}
}

// isRGB tells whether the components are red, green and blue: by the Adobe marker,
// else, without a JFIF marker, by their names.
func (d *Decoder) isRGB() bool {
	c := d.frame.comps
	if d.jfif {
		return false
	}
	if d.adobe >= 0 {
		return d.adobe == 0
	}
	return c[0].id == 'R' && c[1].id == 'G' && c[2].id == 'B'
}

// upsample returns columns [x0, x1) of a row of a component, brought to the size
// of the picture, using buf where they are not there already.
func (d *Decoder) upsample(c *component, buf []uint8, y, x0, x1 int) []uint8 {
	h, v := d.frame.expansion(c)
	row := func(y int) []uint8 { return c.pix[y*c.pitch:][:c.width] }
	near := y / v
	// The triangle filter mixes in the next row on the side where the pixel lies.
	far := near
	if v == 2 {
		far = min(max(near-1+2*(y&1), 0), c.height-1)
	}
	fancy := d.frame.base > 1
	switch {
	case h == 1 && v == 1:
		return row(near)[x0:x1]
	case h == 2 && v == 1 && fancy && c.width > 2:
		triangle2(buf, row(near), x0/2, (x1+1)/2)
	case h == 2 && v == 2 && fancy && c.width > 2:
		triangle4(buf, row(near), row(far), x0/2, (x1+1)/2)
	case h == 1 && v == 2 && fancy:
		a, b, bias := row(near), row(far), 1+y&1
		for x := x0; x < x1; x++ {
			buf[x-x0] = uint8((3*int(a[x]) + int(b[x]) + bias) >> 2)
		}
		return buf[:x1-x0]
	default:
		a := row(near)
		for x := x0; x < x1; x++ {
			buf[x-x0] = a[x/h]
		}
		return buf[:x1-x0]
	}
	return buf[x0&1:][:x1-x0]
}

// triangle2 doubles pixels [from, to) of a row: each new pixel is three quarters
// the nearer and one quarter the farther one.
func triangle2(out, in []uint8, from, to int) {
	for i := from; i < to; i++ {
		v := int(in[i])
		left, right := (3*v+int(in[max(0, i-1)])+1)>>2, (3*v+int(in[min(len(in)-1, i+1)])+2)>>2
		o := out[2*(i-from) : 2*(i-from)+2 : 2*(i-from)+2]
		o[0], o[1] = uint8(left), uint8(right)
	}
}

// triangle4 is the same in both directions, for the row that lies nearer to near
// than to far.
func triangle4(out, near, far []uint8, from, to int) {
	last := len(near) - 1
	for i := from; i < to; i++ {
		if i > 0 {
			n := triangle4Vector(out[2*(i-from):], near, far, i, to)
			if i += n; i >= to {
				break
			}
		}
		left, right := max(i-1, 0), min(i+1, last)
		sum := 9*int(near[i]) + 3*int(far[i])
		o := out[2*(i-from) : 2*(i-from)+2 : 2*(i-from)+2]
		o[0] = uint8((sum + 3*int(near[left]) + int(far[left]) + 8) >> 4)
		o[1] = uint8((sum + 3*int(near[right]) + int(far[right]) + 7) >> 4)
	}
}

// toRGB converts a row from YCbCr (ITU-R BT.601 in full range, as JFIF has it).
func toRGB(out, y, cb, cr []uint8) {
	const half = 1 << 15
	n := len(y)
	cb, cr, out = cb[:n], cr[:n], out[:3*n]
	for i := toRGBVector(out, y, cb, cr); i < n; i++ {
		l, b, r := int32(y[i]), int32(cb[i])-128, int32(cr[i])-128
		o := out[3*i : 3*i+3 : 3*i+3]
		o[0] = clip(l + (91881*r+half)>>16)
		o[1] = clip(l + (-22554*b-46802*r+half)>>16)
		o[2] = clip(l + (116130*b+half)>>16)
	}
}

func clip(v int32) uint8 {
	if uint32(v) > 255 {
		v = ^v >> 31
	}
	return uint8(v)
}

// interleave writes a row whose components are red, green and blue.
func interleave(out, r, g, b []uint8) {
	for i := range r {
		out[3*i], out[3*i+1], out[3*i+2] = r[i], g[i], b[i]
	}
}
