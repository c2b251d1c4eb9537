package imageops

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/gonatten/gonatten/data/internal/golden"
	"github.com/gonatten/gonatten/data/raster"
	"github.com/gonatten/gonatten/data/resample"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// run does the operation of a golden case.
func run(t *testing.T, c golden.Case, m *raster.Image) *raster.Image {
	t.Helper()
	a := c.Args
	out := &raster.Image{}
	fill := [3]uint8{124, 116, 104}
	affine := func(matrix Matrix) *raster.Image {
		f, err := resample.ParseFilter(a.Filter)
		require.NoError(t, err)
		require.NoError(t, Affine(out, m, matrix, f, fill))
		return out
	}
	switch c.Op {
	case "autocontrast":
		AutoContrast(m)
	case "equalize":
		Equalize(m)
	case "color":
		Color(m, a.Factor)
	case "contrast":
		Contrast(m, a.Factor)
	case "brightness":
		Brightness(m, a.Factor)
	case "sharpness":
		Sharpness(out, m, a.Factor)
		return out
	case "invert":
		Invert(m)
	case "posterize":
		Posterize(m, a.Bits)
	case "solarize":
		Solarize(m, a.Threshold)
	case "solarize_add":
		SolarizeAdd(m, a.Add, a.Threshold)
	case "flip_h":
		FlipHorizontal(m)
	case "flip_v":
		FlipVertical(m)
	case "hue":
		Hue(m, a.Shift)
	case "shear_x":
		return affine(ShearX(a.Value))
	case "shear_y":
		return affine(ShearY(a.Value))
	case "translate_x":
		return affine(Translate(a.Value, 0))
	case "translate_y":
		return affine(Translate(0, a.Value))
	case "rotate":
		return affine(Rotate(a.Value, m.Width, m.Height))
	default:
		t.Fatalf("unknown operation %s", c.Op)
	}
	return m
}

func TestOperationsEqualPillow(t *testing.T) {
	for _, c := range golden.Cases(t) {
		got := run(t, c, golden.Read(t, c.Source))
		largest, share := golden.Difference(t, golden.Read(t, c.Name), got)
		switch c.Args.Filter {
		case "", "nearest":
			assert.Zero(t, largest, "%s: %.2f%% of the values differ", c.Name, 100*share)
		default: // fixed point in the place of floats
			assert.LessOrEqual(t, largest, 1, "%s: %.2f%% of the values differ", c.Name, 100*share)
			assert.Less(t, share, 0.2, c.Name)
		}
	}
}

func TestAffineIdentityAndOutside(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, channels := range []int{1, 3} {
		src, dst := raster.New(9, 7, channels), &raster.Image{}
		for i := range src.Pix {
			src.Pix[i] = uint8(rng.Uint32())
		}
		for _, f := range []resample.Filter{resample.Nearest, resample.Bilinear, resample.Bicubic} {
			require.NoError(t, Affine(dst, src, Matrix{A: 1, E: 1}, f, [3]uint8{}))
			assert.Equal(t, src, dst, f)
			require.NoError(t, Affine(dst, src, Translate(9, 0), f, [3]uint8{7, 8, 9}))
			for y := range 7 {
				for x := range 9 {
					assert.Equal(t, []uint8{7, 8, 9}[:channels], dst.At(x, y), f)
				}
			}
			require.NoError(t, Affine(dst, src, Translate(2, -1), f, [3]uint8{}))
			assert.Equal(t, src.At(5, 3), dst.At(3, 4), f)
		}
		assert.ErrorContains(t, Affine(dst, src, Matrix{}, resample.Lanczos, [3]uint8{}), "lanczos cannot be used")
	}
}

func TestCrop(t *testing.T) {
	src := raster.New(3, 2, 1)
	copy(src.Pix, []uint8{1, 2, 3, 4, 5, 6})
	dst := &raster.Image{}
	Crop(dst, src, -1, -1, 5, 4, [3]uint8{9})
	assert.Equal(t, []uint8{9, 9, 9, 9, 9, 9, 1, 2, 3, 9, 9, 4, 5, 6, 9, 9, 9, 9, 9, 9}, dst.Pix)
	Crop(dst, src, 1, 1, 2, 1, [3]uint8{9})
	assert.Equal(t, []uint8{5, 6}, dst.Pix)
	Crop(dst, src, 4, 0, 2, 1, [3]uint8{9})
	assert.Equal(t, []uint8{9, 9}, dst.Pix)
	rgb := raster.New(2, 1, 3)
	Crop(dst, rgb, 1, 0, 2, 1, [3]uint8{7, 8, 9})
	assert.Equal(t, []uint8{0, 0, 0, 7, 8, 9}, dst.Pix)
}

func TestDegenerateImages(t *testing.T) {
	for _, channels := range []int{1, 3} {
		for _, size := range [][2]int{{1, 1}, {2, 5}, {5, 1}} {
			m, out := raster.New(size[0], size[1], channels), &raster.Image{}
			before := m.Clone()
			AutoContrast(m)
			Equalize(m)
			Contrast(m, 1.5)
			Color(m, 0.3)
			Hue(m, 0.2)
			assert.Equal(t, before, m, "one flat colour has nothing to stretch")
			Sharpness(out, m, 1.9)
			require.NoError(t, Affine(out, m, Rotate(10, size[0], size[1]), resample.Bicubic, [3]uint8{}))
			require.NoError(t, Affine(out, m, ShearX(0.3), resample.Bilinear, [3]uint8{}))
		}
	}
}

func BenchmarkOperations(b *testing.B) {
	src := raster.New(224, 224, 3)
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range src.Pix {
		src.Pix[i] = uint8(rng.Uint32())
	}
	m, out := src.Clone(), &raster.Image{}
	for name, op := range map[string]func(){
		"autocontrast": func() { AutoContrast(m) },
		"equalize":     func() { Equalize(m) },
		"color":        func() { Color(m, 1.5) },
		"contrast":     func() { Contrast(m, 1.5) },
		"brightness":   func() { Brightness(m, 1.01) },
		"sharpness":    func() { Sharpness(out, m, 1.5) },
		"hue":          func() { Hue(m, 0.1) },
		"bilinear":     func() { _ = Affine(out, m, Rotate(15, 224, 224), resample.Bilinear, [3]uint8{}) },
		"bicubic":      func() { _ = Affine(out, m, Rotate(15, 224, 224), resample.Bicubic, [3]uint8{}) },
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				op()
			}
		})
	}
}

func ExampleAffine() {
	src, dst := raster.New(4, 1, 1), &raster.Image{}
	copy(src.Pix, []uint8{10, 20, 30, 40})
	if err := Affine(dst, src, Translate(1.5, 0), resample.Bilinear, [3]uint8{99}); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(dst.Pix)
	// Output: [25 35 99 99]
}
