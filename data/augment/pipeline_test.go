package augment

import (
	"bytes"
	"fmt"
	"image"
	"image/png"
	"math"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"testing"

	"github.com/gonatten/gonatten/data"
	"github.com/gonatten/gonatten/data/imageops"
	"github.com/gonatten/gonatten/data/internal/golden"
	"github.com/gonatten/gonatten/data/raster"
	"github.com/gonatten/gonatten/data/resample"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// noise is a picture of random values.
func noise(w, h, channels int, seed uint64) *raster.Image {
	m := raster.New(w, h, channels)
	rng := rand.New(rand.NewPCG(seed, 0))
	for i := range m.Pix {
		m.Pix[i] = uint8(rng.Uint32())
	}
	return m
}

// encoded is a sample that holds a PNG file.
func encoded(t testing.TB, m *raster.Image) *data.Sample {
	t.Helper()
	var buf bytes.Buffer
	require.NoError(t, png.Encode(&buf, m.Std()))
	return &data.Sample{Encoded: buf.Bytes(), Name: "test.png"}
}

func newRand(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 99)) }

func TestEvalIsResizeCropNormalize(t *testing.T) {
	src := noise(90, 61, 3, 1)
	p, err := EvalTransform(Config{Height: 28, Width: 28})
	require.NoError(t, err)
	got := make([]float32, 3*28*28)
	require.NoError(t, p.Apply(got, encoded(t, src), nil))

	// By hand: the short side to 28/0.875 = 32, then the centre.
	var r resample.Resizer
	resized, cropped := &raster.Image{}, &raster.Image{}
	require.NoError(t, r.Resize(resized, src, image.Rect(0, 0, 90, 61), 47, 32, resample.Bicubic))
	imageops.Crop(cropped, resized, 10, 2, 28, 28, [3]uint8{}) // (47-28)/2 = 9.5 rounds to even
	for c := range 3 {
		for i := range 28 * 28 {
			want := (float64(cropped.Pix[3*i+c])/255 - float64(p.cfg.Mean[c])) / float64(p.cfg.Std[c])
			require.InDelta(t, want, got[c*28*28+i], 1e-6)
		}
	}
}

// TestEvalEqualsTimm decodes, resizes and crops files as timm's evaluation
// transform does, from the bytes of the file to the pixels before normalisation.
func TestEvalEqualsTimm(t *testing.T) {
	for _, c := range golden.Cases(t) {
		p, err := EvalTransform(Config{Width: c.Args.Size[0], Height: c.Args.Size[1], CropPct: c.Args.Factor, EvalInterpolation: c.Args.Filter})
		require.NoError(t, err)
		s, err := data.ReadSample(filepath.Join("..", "codec", "testdata", c.Source))
		require.NoError(t, err)
		got := &raster.Image{}
		require.NoError(t, p.Picture(got, &s, nil))
		largest, share := golden.Difference(t, golden.Read(t, c.Name), got)
		assert.Zero(t, largest, "%s: %.2f%% of the values differ", c.Name, 100*share)
	}
}

func TestEvalSizeAndCenterCrop(t *testing.T) {
	size := func(w, h, ow, oh int, pct float64) [2]int {
		a, b := EvalSize(w, h, ow, oh, pct)
		return [2]int{a, b}
	}
	assert.Equal(t, [2]int{341, 256}, size(500, 375, 224, 224, 0.875))
	assert.Equal(t, [2]int{256, 341}, size(375, 500, 224, 224, 0.875))
	assert.Equal(t, [2]int{384, 384}, size(500, 500, 384, 384, 1))
	assert.Equal(t, [2]int{28, 28}, size(28, 28, 28, 28, 1))
	assert.Equal(t, [2]int{256, 192}, size(400, 300, 224, 160, 0.875))
	assert.Equal(t, image.Rect(58, 16, 282, 240), CenterCrop(341, 256, 224, 224))
	assert.Equal(t, image.Rect(-2, -1, 8, 9), CenterCrop(5, 7, 10, 10))
}

