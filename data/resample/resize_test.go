package resample

import (
	"fmt"
	"image"
	"math/rand/v2"
	"testing"

	"github.com/gonatten/gonatten/data/internal/golden"
	"github.com/gonatten/gonatten/data/raster"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestResizeEqualsPillow(t *testing.T) {
	var r Resizer
	for _, c := range golden.Cases(t) {
		src := golden.Read(t, c.Source)
		box := image.Rect(0, 0, src.Width, src.Height)
		if c.Args.Box != nil {
			box = image.Rect(c.Args.Box[0], c.Args.Box[1], c.Args.Box[2], c.Args.Box[3])
		}
		f, err := ParseFilter(c.Args.Filter)
		require.NoError(t, err)
		got := &raster.Image{}
		require.NoError(t, r.Resize(got, src, box, c.Args.Size[0], c.Args.Size[1], f))
		largest, share := golden.Difference(t, golden.Read(t, c.Name), got)
		assert.Zero(t, largest, "%s: %.2f%% of the values differ", c.Name, 100*share)
	}
}

// TestVectorKernelsEqualTheOthers resizes with and without vector instructions.
func TestVectorKernelsEqualTheOthers(t *testing.T) {
	if !useAVX2 {
		t.Skip("this processor has no AVX2")
	}
	defer func() { useAVX2 = true }()
	rng := rand.New(rand.NewPCG(5, 6))
	for range 200 {
		in := random(rng, 1+rng.IntN(60), 1+rng.IntN(60), 1+2*rng.IntN(2))
		if rng.IntN(2) == 0 {
			for i := range in.Pix { // extremes
				in.Pix[i] = uint8(int8(in.Pix[i]) >> 7)
			}
		}
		w, h, f := 1+rng.IntN(90), 1+rng.IntN(90), Filter(1+rng.IntN(5))
		src := image.Rect(0, 0, in.Width, in.Height)
		var r Resizer
		var got [2]raster.Image
		for i := range got {
			useAVX2 = i == 1
			require.NoError(t, r.Resize(&got[i], in, src, w, h, f))
		}
		require.Equal(t, got[0], got[1], "%dx%d to %dx%d, %v", in.Width, in.Height, w, h, f)
	}
}

// random makes an image of noise.
func random(rng *rand.Rand, w, h, channels int) *raster.Image {
	m := raster.New(w, h, channels)
	for i := range m.Pix {
		m.Pix[i] = uint8(rng.Uint32())
	}
	return m
}

func TestCropThenResizeIsResizeOfPart(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var r Resizer
	for range 60 {
		in := random(rng, 5+rng.IntN(40), 5+rng.IntN(40), 1+2*rng.IntN(2))
		x, y := rng.IntN(in.Width-2), rng.IntN(in.Height-2)
		src := image.Rect(x, y, x+1+rng.IntN(in.Width-x), y+1+rng.IntN(in.Height-y))
		w, h := 1+rng.IntN(50), 1+rng.IntN(50)
		f := Filter(rng.IntN(6))
		cropped, want, got := &raster.Image{}, &raster.Image{}, &raster.Image{}
		crop(cropped, in, src)
		require.NoError(t, r.Resize(want, cropped, image.Rect(0, 0, src.Dx(), src.Dy()), w, h, f))
		require.NoError(t, r.Resize(got, in, src, w, h, f))
		require.Equal(t, want, got, "%v of %dx%d to %dx%d, %v", src, in.Width, in.Height, w, h, f)

		x, y = rng.IntN(w), rng.IntN(h)
		window := image.Rect(x, y, x+1+rng.IntN(w-x), y+1+rng.IntN(h-y))
		part := &raster.Image{}
		require.NoError(t, r.ResizeWindow(part, in, src, w, h, window, f))
		crop(cropped, want, window)
		require.Equal(t, cropped, part, "window %v", window)
	}
}

// TestSumsFitTheirLanes feeds the extremes that make the largest overshoot.
func TestSumsFitTheirLanes(t *testing.T) {
	var r Resizer
	for _, f := range []Filter{Bicubic, Lanczos} {
		for _, size := range []int{7, 13, 40, 100} {
			for phase := range 6 {
				in := raster.New(40, 40, 3)
				for i := range in.Pix {
					x, y := i/3%40, i/120
					if (x+phase)/3%2 == (y+phase/2)/3%2 {
						in.Pix[i] = 255
					}
				}
				gray := &raster.Image{}
				raster.Convert(gray, in, 1)
				rgb, one := &raster.Image{}, &raster.Image{}
				require.NoError(t, r.Resize(rgb, in, image.Rect(0, 0, 40, 40), size, size, f))
				require.NoError(t, r.Resize(one, gray, image.Rect(0, 0, 40, 40), size, size, f))
				for i, v := range one.Pix { // the gray path has no lanes
					require.Equal(t, []uint8{v, v, v}, rgb.Pix[3*i:3*i+3])
				}
			}
		}
	}
}

func TestResizeErrors(t *testing.T) {
	var r Resizer
	in, dst := raster.New(4, 4, 3), &raster.Image{}
	whole := image.Rect(0, 0, 4, 4)
	assert.ErrorContains(t, r.Resize(dst, in, whole, 0, 3, Box), "bad size 0x3")
	assert.ErrorContains(t, r.Resize(dst, in, image.Rect(0, 0, 5, 4), 2, 2, Box), "not inside the image of 4x4")
	assert.ErrorContains(t, r.Resize(dst, in, image.Rect(2, 2, 2, 4), 2, 2, Box), "not inside")
	assert.ErrorContains(t, r.ResizeWindow(dst, in, whole, 2, 2, image.Rect(0, 0, 3, 2), Box), "window")
	assert.ErrorContains(t, r.Resize(dst, in, whole, 2, 2, Filter(9)), "Filter(9)")
	_, err := ParseFilter("cubic")
	assert.ErrorContains(t, err, `unknown interpolation "cubic", want one of nearest, box`)
	for f := Nearest; f <= Lanczos; f++ {
		back, err := ParseFilter(f.String())
		require.NoError(t, err)
		assert.Equal(t, f, back)
	}
}

func BenchmarkResize(b *testing.B) {
	in := random(rand.New(rand.NewPCG(1, 2)), 400, 320, 3)
	for _, f := range []Filter{Nearest, Bilinear, Bicubic, Lanczos} {
		b.Run(f.String(), func(b *testing.B) {
			var r Resizer
			dst := &raster.Image{}
			for b.Loop() {
				if err := r.Resize(dst, in, image.Rect(0, 0, 400, 320), 224, 224, f); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func ExampleResizer_Resize() {
	in := raster.New(4, 1, 1)
	copy(in.Pix, []uint8{0, 0, 100, 100})
	var r Resizer
	out := &raster.Image{}
	if err := r.Resize(out, in, image.Rect(0, 0, 4, 1), 2, 1, Bilinear); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(out.Pix)
	// Output: [14 86]
}
