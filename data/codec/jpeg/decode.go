package jpeg

import (
	"errors"
	"fmt"
	"image"

	"github.com/gonatten/gonatten/data/raster"
)

// Decoder decodes files, keeping its tables and buffers between calls. The zero
// value is ready; it serves one goroutine at a time.
type Decoder struct {
	parser
	frame    frame
	comps    [3]component
	scan     scanHeader
	quant    [4][64]int32 // in zigzag order
	hasQuant [4]bool
	huff     [2][4]huffman
	restart  int
	adobe    int // transform of the Adobe marker, -1 without one
	jfif     bool

	bits      bits
	clean     []byte
	starts    []int
	eobRun    int
	work      [64]int32
	y, cb, cr []uint8 // rows of upsampled components
}

// Decode writes the whole picture into dst: gray with one channel, colour with
// three.
func (d *Decoder) Decode(dst *raster.Image, data []byte) error {
	return d.DecodeRegion(dst, data, image.Rectangle{}, 1)
}

// DecodeRegion writes a part of the picture, in full size (scale 1) or reduced to
// 1/2, 1/4 or 1/8 (scale 2, 4 or 8). The region is given in pixels of the reduced
// picture, whose sides are those of the picture divided by scale and rounded up;
// the empty region means all of it. It fails where the region is not inside.
func (d *Decoder) DecodeRegion(dst *raster.Image, data []byte, region image.Rectangle, scale int) error {
	if scale != 1 && scale != 2 && scale != 4 && scale != 8 {
		return fmt.Errorf("jpeg: scale 1/%d, want 1/1, 1/2, 1/4 or 1/8", scale)
	}
	d.reset(data)
	for {
		marker, seg, err := d.next()
		if err != nil {
			return err
		}
		switch {
		case isFrame(marker):
			if err = d.readFrame(marker, seg); err == nil {
				region, err = d.prepare(region, scale)
			}
		case marker == mDQT:
			err = d.readQuant(seg)
		case marker == mDHT:
			err = d.readHuffman(seg)
		case marker == mDRI && len(seg) >= 2:
			d.restart = int(seg[0])<<8 | int(seg[1])
		case marker == mAPP0 && len(seg) >= 5 && string(seg[:5]) == "JFIF\x00":
			d.jfif = true
		case marker == mAPP14 && len(seg) >= 12 && string(seg[:5]) == "Adobe":
			d.adobe = int(seg[11])
		case marker == mSOS:
			var s *scanHeader
			if s, err = d.readScanHeader(seg); err == nil {
				err = d.readScan(s)
			}
			// A sequential file needs each component once: what follows does not matter.
			if err == nil && !d.frame.progressive && d.complete() {
				return d.output(dst, region)
			}
		case marker == mEOI:
			return d.output(dst, region)
		}
		if err != nil {
			return err
		}
	}
}

// complete tells whether every component came in a scan.
func (d *Decoder) complete() bool {
	for i := range d.frame.comps {
		if !d.frame.comps[i].seen {
			return false
		}
	}
	return len(d.frame.comps) > 0
}

// reset forgets the last file.
func (d *Decoder) reset(data []byte) {
	d.parser = parser{data: data}
	d.frame = frame{}
	d.hasQuant = [4]bool{}
	for i := range d.huff {
		for k := range d.huff[i] {
			d.huff[i][k].defined = false
		}
	}
	d.restart, d.adobe, d.jfif = 0, -1, false
}

// prepare lays out the planes for the wanted region and returns the region, the
// whole picture where none was given.
func (d *Decoder) prepare(region image.Rectangle, scale int) (image.Rectangle, error) {
	f := &d.frame
	f.base = 8 / scale
	whole := image.Rect(0, 0, ceilDiv(f.width, scale), ceilDiv(f.height, scale))
	if region.Empty() {
		region = whole
	}
	if !region.In(whole) {
		return region, fmt.Errorf("jpeg: region %v is not inside the picture of %dx%d", region, whole.Dx(), whole.Dy())
	}
	for i := range f.comps {
		c := &f.comps[i]
		// A subsampled plane is transformed to a larger size rather than enlarged
		// afterwards, as far as that goes.
		c.size = f.base
		for c.size < 8 && f.hMax*f.base%(c.h*c.size*2) == 0 && f.vMax*f.base%(c.v*c.size*2) == 0 {
			c.size *= 2
		}
		c.width = ceilDiv(f.width*c.h*c.size, f.hMax*8)
		c.height = ceilDiv(f.height*c.v*c.size, f.vMax*8)
		hExp, vExp := f.expansion(c)
		// One pixel around the region takes part in upsampling.
		x0, x1 := max(0, region.Min.X/hExp-1), min(c.width, ceilDiv(region.Max.X, hExp)+1)
		y0, y1 := max(0, region.Min.Y/vExp-1), min(c.height, ceilDiv(region.Max.Y, vExp)+1)
		c.needX0, c.needX1 = x0/c.size, ceilDiv(x1, c.size)
		c.needY0, c.needY1 = y0/c.size, ceilDiv(y1, c.size)
		c.pitch = c.stride * c.size
		c.pix = grow(c.pix, c.pitch*c.rows*c.size)
		if f.progressive {
			c.coef = grow(c.coef, 64*c.stride*c.rows)
			clear(c.coef)
		}
	}
	return region, nil
}

// expansion is how many pixels one of a component's pixels covers.
func (f *frame) expansion(c *component) (h, v int) {
	return f.hMax * f.base / (c.h * c.size), f.vMax * f.base / (c.v * c.size)
}

// output makes pixels of the planes.
func (d *Decoder) output(dst *raster.Image, region image.Rectangle) error {
	if !d.complete() {
		return d.errorf("the file ends before all of its components came")
	}
	if d.frame.progressive {
		d.finish()
	}
	d.convert(dst, region)
	return nil
}

// IsUnsupported tells whether an error means that the file is of a kind that this
// package does not decode, rather than damaged.
func IsUnsupported(err error) bool { return errors.Is(err, ErrUnsupported) }

// grow returns a slice of n elements, s itself where it is large enough.
func grow[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n)
	}
	return s[:n]
}