func TestRandomResizedCropDistribution(t *testing.T) {
	rng := newRand(1)
	const n = 20000
	var area, aspect, x float64
	var largest int
	for range n {
		r := RandomResizedCrop(rng, 500, 400, [2]float64{0.08, 1}, [2]float64{3.0 / 4, 4.0 / 3})
		require.True(t, r.In(image.Rect(0, 0, 500, 400)))
		part := float64(r.Dx()*r.Dy()) / (500 * 400)
		require.InDelta(t, 0.54, part, 0.47)
		ratio := float64(r.Dx()) / float64(r.Dy())
		require.InDelta(t, 1.04, ratio, 0.31)
		area += part
		aspect += math.Log(ratio)
		x += float64(r.Min.X+r.Max.X) / 2
		largest = max(largest, r.Dx()*r.Dy())
	}
	// Draws that do not fit are drawn again, which thins out large and tall parts:
	// integrate over the part a of the area and the logarithm l of the aspect where
	// both sides fit.
	var wantArea, wantAspect, weight float64
	for i := range 1000 {
		a := 0.08 + 0.92*(float64(i)+0.5)/1000
		for j := range 1000 {
			l := math.Log(4.0/3) * (2*(float64(j)+0.5)/1000 - 1)
			if a*math.Exp(l) <= 500.0/400 && a*math.Exp(-l) <= 400.0/500 {
				wantArea, wantAspect, weight = wantArea+a, wantAspect+l, weight+1
			}
		}
	}
	assert.InDelta(t, wantArea/weight, area/n, 0.008)
	assert.InDelta(t, wantAspect/weight, aspect/n, 0.005)
	assert.InDelta(t, 250, x/n, 2)
	assert.Greater(t, largest, 190000)
}

func TestRandomResizedCropFallback(t *testing.T) {
	scale, ratio := [2]float64{1, 1}, [2]float64{3.0 / 4, 4.0 / 3}
	assert.Equal(t, image.Rect(433, 0, 566, 100), RandomResizedCrop(newRand(1), 1000, 100, scale, ratio))
	assert.Equal(t, image.Rect(0, 433, 100, 566), RandomResizedCrop(newRand(1), 100, 1000, scale, ratio))
	assert.Equal(t, image.Rect(0, 0, 1, 1), RandomResizedCrop(newRand(1), 1, 1, scale, ratio))
}

func TestTrainIsDeterministicAndConcurrent(t *testing.T) {
	cfg := Recipe(32)
	cfg.VFlip, cfg.ForceColorJitter, cfg.ColorJitter = 0.3, true, []float64{0.4, 0.4, 0.4, 0.1}
	p, err := TrainTransform(cfg)
	require.NoError(t, err)
	samples := []*data.Sample{encoded(t, noise(50, 40, 3, 1)), encoded(t, noise(40, 70, 1, 2)), {Pixels: noise(45, 45, 3, 3)}}
	const n = 40
	results := func(workers int) [][]float32 {
		out := make([][]float32, n)
		var wg sync.WaitGroup
		for w := range workers {
			wg.Add(1)
			go func() {
				defer wg.Done()
				for i := w; i < n; i += workers {
					out[i] = make([]float32, 3*32*32)
					assert.NoError(t, p.Apply(out[i], samples[i%3], data.NewRand(uint64(i))))
				}
			}()
		}
		wg.Wait()
		return out
	}
	want := results(1)
	assert.Equal(t, want, results(5))
	for i := 1; i < n; i++ {
		assert.NotEqual(t, want[0], want[i])
	}
	assert.Equal(t, noise(45, 45, 3, 3), samples[2].Pixels, "the dataset's own pixels stay untouched")
}

func TestPaddedCropMovesByThePadding(t *testing.T) {
	p, err := TrainTransform(Config{Height: 8, Width: 8, Channels: 1, Crop: CropPadded, Padding: 2})
	require.NoError(t, err)
	src := raster.New(8, 8, 1)
	src.At(4, 4)[0] = 255
	seen := map[[2]int]int{}
	for i := range uint64(2000) {
		m := &raster.Image{}
		require.NoError(t, p.Picture(m, &data.Sample{Pixels: src}, newRand(i)))
		for y := range 8 {
			for x := range 8 {
				if m.At(x, y)[0] == 255 {
					seen[[2]int{x - 4, y - 4}]++
				}
			}
		}
	}
	require.Len(t, seen, 25)
	for at, n := range seen {
		assert.LessOrEqual(t, max(at[0], at[1], -at[0], -at[1]), 2)
		assert.InDelta(t, 80, n, 40)
	}
}

