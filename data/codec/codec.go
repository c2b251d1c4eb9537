package codec

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	_ "image/gif"  // GIF, read through image.Decode
	_ "image/jpeg" // JPEG of the kinds that package jpeg leaves out
	_ "image/png"  // PNG
	"sync"

	_ "golang.org/x/image/bmp"  // BMP
	_ "golang.org/x/image/tiff" // TIFF
	_ "golang.org/x/image/webp" // WebP

	"github.com/gonatten/gonatten/data/codec/jpeg"
	"github.com/gonatten/gonatten/data/raster"
)

// MaxPixels is the largest picture that is decoded, in pixels. A header that
// claims more is an error before any memory is asked for, so that a damaged file
// cannot exhaust it.
const MaxPixels = 1 << 28

// ErrEmpty is what decoding zero bytes gives.
var ErrEmpty = errors.New("codec: no bytes")

// Info is what a file's header says.
type Info struct {
	Width, Height int    // pixels
	Format        string // "jpeg", "png", "gif", "bmp", "tiff", "webp"
}

// isJPEG tells a JPEG file by its first bytes.
func isJPEG(data []byte) bool {
	return len(data) >= 3 && data[0] == 0xff && data[1] == 0xd8 && data[2] == 0xff
}

// decoders keeps JPEG decoders with their buffers.
var decoders = sync.Pool{New: func() any { return &jpeg.Decoder{} }}

// Stat reads the header alone.
func Stat(data []byte) (info Info, err error) {
	defer catch(&err)
	if len(data) == 0 {
		return Info{}, ErrEmpty
	}
	if isJPEG(data) {
		info.Format = "jpeg"
		if info.Width, info.Height, _, err = jpeg.Size(data); err != nil {
			return Info{}, wrap(data, err)
		}
	} else {
		c, format, err := image.DecodeConfig(bytes.NewReader(data))
		if err != nil {
			return Info{}, wrap(data, err)
		}
		info = Info{Width: c.Width, Height: c.Height, Format: format}
	}
	if info.Width <= 0 || info.Height <= 0 || info.Width > MaxPixels/info.Height {
		return Info{}, fmt.Errorf("codec: %s of %dx%d pixels, at least 1 and at most %d can be read",
			info.Format, info.Width, info.Height, MaxPixels)
	}
	return info, nil
}

// Decode reads a whole picture into dst, reusing its buffer: one channel for gray
// files, three for all others.
func Decode(dst *raster.Image, data []byte) error {
	_, err := DecodeRegion(dst, data, image.Rectangle{}, 1<<30, 1<<30)
	return err
}

// Gap is how many times larger than needed a picture that is decoded at a reduced
// size is at least: so much that the resize that follows decides the quality, not
// the reduction.
const Gap = 2

// DecodeRegion writes to dst the part rect of a picture (the empty rectangle: all
// of it), or a larger part. A JPEG file is decoded at a reduced size, by a factor
// 2, 4 or 8, where the part is still at least Gap times width x height pixels
// then. It returns where the part lies in dst.
func DecodeRegion(dst *raster.Image, data []byte, rect image.Rectangle, width, height int) (at image.Rectangle, err error) {
	defer catch(&err)
	info, err := Stat(data)
	if err != nil {
		return at, err
	}
	whole := image.Rect(0, 0, info.Width, info.Height)
	if rect.Empty() {
		rect = whole
	}
	if !rect.In(whole) {
		return at, fmt.Errorf("codec: part %v is not inside the image of %dx%d", rect, info.Width, info.Height)
	}
	if isJPEG(data) {
		scale := 1
		for scale < 8 && rect.Dx()/(2*scale) >= Gap*width && rect.Dy()/(2*scale) >= Gap*height {
			scale *= 2
		}
		reduced := image.Rect(rect.Min.X/scale, rect.Min.Y/scale, (rect.Max.X+scale-1)/scale, (rect.Max.Y+scale-1)/scale)
		d := decoders.Get().(*jpeg.Decoder)
		err := d.DecodeRegion(dst, data, reduced, scale)
		decoders.Put(d)
		if err == nil {
			return image.Rect(0, 0, dst.Width, dst.Height), nil
		}
		if !jpeg.IsUnsupported(err) {
			return at, wrap(data, err)
		}
	}
	m, _, err := image.Decode(bytes.NewReader(data))
	if err != nil {
		return at, wrap(data, err)
	}
	raster.FromStd(dst, m)
	return rect, nil
}

// wrap names the bytes of an error: how many there are, and how they start.
func wrap(data []byte, err error) error {
	return fmt.Errorf("codec: %d bytes starting % x: %w", len(data), data[:min(4, len(data))], err)
}

// catch turns a decoder's panic into an error: one damaged file must not end a
// run of days.
func catch(err *error) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("codec: decoder failed: %v", r)
	}
}
