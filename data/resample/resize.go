package resample

import (
	"encoding/binary"
	"fmt"
	"image"
	"math"

	"github.com/gonatten/gonatten/data/raster"
)

// Resizer resizes images, keeping its tables and buffers between calls. The zero
// value is ready; it serves one goroutine at a time.
type Resizer struct {
	horizontal, vertical taps
	between              raster.Image // after the horizontal pass
	tail                 []uint8      // copy of an image's last row with room behind it
}

// Resize writes the part src of image in, resized to width x height, into dst. It
// equals cropping first and resizing then: pixels outside src have no influence.
// dst must not be in. It fails where a size is not positive or src is not inside
// the image.
func (r *Resizer) Resize(dst, in *raster.Image, src image.Rectangle, width, height int, f Filter) error {
	return r.ResizeWindow(dst, in, src, width, height, image.Rect(0, 0, width, height), f)
}

// ResizeWindow is Resize followed by a crop to window, computing no more than the
// window.
func (r *Resizer) ResizeWindow(dst, in *raster.Image, src image.Rectangle, width, height int, window image.Rectangle, f Filter) error {
	if width < 1 || height < 1 {
		return fmt.Errorf("resample: Resize: bad size %dx%d", width, height)
	}
	if src.Empty() || !src.In(image.Rect(0, 0, in.Width, in.Height)) {
		return fmt.Errorf("resample: Resize: source %v is not inside the image of %dx%d", src, in.Width, in.Height)
	}
	if window.Empty() || !window.In(image.Rect(0, 0, width, height)) {
		return fmt.Errorf("resample: Resize: window %v is not inside the result of %dx%d", window, width, height)
	}
	switch {
	case src.Dx() == width && src.Dy() == height:
		crop(dst, in, window.Add(src.Min))
		return nil
	case f == Nearest:
		nearest(dst, in, src, width, height, window)
		return nil
	case f < Nearest || f > Lanczos:
		return fmt.Errorf("resample: Resize: unknown filter %v", f)
	}
	// The vertical pass tells which rows the horizontal one must make.
	rows := window.Add(image.Pt(0, src.Min.Y))
	needVertical := src.Dy() != height
	if needVertical {
		r.vertical.compute(f, src.Dy(), height, window.Min.Y, window.Max.Y)
		last := window.Dy() - 1
		rows.Min.Y = src.Min.Y + int(r.vertical.first[0])
		rows.Max.Y = src.Min.Y + int(r.vertical.first[last]+r.vertical.count[last])
		for i := range r.vertical.first {
			r.vertical.first[i] -= int32(rows.Min.Y - src.Min.Y)
		}
	}
	mid := dst
	if needVertical {
		mid = &r.between
	}
	if src.Dx() != width {
		r.horizontal.compute(f, src.Dx(), width, window.Min.X, window.Max.X)
		mid.Reset(window.Dx(), rows.Dy(), in.Channels)
		if in.Channels == 3 {
			r.horizontal3(mid, in, src.Min.X, rows.Min.Y)
		} else {
			r.horizontal1(mid, in, src.Min.X, rows.Min.Y)
		}
	} else {
		x0 := src.Min.X + window.Min.X
		crop(mid, in, image.Rect(x0, rows.Min.Y, x0+window.Dx(), rows.Max.Y))
	}
	if needVertical {
		dst.Reset(window.Dx(), window.Dy(), in.Channels)
		r.verticalPass(dst, mid)
	}
	return nil
}

// crop copies a part of an image.
func crop(dst, in *raster.Image, src image.Rectangle) {
	dst.Reset(src.Dx(), src.Dy(), in.Channels)
	for y := range dst.Height {
		copy(dst.Row(y), in.Row(src.Min.Y + y)[src.Min.X*in.Channels:])
	}
}

// nearest takes the pixel under the centre of each output pixel. Positions are
// summed up, not multiplied, as Pillow does: the last bit can decide.
func nearest(dst, in *raster.Image, src image.Rectangle, width, height int, window image.Rectangle) {
	positions := func(from, size, out, lo, hi int) []int {
		step := float64(size) / float64(out)
		at := step * 0.5
		var p []int
		for i := range hi {
			if i >= lo {
				p = append(p, from+min(int(math.Floor(at)), size-1))
			}
			at += step
		}
		return p
	}
	xs := positions(src.Min.X, src.Dx(), width, window.Min.X, window.Max.X)
	ys := positions(src.Min.Y, src.Dy(), height, window.Min.Y, window.Max.Y)
	dst.Reset(window.Dx(), window.Dy(), in.Channels)
	c := in.Channels
	for y, sy := range ys {
		out, row := dst.Row(y), in.Row(sy)
		for x, sx := range xs {
			copy(out[x*c:x*c+c], row[sx*c:sx*c+c])
		}
	}
}

// Two sums are carried in the halves of one 64-bit word: a product of a packed
// pair (a + b<<32) with a signed coefficient is a*c + (b*c)<<32 modulo 2^64, and
// since both sums fit in 32 bits with their signs, the low half gives the first,
// and the rest, less the first's sign, the second.
const (
	lanes = 0x000000ff000000ff
	half  = 1<<(precision-1) | 1<<(precision-1)<<32
)

