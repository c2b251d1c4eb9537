package imageops

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/gonatten/gonatten/data/raster"
	"github.com/gonatten/gonatten/data/resample"
)

// Matrix maps a place (x, y) of the output to a place of the input:
// (A x + B y + C, D x + E y + F), in pixels, pixel centres at halves.
type Matrix struct{ A, B, C, D, E, F float64 }

// ShearX moves rows sideways by factor times their distance from the top.
func ShearX(factor float64) Matrix { return Matrix{A: 1, B: factor, E: 1} }

// ShearY moves columns up or down by factor times their distance from the left.
func ShearY(factor float64) Matrix { return Matrix{A: 1, D: factor, E: 1} }

// Translate moves the image by (-dx, -dy) pixels.
func Translate(dx, dy float64) Matrix { return Matrix{A: 1, C: dx, E: 1, F: dy} }

// Rotate turns an image of the given size counter-clockwise around its centre.
func Rotate(degrees float64, width, height int) Matrix {
	rad := -math.Mod(math.Mod(degrees, 360)+360, 360) * math.Pi / 180
	round := func(v float64) float64 { return math.Round(v*1e15) / 1e15 }
	m := Matrix{A: round(math.Cos(rad)), B: round(math.Sin(rad)), D: round(-math.Sin(rad)), E: round(math.Cos(rad))}
	cx, cy := float64(width)/2, float64(height)/2
	m.C = m.A*-cx + m.B*-cy + cx
	m.F = m.D*-cx + m.E*-cy + cy
	return m
}

// Affine writes to dst, of the same size as src, the input that m points to, with
// Nearest, Bilinear or Bicubic (Keys' cubic with a = -1) interpolation and no
// antialiasing, and the fill colour where m points outside. dst must not be src.
// It fails for another filter.
func Affine(dst, src *raster.Image, m Matrix, f resample.Filter, fill [3]uint8) error {
	dst.Reset(src.Width, src.Height, src.Channels)
	var sample func(out []uint8, src *raster.Image, u, v, du, dv float64)
	switch {
	case f == resample.Nearest:
		affineNearest(dst, src, m, fill)
		return nil
	case f == resample.Bilinear && src.Channels == 3:
		sample = bilinear3
	case f == resample.Bilinear:
		sample = bilinear1
	case f == resample.Bicubic && src.Channels == 3:
		sample = bicubic3
	case f == resample.Bicubic:
		sample = bicubic1
	default:
		return fmt.Errorf("imageops: Affine: filter %v cannot be used, want nearest, bilinear or bicubic", f)
	}
	c := src.Channels
	for y := range dst.Height {
		fy := float64(y) + 0.5
		u, v := m.B*fy+m.C, m.E*fy+m.F // plus (A, D) times x + 1/2
		from, to := span(m, u, v, src.Width, src.Height)
		row := dst.Row(y)
		paint(row[:from*c], c, fill)
		paint(row[to*c:], c, fill)
		if from < to {
			fx := float64(from) + 0.5
			sample(row[from*c:to*c], src, m.A*fx+u-0.5, m.D*fx+v-0.5, m.A, m.D)
		}
	}
	return nil
}

// span returns the columns [from, to) whose places in the input lie inside it;
// they form one run, since the input is convex.
func span(m Matrix, u, v float64, width, height int) (from, to int) {
	inside := func(x int) bool {
		fx := float64(x) + 0.5
		px, py := m.A*fx+u, m.D*fx+v
		return px >= 0 && px < float64(width) && py >= 0 && py < float64(height)
	}
	lo, hi := 0.0, float64(width) // columns, as real numbers
	limit := func(slope, at, size float64) {
		if slope == 0 {
			if at < 0 || at >= size {
				hi = -1
			}
			return
		}
		a, b := -at/slope-0.5, (size-at)/slope-0.5
		lo, hi = max(lo, min(a, b)), min(hi, max(a, b)+1)
	}
	limit(m.A, u, float64(width))
	limit(m.D, v, float64(height))
	if hi < lo {
		return 0, 0
	}
	// The bounds are good to a column; the exact test settles the ends.
	from, to = max(0, int(lo)-1), min(width, int(hi)+2)
	for from < to && !inside(from) {
		from++
	}
	for to > from && !inside(to-1) {
		to--
	}
	return from, to
}

// affineNearest takes the pixel pointed to, in 16.16 fixed point.
func affineNearest(dst, src *raster.Image, m Matrix, fill [3]uint8) {
	fix := func(v float64) int { return int(math.Floor(v*65536 + 0.5)) }
	a, b, d, e := fix(m.A), fix(m.B), fix(m.D), fix(m.E)
	x0, y0 := fix(m.C+m.A*0.5+m.B*0.5), fix(m.F+m.D*0.5+m.E*0.5)
	c := src.Channels
	for y := range dst.Height {
		row := dst.Row(y)
		u, v := x0+b*y, y0+e*y
		for x := range dst.Width {
			sx, sy := u>>16, v>>16
			if sx >= 0 && sx < src.Width && sy >= 0 && sy < src.Height {
				copy(row[x*c:x*c+c], src.At(sx, sy))
			} else {
				paint(row[x*c:x*c+c], c, fill)
			}
			u, v = u+a, v+d
		}
	}
}

