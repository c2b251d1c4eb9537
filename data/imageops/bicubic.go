package imageops

import (
	"math"

	"github.com/gonatten/gonatten/data/raster"
)

// cubic holds, for each fraction, the four weights of the cubic through a pixel
// and its neighbours (a = -1), in units of 2^-fractionBits; each row sums up to 1.
var cubic = func() (t [one][4]int64) {
	for i := range t {
		d := float64(i) / one
		w := [4]float64{-d + 2*d*d - d*d*d, 1 - 2*d*d + d*d*d, d + d*d - d*d*d, -d*d + d*d*d}
		sum := int64(0)
		for k := range w {
			t[i][k] = int64(math.Round(w[k] * one))
			sum += t[i][k]
		}
		t[i][1+i*2/one] += one - sum // what rounding left goes to the nearer pixel
	}
	return t
}()

// bicubic3 samples a run of RGB pixels at (u, v), (u+du, v+dv), ...
func bicubic3(out []uint8, src *raster.Image, u, v, du, dv float64) {
	w, h := src.Width, src.Height
	pix := src.Pix
	safe := len(pix) - 4
	for i, k := 0, 0; i+3 <= len(out); i, k = i+3, k+1 {
		x, fx := split(int64(math.Floor((u + float64(k)*du) * places)))
		y, fy := split(int64(math.Floor((v + float64(k)*dv) * places)))
		wx, wy := &cubic[fx], &cubic[fy]
		var rb, g int64
		if x >= 1 && x+2 < w && y >= 1 && y+2 < h && ((y+2)*w+x+2)*3 <= safe {
			at := ((y-1)*w + x - 1) * 3
			for _, weight := range wy {
				row := pix[at : at+13 : at+13]
				a, ag := load(row, 0)
				b, bg := load(row, 3)
				c, cg := load(row, 6)
				d, dg := load(row, 9)
				rb += (a*wx[0] + b*wx[1] + c*wx[2] + d*wx[3]) * weight
				g += (ag*wx[0] + bg*wx[1] + cg*wx[2] + dg*wx[3]) * weight
				at += w * 3
			}
		} else {
			for j, weight := range wy {
				row := min(max(y-1+j, 0), h-1) * w
				var rowRB, rowG int64
				for n, wn := range wx {
					a, ag := loadEnd(pix, (row+min(max(x-1+n, 0), w-1))*3)
					rowRB += a * wn
					rowG += ag * wn
				}
				rb += rowRB * weight
				g += rowG * weight
			}
		}
		store(out, i, rb, g)
	}
}

// bicubic1 is the same for gray.
func bicubic1(out []uint8, src *raster.Image, u, v, du, dv float64) {
	w, h := src.Width, src.Height
	for i := range out {
		x, fx := split(int64(math.Floor((u + float64(i)*du) * places)))
		y, fy := split(int64(math.Floor((v + float64(i)*dv) * places)))
		var sum int64
		for j, weight := range cubic[fy] {
			row := min(max(y-1+j, 0), h-1) * w
			var s int64
			for n, wn := range cubic[fx] {
				s += int64(src.Pix[row+min(max(x-1+n, 0), w-1)]) * wn
			}
			sum += s * weight
		}
		const hair = 1 << (2*fractionBits - 6)
		out[i] = clip(int32(sum+hair) >> (2 * fractionBits))
	}
}