func TestFlipProbability(t *testing.T) {
	src := raster.New(2, 2, 1)
	copy(src.Pix, []uint8{0, 1, 2, 3})
	p, err := TrainTransform(Config{Height: 2, Width: 2, Channels: 1, Crop: CropPadded, HFlip: 0.5, VFlip: 0.25})
	require.NoError(t, err)
	h, v := 0, 0
	const n = 4000
	for i := range uint64(n) {
		m := &raster.Image{}
		require.NoError(t, p.Picture(m, &data.Sample{Pixels: src}, newRand(i)))
		h += int(m.Pix[0] & 1)
		v += int(m.Pix[0] >> 1)
	}
	assert.InDelta(t, 0.5, float64(h)/n, 0.03)
	assert.InDelta(t, 0.25, float64(v)/n, 0.03)
}

func TestChannelsAreConverted(t *testing.T) {
	rgb, gray := noise(16, 16, 3, 4), noise(16, 16, 1, 5)
	for _, channels := range []int{1, 3} {
		p, err := EvalTransform(Config{Height: 16, Width: 16, Channels: channels, CropPct: 1})
		require.NoError(t, err)
		for _, src := range []*raster.Image{rgb, gray} {
			want, got := &raster.Image{}, &raster.Image{}
			raster.Convert(want, src, channels)
			require.NoError(t, p.Picture(got, &data.Sample{Pixels: src}, nil))
			assert.Equal(t, want, got)
		}
	}
}

func TestEvalPadsSmallImages(t *testing.T) {
	// A wide input on a square image: the size covers the input, nothing to pad; a
	// tiny crop_pct cannot leave holes either.
	for _, size := range [][2]int{{3, 200}, {200, 3}, {1, 1}} {
		p, err := EvalTransform(Config{Height: 10, Width: 24})
		require.NoError(t, err)
		require.NoError(t, p.Apply(make([]float32, 3*240), &data.Sample{Pixels: noise(size[0], size[1], 3, 1)}, nil))
	}
}

func TestDamagedSampleIsNamed(t *testing.T) {
	p, err := TrainTransform(Recipe(32))
	require.NoError(t, err)
	s := encoded(t, noise(50, 40, 3, 1))
	s.Encoded = s.Encoded[:200]
	var se *data.SampleError
	require.ErrorAs(t, p.Apply(make([]float32, 3*32*32), s, newRand(1)), &se)
	assert.Equal(t, "test.png", se.Name)
}

func TestConfigErrors(t *testing.T) {
	for want, c := range map[string]Config{
		"bad input size 224x0":           {Width: 224},
		"2 channels":                     {Channels: 2},
		"1 means and 0 standard":         {Mean: []float32{1}},
		"standard deviation 0":           {Mean: []float32{0, 0, 0}, Std: []float32{1, 1, 0}},
		`unknown crop mode "x"`:          {Crop: "x"},
		"scale [1 0.5] is not a range":   {Scale: [2]float64{1, 0.5}},
		"exceeds the whole image":        {Scale: [2]float64{1, 2}},
		"ratio [0 1] is not a range":     {Ratio: [2]float64{0, 1}},
		"negative padding":               {Padding: -1},
		"bilinear, hamming, bicubic, la": {Interpolation: "cubic"},
		`unknown interpolation "random"`: {EvalInterpolation: "random"},
		"crop_pct 1.5":                   {CropPct: 1.5},
		"hflip 2 is not":                 {HFlip: 2},
		`unknown erasing mode "noise"`:   {ReMode: "noise"},
		"recount -1":                     {ReCount: -1},
		"takes one, three or four":       {ColorJitter: []float64{1, 2}},
		"strength 0.6 is out of range":   {ColorJitter: []float64{0, 0, 0, 0.6}},
		"only RandAugment is known":      {AutoAugment: "original"},
	} {
		_, err := TrainTransform(c)
		assert.ErrorContains(t, err, want)
	}
}

func BenchmarkRecipe(b *testing.B) {
	p, err := TrainTransform(Recipe(224))
	require.NoError(b, err)
	s := &data.Sample{Pixels: noise(500, 375, 3, 1)}
	dst := make([]float32, 3*224*224)
	rng := newRand(1)
	for b.Loop() {
		if err := p.Apply(dst, s, rng); err != nil {
			b.Fatal(err)
		}
	}
}

func ExampleTrainTransform() {
	p, err := TrainTransform(Recipe(32))
	if err != nil {
		fmt.Println(err)
		return
	}
	c, h, w := p.Shape()
	dst := make([]float32, c*h*w)
	sample := &data.Sample{Pixels: raster.New(100, 80, 3)}
	if err := p.Apply(dst, sample, data.NewRand(1, 2, 3)); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(c, h, w)
	// Output: 3 32 32
}
