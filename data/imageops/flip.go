package imageops

import "github.com/gonatten/gonatten/data/raster"

// FlipHorizontal mirrors left and right, in place.
func FlipHorizontal(m *raster.Image) {
	for y := range m.Height {
		row := m.Row(y)
		if m.Channels == 1 {
			for i, j := 0, len(row)-1; i < j; i, j = i+1, j-1 {
				row[i], row[j] = row[j], row[i]
			}
			continue
		}
		for i, j := 0, len(row)-3; i < j; i, j = i+3, j-3 {
			a, b := row[i:i+3:i+3], row[j:j+3:j+3]
			a[0], a[1], a[2], b[0], b[1], b[2] = b[0], b[1], b[2], a[0], a[1], a[2]
		}
	}
}

// FlipVertical mirrors top and bottom, in place.
func FlipVertical(m *raster.Image) {
	for i, j := 0, m.Height-1; i < j; i, j = i+1, j-1 {
		a, b := m.Row(i), m.Row(j)
		for x := range a {
			a[x], b[x] = b[x], a[x]
		}
	}
}

// Crop writes the width x height part of src at (x, y) into dst. Where the part
// reaches outside the image, it is filled.
func Crop(dst, src *raster.Image, x, y, width, height int, fill [3]uint8) {
	dst.Reset(width, height, src.Channels)
	c := src.Channels
	from, to := min(width, max(0, -x)), max(0, min(width, src.Width-x)) // columns inside
	for row := range height {
		out := dst.Row(row)
		if y+row < 0 || y+row >= src.Height || from >= to {
			paint(out, c, fill)
			continue
		}
		paint(out[:from*c], c, fill)
		copy(out[from*c:to*c], src.Row(y + row)[(x+from)*c:])
		paint(out[to*c:], c, fill)
	}
}

// paint fills a run of pixels with a colour.
func paint(pix []uint8, channels int, fill [3]uint8) {
	if channels == 1 {
		for i := range pix {
			pix[i] = fill[0]
		}
		return
	}
	for i := 0; i+3 <= len(pix); i += 3 {
		p := pix[i : i+3 : i+3]
		p[0], p[1], p[2] = fill[0], fill[1], fill[2]
	}
}
