package jpeg_test

import (
	"fmt"
	"image"

	"github.com/gonatten/gonatten/data/codec/jpeg"
	"github.com/gonatten/gonatten/data/internal/photos"
	"github.com/gonatten/gonatten/data/raster"
)

// A part of a picture at half size.
func ExampleDecoder_DecodeRegion() {
	file, err := photos.JPEG(1, 200, 150, 90)
	if err != nil {
		fmt.Println(err)
		return
	}
	var d jpeg.Decoder
	m := &raster.Image{}
	if err := d.DecodeRegion(m, file, image.Rect(10, 20, 74, 52), 2); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(m.Width, m.Height, m.Channels)
	// Output: 64 32 3
}