// fractionBits is the precision of a place between two pixels: 2^-10 of a pixel
// changes a value by a quarter of a level at most. Two axes of it, 8 bits of pixel
// and the cubic's overshoot of 1.5 per axis fit in the 32 bits of a lane.
const (
	fractionBits = 10
	one          = 1 << fractionBits
	places       = 1 << 20 // coordinates are held in units of 1/places
)

// split gives the whole pixel and the rounded fraction of a coordinate.
func split(at int64) (pixel, fraction int) {
	at += places >> (fractionBits + 1)
	return int(at >> 20), int(at>>(20-fractionBits)) & (one - 1)
}

func clip(v int32) uint8 {
	if uint32(v) > 255 {
		v = ^v >> 31
	}
	return uint8(v)
}

// load returns the red and blue of a pixel in the two halves of one word, and its
// green; the byte behind the pixel is read too.
func load(pix []uint8, at int) (rb, g int64) {
	v := uint64(binary.LittleEndian.Uint32(pix[at : at+4 : at+4]))
	return int64(v&0xff | v&0xff0000<<16), int64(v >> 8 & 0xff)
}

// loadEnd is load for the last pixels of a buffer.
func loadEnd(pix []uint8, at int) (rb, g int64) {
	return int64(pix[at]) | int64(pix[at+2])<<32, int64(pix[at+1])
}

// store rounds down the sums of a pixel. A hair is added first: places were
// rounded to 2^-10 pixels, and a value that is a whole number must stay it.
func store(out []uint8, at int, rb, g int64) {
	const hair = 1 << (2*fractionBits - 6)
	rb += hair | hair<<32
	lo := int32(rb)
	hi := int32((rb - int64(lo)) >> 32)
	o := out[at : at+3 : at+3]
	o[0], o[1], o[2] = clip(lo>>(2*fractionBits)), clip(int32(g+hair)>>(2*fractionBits)), clip(hi>>(2*fractionBits))
}

// bilinear3 samples a run of RGB pixels at (u, v), (u+du, v+dv), ...
func bilinear3(out []uint8, src *raster.Image, u, v, du, dv float64) {
	w, h := src.Width, src.Height
	pix := src.Pix
	safe := len(pix) - 4 // the last place that load may start at
	for i, k := 0, 0; i+3 <= len(out); i, k = i+3, k+1 {
		x, fx := split(int64(math.Floor((u + float64(k)*du) * places)))
		y, fy := split(int64(math.Floor((v + float64(k)*dv) * places)))
		x0, x1 := 3*min(max(x, 0), w-1), 3*min(max(x+1, 0), w-1)
		y0, y1 := 3*w*min(max(y, 0), h-1), 3*w*min(max(y+1, 0), h-1)
		var a, ag, b, bg, c, cg, d, dg int64
		if y1+x1 <= safe {
			a, ag = load(pix, y0+x0)
			b, bg = load(pix, y0+x1)
			c, cg = load(pix, y1+x0)
			d, dg = load(pix, y1+x1)
		} else {
			a, ag = loadEnd(pix, y0+x0)
			b, bg = loadEnd(pix, y0+x1)
			c, cg = loadEnd(pix, y1+x0)
			d, dg = loadEnd(pix, y1+x1)
		}
		wx, wy := int64(fx), int64(fy)
		top, topg := a*(one-wx)+b*wx, ag*(one-wx)+bg*wx
		low, lowg := c*(one-wx)+d*wx, cg*(one-wx)+dg*wx
		store(out, i, top*(one-wy)+low*wy, topg*(one-wy)+lowg*wy)
	}
}

// bilinear1 is the same for gray.
func bilinear1(out []uint8, src *raster.Image, u, v, du, dv float64) {
	w, h := src.Width, src.Height
	for i := range out {
		x, fx := split(int64(math.Floor((u + float64(i)*du) * places)))
		y, fy := split(int64(math.Floor((v + float64(i)*dv) * places)))
		x0, x1 := min(max(x, 0), w-1), min(max(x+1, 0), w-1)
		y0, y1 := min(max(y, 0), h-1)*w, min(max(y+1, 0), h-1)*w
		top := int(src.Pix[y0+x0])*(one-fx) + int(src.Pix[y0+x1])*fx
		low := int(src.Pix[y1+x0])*(one-fx) + int(src.Pix[y1+x1])*fx
		const hair = 1 << (2*fractionBits - 6)
		out[i] = clip(int32(top*(one-fy)+low*fy+hair) >> (2 * fractionBits))
	}
}
