package raster

import (
	"fmt"
	"image"
	"image/color"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestResetKeepsBufferAndShape(t *testing.T) {
	m := New(4, 3, 3)
	require.Len(t, m.Pix, 36)
	first := &m.Pix[0]
	m.Reset(2, 2, 1)
	require.Len(t, m.Pix, 4)
	assert.Same(t, first, &m.Pix[0])
	assert.Panics(t, func() { m.Reset(-1, 2, 1) })
	assert.Panics(t, func() { m.Reset(1, 2, 2) })
}

func TestConvert(t *testing.T) {
	src := New(2, 1, 3)
	copy(src.Pix, []uint8{255, 0, 0, 10, 20, 30})
	gray := &Image{}
	Convert(gray, src, 1)
	assert.Equal(t, []uint8{76, 18}, gray.Pix)
	rgb := &Image{}
	Convert(rgb, gray, 3)
	assert.Equal(t, []uint8{76, 76, 76, 18, 18, 18}, rgb.Pix)
	same := &Image{}
	Convert(same, src, 3)
	assert.Equal(t, src.Pix, same.Pix)
	assert.NotSame(t, &src.Pix[0], &same.Pix[0])
}

func TestFromStdOfEveryKind(t *testing.T) {
	rect := image.Rect(1, 2, 4, 4) // an origin other than (0, 0)
	want := color.NRGBA{R: 200, G: 100, B: 50, A: 255}
	pal := image.NewPaletted(rect, color.Palette{color.NRGBA{}, want})
	for y := rect.Min.Y; y < rect.Max.Y; y++ {
		for x := rect.Min.X; x < rect.Max.X; x++ {
			pal.SetColorIndex(x, y, 1)
		}
	}
	nrgba, rgba, rgba64 := image.NewNRGBA(rect), image.NewRGBA(rect), image.NewNRGBA64(rect)
	for y := rect.Min.Y; y < rect.Max.Y; y++ {
		for x := rect.Min.X; x < rect.Max.X; x++ {
			nrgba.SetNRGBA(x, y, want)
			rgba.Set(x, y, want)
			rgba64.Set(x, y, want)
		}
	}
	for _, src := range []image.Image{pal, nrgba, rgba, rgba64} {
		m := &Image{}
		FromStd(m, src)
		require.Equal(t, [3]int{3, 2, 3}, [3]int{m.Width, m.Height, m.Channels}, "%T", src)
		for i := 0; i < 6; i++ {
			assert.Equal(t, []uint8{200, 100, 50}, m.Pix[3*i:3*i+3], "%T", src)
		}
	}
	g16 := image.NewGray16(rect)
	g16.SetGray16(2, 3, color.Gray16{Y: 0x1280})
	m := &Image{}
	FromStd(m, g16)
	assert.Equal(t, []uint8{0, 0, 0, 0, 0x12, 0}, m.Pix)
	// Alpha is dropped, the colour below it kept.
	nrgba.SetNRGBA(1, 2, color.NRGBA{R: 9, G: 8, B: 7, A: 0})
	FromStd(m, nrgba)
	assert.Equal(t, []uint8{9, 8, 7}, m.At(0, 0))
}

func TestStdRoundTrip(t *testing.T) {
	for _, channels := range []int{1, 3} {
		m := New(5, 4, channels)
		for i := range m.Pix {
			m.Pix[i] = uint8(i * 7)
		}
		back := &Image{}
		FromStd(back, m.Std())
		assert.Equal(t, m, back)
	}
}

func ExampleConvert() {
	rgb := New(1, 1, 3)
	copy(rgb.Pix, []uint8{0, 255, 0})
	gray := &Image{}
	Convert(gray, rgb, 1)
	fmt.Println(gray.Pix)
	// Output: [150]
}