// unpack splits a pair of sums and brings both to 8 bits.
func unpack(sum int64) (a, b uint8) {
	lo := int32(sum)
	hi := int32((sum - int64(lo)) >> 32)
	return clip(lo >> precision), clip(hi >> precision)
}

// clip limits a value to 0 ... 255.
func clip(v int32) uint8 {
	if uint32(v) > 255 {
		v = ^v >> 31
	}
	return uint8(v)
}

// horizontal3 resizes rows of RGB pixels, four rows at a time where the processor
// has vector instructions for it, else two.
func (r *Resizer) horizontal3(dst, in *raster.Image, x0, y0 int) {
	t := &r.horizontal
	for y := 0; y < dst.Height; y += 4 {
		var rows, outs [4][]uint8
		for k := range rows {
			at := min(y+k, dst.Height-1) // the last row may be made several times
			rows[k], outs[k] = r.padded(in, y0+at)[3*x0:], dst.Row(at)
		}
		from := pixels(&outs, &rows, t)
		t.twoRows(outs[0], outs[1], rows[0], rows[1], from)
		t.twoRows(outs[2], outs[3], rows[2], rows[3], from)
	}
}

// twoRows makes the pixels of two rows from number from on.
func (t *taps) twoRows(out1, out2, row1, row2 []uint8, from int) {
	for x := from; x < len(t.first); x++ {
		first, n := int(t.first[x]), int(t.count[x])
		coef := t.coef[x*t.stride : x*t.stride+n]
		p1, p2 := row1[3*first:3*(first+n)+1], row2[3*first:3*(first+n)+1]
		red, green, blue := int64(half), int64(half), int64(half)
		for _, c := range coef {
			if len(p1) < 4 || len(p2) < 4 {
				break // never: tells the compiler that the loads are inside
			}
			v := uint64(binary.LittleEndian.Uint32(p1)) | uint64(binary.LittleEndian.Uint32(p2))<<32
			p1, p2 = p1[3:], p2[3:]
			w := int64(c)
			red += int64(v&lanes) * w
			green += int64(v>>8&lanes) * w
			blue += int64(v>>16&lanes) * w
		}
		o1, o2 := out1[3*x:3*x+3:3*x+3], out2[3*x:3*x+3:3*x+3]
		o1[0], o2[0] = unpack(red)
		o1[1], o2[1] = unpack(green)
		o1[2], o2[2] = unpack(blue)
	}
}

// padded returns row y with at least one byte behind it, so that four bytes can be
// loaded at its last pixel.
func (r *Resizer) padded(in *raster.Image, y int) []uint8 {
	n := in.Width * 3
	if end := (y+1)*n + 1; end <= len(in.Pix) {
		return in.Pix[y*n : end]
	}
	r.tail = grow(r.tail, n+1)
	copy(r.tail, in.Row(y))
	return r.tail
}

// horizontal1 resizes rows of gray pixels.
func (r *Resizer) horizontal1(dst, in *raster.Image, x0, y0 int) {
	t := &r.horizontal
	for y := range dst.Height {
		row, out := in.Row(y0 + y)[x0:], dst.Row(y)
		for x := range t.first {
			first, n := int(t.first[x]), int(t.count[x])
			sum := int32(1 << (precision - 1))
			pix := row[first : first+n]
			for i, c := range t.coef[x*t.stride : x*t.stride+n] {
				sum += int32(pix[i]) * c
			}
			out[x] = clip(sum >> precision)
		}
	}
}

// verticalPass resizes columns, eight bytes of a row at a time; channels do not
// matter to it.
func (r *Resizer) verticalPass(dst, in *raster.Image) {
	t := &r.vertical
	stride := in.Width * in.Channels
	for y := range dst.Height {
		first, n := int(t.first[y]), int(t.count[y])
		coef := t.coef[y*t.stride : y*t.stride+n]
		rows := in.Pix[first*stride : (first+n)*stride]
		out := dst.Row(y)
		x := columns(out, rows, stride, coef)
		for ; x+8 <= stride; x += 8 {
			s0, s1, s2, s3 := int64(half), int64(half), int64(half), int64(half)
			at := x
			for _, c := range coef {
				v := binary.LittleEndian.Uint64(rows[at : at+8 : at+8])
				at += stride
				w := int64(c)
				s0 += int64(v&lanes) * w
				s1 += int64(v>>8&lanes) * w
				s2 += int64(v>>16&lanes) * w
				s3 += int64(v>>24&lanes) * w
			}
			o := out[x : x+8 : x+8]
			o[0], o[4] = unpack(s0)
			o[1], o[5] = unpack(s1)
			o[2], o[6] = unpack(s2)
			o[3], o[7] = unpack(s3)
		}
		for ; x < stride; x++ {
			sum := int32(1 << (precision - 1))
			at := x
			for _, c := range coef {
				sum += int32(rows[at]) * c
				at += stride
			}
			out[x] = clip(sum >> precision)
		}
	}
}
