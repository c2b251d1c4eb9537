package codec

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	_ "image/gif"  // GIF, read through image.Decode
	_ "image/jpeg" // JPEG
	_ "image/png"  // PNG

	_ "golang.org/x/image/bmp"  // BMP
	_ "golang.org/x/image/tiff" // TIFF
	_ "golang.org/x/image/webp" // WebP

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

// Stat reads the header alone.
func Stat(data []byte) (info Info, err error) {
	defer catch(&err)
	if len(data) == 0 {
		return Info{}, ErrEmpty
	}
	c, format, err := image.DecodeConfig(bytes.NewReader(data))
	if err != nil {
		return Info{}, wrap(data, err)
	}
	if c.Width <= 0 || c.Height <= 0 || c.Width > MaxPixels/c.Height {
		return Info{}, fmt.Errorf("codec: %s of %dx%d pixels, at least 1 and at most %d can be read",
			format, c.Width, c.Height, MaxPixels)
	}
	return Info{Width: c.Width, Height: c.Height, Format: format}, nil
}

// Decode reads a whole picture into dst, reusing its buffer: one channel for gray
// files, three for all others.
func Decode(dst *raster.Image, data []byte) (err error) {
	defer catch(&err)
	if _, err := Stat(data); err != nil {
		return err
	}
	m, _, err := image.Decode(bytes.NewReader(data))
	if err != nil {
		return wrap(data, err)
	}
	raster.FromStd(dst, m)
	return nil
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
