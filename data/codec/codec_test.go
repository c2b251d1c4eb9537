package codec

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"image"
	"image/jpeg"
	"image/png"
	"os"
	"path/filepath"
	"testing"

	"github.com/gonatten/gonatten/data/internal/golden"
	"github.com/gonatten/gonatten/data/internal/photos"
	"github.com/gonatten/gonatten/data/raster"
	"github.com/gonatten/gonatten/data/resample"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// gradient makes a picture of w x h with some structure.
func gradient(w, h, channels int) *raster.Image {
	m := raster.New(w, h, channels)
	for y := 0; y < h; y++ {
		for i, row := 0, m.Row(y); i < len(row); i++ {
			row[i] = uint8(y*3 + i*5/(1+y%7))
		}
	}
	return m
}

func TestPNGIsExact(t *testing.T) {
	for _, channels := range []int{1, 3} {
		m := gradient(13, 7, channels)
		var buf bytes.Buffer
		require.NoError(t, png.Encode(&buf, m.Std()))
		got := &raster.Image{}
		require.NoError(t, Decode(got, buf.Bytes()))
		assert.Equal(t, m, got)
		info, err := Stat(buf.Bytes())
		require.NoError(t, err)
		assert.Equal(t, Info{Width: 13, Height: 7, Format: "png"}, info)
	}
}

func TestDamagedFilesAreErrors(t *testing.T) {
	var p, j bytes.Buffer
	require.NoError(t, png.Encode(&p, gradient(40, 30, 3).Std()))
	require.NoError(t, jpeg.Encode(&j, gradient(40, 30, 3).Std(), nil))
	dst := &raster.Image{}
	for _, whole := range [][]byte{p.Bytes(), j.Bytes()} {
		for _, n := range []int{1, 2, 10, 24, len(whole) / 2} {
			assert.Error(t, Decode(dst, whole[:n]), "%d of %d bytes", n, len(whole))
		}
	}
	assert.ErrorIs(t, Decode(dst, nil), ErrEmpty)
	assert.ErrorContains(t, Decode(dst, []byte("<html>")), "3c 68 74 6d")
}

func TestHugeHeaderIsRefused(t *testing.T) {
	var p bytes.Buffer
	require.NoError(t, png.Encode(&p, gradient(4, 4, 1).Std()))
	b := p.Bytes()
	binary.BigEndian.PutUint32(b[16:], 1<<30) // the width in IHDR; its checksum follows
	_, err := Stat(b)
	assert.Error(t, err)
}

func TestPillowAgreesOnEveryFile(t *testing.T) {
	for _, c := range golden.Cases(t) {
		if c.Args.Scale > 1 {
			continue
		}
		file, err := os.ReadFile(filepath.Join("testdata", c.Source))
		require.NoError(t, err)
		got := &raster.Image{}
		require.NoError(t, Decode(got, file), c.Name)
		largest, share := golden.Difference(t, golden.Read(t, c.Name), got)
		if c.Name == "cmyk" { // through the standard library: other rounding, no smooth upsampling
			assert.Less(t, share*float64(largest), 60.0, "%s: %d", c.Name, largest)
			continue
		}
		assert.Zero(t, largest, c.Name)
	}
}

func TestRegionsAndReduction(t *testing.T) {
	file, err := photos.JPEG(1, 640, 480, 90)
	require.NoError(t, err)
	whole, part := &raster.Image{}, &raster.Image{}
	require.NoError(t, Decode(whole, file))
	require.Equal(t, [2]int{640, 480}, [2]int{whole.Width, whole.Height})

	rect := image.Rect(33, 45, 401, 333)
	at, err := DecodeRegion(part, file, rect, 224, 224)
	require.NoError(t, err)
	require.Equal(t, [2]int{368, 288}, [2]int{at.Dx(), at.Dy()})
	for y := range 288 {
		require.Equal(t, whole.Row(45 + y)[3*33:3*401], part.Row(at.Min.Y + y)[3*at.Min.X:3*at.Max.X])
	}
	for size, want := range map[int][2]int{224: {640, 480}, 121: {640, 480}, 120: {320, 240}, 60: {160, 120}, 30: {80, 60}, 1: {80, 60}} {
		at, err = DecodeRegion(part, file, image.Rect(0, 0, 640, 480), size, size)
		require.NoError(t, err)
		assert.Equal(t, want, [2]int{at.Dx(), at.Dy()}, "for %d pixels", size)
	}
	// A reduced picture is close to one that was resized.
	at, err = DecodeRegion(part, file, image.Rect(0, 0, 640, 480), 60, 60)
	require.NoError(t, err)
	var r resample.Resizer
	a, b := &raster.Image{}, &raster.Image{}
	require.NoError(t, r.Resize(a, whole, whole.Bounds(), 60, 60, resample.Bicubic))
	require.NoError(t, r.Resize(b, part, at, 60, 60, resample.Bicubic))
	sum := 0
	for i, v := range a.Pix {
		d := int(v) - int(b.Pix[i])
		sum += d * d
	}
	assert.Less(t, float64(sum)/float64(len(a.Pix)), 2.0, "mean squared difference in levels")

	_, err = DecodeRegion(part, file, image.Rect(0, 0, 641, 480), 224, 224)
	assert.ErrorContains(t, err, "is not inside the image of 640x480")
	var p bytes.Buffer
	require.NoError(t, png.Encode(&p, gradient(20, 10, 3).Std()))
	at, err = DecodeRegion(part, p.Bytes(), image.Rect(2, 3, 8, 9), 2, 2)
	require.NoError(t, err)
	assert.Equal(t, image.Rect(2, 3, 8, 9), at)
}

func ExampleDecode() {
	var file bytes.Buffer
	if err := png.Encode(&file, raster.New(4, 2, 3).Std()); err != nil {
		fmt.Println(err)
		return
	}
	m := &raster.Image{}
	if err := Decode(m, file.Bytes()); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(m.Width, m.Height, m.Channels)
	// Output: 4 2 3
}
