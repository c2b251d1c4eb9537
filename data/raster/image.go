package raster

import (
	"fmt"
	"image"
	"image/color"
)

// Image is an 8-bit picture, rows top to bottom, pixels left to right, channels
// interleaved: the value of channel c at (x, y) is Pix[(y*Width+x)*Channels+c].
// Channels is 1 (gray) or 3 (RGB). The zero value is an empty image whose
// Reset gives it a shape.
type Image struct {
	Pix           []uint8
	Width, Height int
	Channels      int
}

// New returns a black image of the given size. It panics on a negative size or
// a channel count other than 1 and 3.
func New(width, height, channels int) *Image {
	m := &Image{}
	m.Reset(width, height, channels)
	clear(m.Pix)
	return m
}

// Reset gives m a new shape, keeping its buffer where that is large enough;
// the pixels are undefined until written. It panics on a negative size or a
// channel count other than 1 and 3.
func (m *Image) Reset(width, height, channels int) {
	if width < 0 || height < 0 || (channels != 1 && channels != 3) {
		panic(fmt.Sprintf("raster: Reset: bad shape %dx%d with %d channels", width, height, channels))
	}
	n := width * height * channels
	if cap(m.Pix) < n {
		m.Pix = make([]uint8, n)
	}
	m.Pix = m.Pix[:n]
	m.Width, m.Height, m.Channels = width, height, channels
}

// Bounds is the rectangle of all pixels.
func (m *Image) Bounds() image.Rectangle { return image.Rect(0, 0, m.Width, m.Height) }

// Row returns the bytes of row y, Width*Channels of them.
func (m *Image) Row(y int) []uint8 {
	n := m.Width * m.Channels
	return m.Pix[y*n : (y+1)*n : (y+1)*n]
}

// At returns the bytes of one pixel, Channels of them.
func (m *Image) At(x, y int) []uint8 {
	i := (y*m.Width + x) * m.Channels
	return m.Pix[i : i+m.Channels : i+m.Channels]
}

// CopyFrom makes m a copy of src, reusing m's buffer.
func (m *Image) CopyFrom(src *Image) {
	m.Reset(src.Width, src.Height, src.Channels)
	copy(m.Pix, src.Pix)
}

// Clone returns a copy with a buffer of its own.
func (m *Image) Clone() *Image {
	out := &Image{}
	out.CopyFrom(m)
	return out
}

// Luma is the gray value of an RGB pixel, rounded: 0.299 R + 0.587 G + 0.114 B
// (ITU-R BT.601) in 16-bit fixed point.
func Luma(r, g, b uint8) uint8 {
	return uint8((19595*uint32(r) + 38470*uint32(g) + 7471*uint32(b) + 1<<15) >> 16)
}

// Convert writes src into dst with the wanted number of channels: gray becomes
// RGB by repetition, RGB becomes gray by Luma, equal counts are copied. dst must
// not be src.
func Convert(dst, src *Image, channels int) {
	switch {
	case channels == src.Channels:
		dst.CopyFrom(src)
	case channels == 3:
		dst.Reset(src.Width, src.Height, 3)
		for i, v := range src.Pix {
			p := dst.Pix[3*i : 3*i+3 : 3*i+3]
			p[0], p[1], p[2] = v, v, v
		}
	default:
		dst.Reset(src.Width, src.Height, channels)
		for i := range dst.Pix {
			p := src.Pix[3*i : 3*i+3 : 3*i+3]
			dst.Pix[i] = Luma(p[0], p[1], p[2])
		}
	}
}

// Std returns a copy as a standard image (*image.Gray or *image.NRGBA), for
// encoders and viewers.
func (m *Image) Std() image.Image {
	rect := image.Rect(0, 0, m.Width, m.Height)
	if m.Channels == 1 {
		out := image.NewGray(rect)
		copy(out.Pix, m.Pix)
		return out
	}
	out := image.NewNRGBA(rect)
	for i := 0; i < m.Width*m.Height; i++ {
		p, q := m.Pix[3*i:3*i+3:3*i+3], out.Pix[4*i:4*i+4:4*i+4]
		q[0], q[1], q[2], q[3] = p[0], p[1], p[2], 255
	}
	return out
}

// FromStd copies a standard image into dst. Gray images (8 and 16 bits) give one
// channel, all others three. Alpha is dropped, not blended: a transparent pixel
// keeps the colour stored under it, as Pillow's convert("RGB") does.
func FromStd(dst *Image, src image.Image) {
	b := src.Bounds()
	w, h := b.Dx(), b.Dy()
	switch s := src.(type) {
	case *image.Gray:
		dst.Reset(w, h, 1)
		for y := 0; y < h; y++ {
			copy(dst.Row(y), s.Pix[y*s.Stride:y*s.Stride+w])
		}
	case *image.Gray16:
		dst.Reset(w, h, 1)
		for y := 0; y < h; y++ {
			row := s.Pix[y*s.Stride:]
			for x, out := 0, dst.Row(y); x < w; x++ {
				out[x] = row[2*x]
			}
		}
	case *image.NRGBA:
		dropAlpha(dst, s.Pix, s.Stride, w, h)
	case *image.YCbCr:
		dst.Reset(w, h, 3)
		for y := 0; y < h; y++ {
			out := dst.Row(y)
			for x := 0; x < w; x++ {
				yi, ci := s.YOffset(b.Min.X+x, b.Min.Y+y), s.COffset(b.Min.X+x, b.Min.Y+y)
				out[3*x], out[3*x+1], out[3*x+2] = color.YCbCrToRGB(s.Y[yi], s.Cb[ci], s.Cr[ci])
			}
		}
	case *image.Paletted:
		table := make([][3]uint8, 256)
		for i, c := range s.Palette {
			n := color.NRGBAModel.Convert(c).(color.NRGBA)
			if raw, ok := c.(color.NRGBA); ok {
				n = raw
			}
			table[i] = [3]uint8{n.R, n.G, n.B}
		}
		dst.Reset(w, h, 3)
		for y := 0; y < h; y++ {
			out := dst.Row(y)
			for x, i := range s.Pix[y*s.Stride : y*s.Stride+w] {
				copy(out[3*x:3*x+3], table[i][:])
			}
		}
	default:
		dst.Reset(w, h, 3)
		for y := 0; y < h; y++ {
			out := dst.Row(y)
			for x := 0; x < w; x++ {
				c := color.NRGBAModel.Convert(src.At(b.Min.X+x, b.Min.Y+y)).(color.NRGBA)
				out[3*x], out[3*x+1], out[3*x+2] = c.R, c.G, c.B
			}
		}
	}
}

// dropAlpha copies the first three of every four bytes.
func dropAlpha(dst *Image, pix []uint8, stride, w, h int) {
	dst.Reset(w, h, 3)
	for y := 0; y < h; y++ {
		out, row := dst.Row(y), pix[y*stride:y*stride+4*w]
		for x := 0; x < w; x++ {
			copy(out[3*x:3*x+3], row[4*x:4*x+3])
		}
	}
}
