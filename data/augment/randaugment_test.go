package augment

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/gonatten/gonatten/data/imageops"
	"github.com/gonatten/gonatten/data/raster"
	"github.com/gonatten/gonatten/data/resample"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestParseRandAugment(t *testing.T) {
	r, err := ParseRandAugment("rand-m9-mstd0.5-inc1")
	require.NoError(t, err)
	assert.Equal(t, &RandAugment{Magnitude: 9, Std: 0.5, Max: 10, Layers: 2, Prob: 0.5, Increasing: true, RandomFilt: true, TranslatePc: 0.45}, r)
	r, err = ParseRandAugment("rand-m7-n3-p0.8-mmax8-mstd101-tweights")
	require.NoError(t, err)
	assert.Equal(t, &RandAugment{Magnitude: 7, Std: math.Inf(1), Max: 8, Layers: 3, Prob: 0.8, Increasing: true, Weighted: true, RandomFilt: true, TranslatePc: 0.45}, r)
	for _, bad := range []string{"", "augmix-m5", "rand-m", "rand-9", "rand-m9-x1", "rand-m9-", "rand-w0", "rand-tmore", "rand-p1.5", "rand-m-3", "rand-n16-tweights"} {
		_, err := ParseRandAugment(bad)
		assert.Error(t, err, bad)
	}
}

// TestRandAugmentLevels checks each operation's argument at a fixed magnitude
// against timm's formulas, worked out by hand.
func TestRandAugmentLevels(t *testing.T) {
	src := noise(40, 30, 3, 1)
	affine := func(m imageops.Matrix) *raster.Image {
		out := &raster.Image{}
		require.NoError(t, imageops.Affine(out, src, m, resample.Bilinear, [3]uint8{1, 2, 3}))
		return out
	}
	point := func(f func(*raster.Image)) *raster.Image {
		out := src.Clone()
		f(out)
		return out
	}
	sharp := func(factor float64) *raster.Image {
		out := &raster.Image{}
		imageops.Sharpness(out, src, factor)
		return out
	}
	// At magnitude 5: either of two results where a sign is drawn.
	plain := map[string][]*raster.Image{
		"AutoContrast":  {point(imageops.AutoContrast)},
		"Equalize":      {point(imageops.Equalize)},
		"Invert":        {point(imageops.Invert)},
		"Rotate":        {affine(imageops.Rotate(15, 40, 30)), affine(imageops.Rotate(-15, 40, 30))},
		"Posterize":     {point(func(m *raster.Image) { imageops.Posterize(m, 2) })},
		"Solarize":      {point(func(m *raster.Image) { imageops.Solarize(m, 128) })},
		"SolarizeAdd":   {point(func(m *raster.Image) { imageops.SolarizeAdd(m, 55, 128) })},
		"Color":         {src},
		"Contrast":      {src},
		"Brightness":    {src},
		"Sharpness":     {src},
		"ShearX":        {affine(imageops.ShearX(0.15)), affine(imageops.ShearX(-0.15))},
		"ShearY":        {affine(imageops.ShearY(0.15)), affine(imageops.ShearY(-0.15))},
		"TranslateXRel": {affine(imageops.Translate(9, 0)), affine(imageops.Translate(-9, 0))},
		"TranslateYRel": {affine(imageops.Translate(0, 6.75)), affine(imageops.Translate(0, -6.75))},
	}
	// At magnitude 8, increasing.
	bits := point(func(m *raster.Image) { imageops.Posterize(m, 1) })
	increasing := map[string][]*raster.Image{
		"Posterize":   {bits},
		"Solarize":    {point(func(m *raster.Image) { imageops.Solarize(m, 52) })},
		"SolarizeAdd": {point(func(m *raster.Image) { imageops.SolarizeAdd(m, 88, 128) })},
		"Color":       {point(func(m *raster.Image) { imageops.Color(m, 1.72) }), point(func(m *raster.Image) { imageops.Color(m, 0.28) })},
		"Contrast":    {point(func(m *raster.Image) { imageops.Contrast(m, 1.72) }), point(func(m *raster.Image) { imageops.Contrast(m, 0.28) })},
		"Brightness":  {point(func(m *raster.Image) { imageops.Brightness(m, 1.72) }), point(func(m *raster.Image) { imageops.Brightness(m, 0.28) })},
		"Sharpness":   {sharp(1.72), sharp(0.28)},
	}
	check := func(level float64, inc bool, want map[string][]*raster.Image) {
		r := &RandAugment{Increasing: inc, Filter: resample.Bilinear, Fill: [3]uint8{1, 2, 3}, TranslatePc: 0.45}
		for _, op := range repertoire {
			options, ok := want[op.name]
			if !ok {
				continue
			}
			rng := newRand(7)
			counts := make([]int, len(options))
			for range 60 {
				got := op.apply(r, src.Clone(), &raster.Image{}, level, rng)
				found := false
				for i, o := range options {
					if !found && assert.ObjectsAreEqual(o.Pix, got.Pix) {
						counts[i]++
						found = true
					}
				}
				require.True(t, found, "%s at %v", op.name, level)
			}
			for _, n := range counts {
				assert.Greater(t, n, 10, "%s: both signs come up", op.name)
			}
		}
	}
	require.Len(t, plain, len(repertoire))
	check(5, false, plain)
	check(8, true, increasing)
}

func TestRandAugmentChoosesEvenly(t *testing.T) {
	counts := map[string]int{}
	saved := repertoire
	defer func() { repertoire = saved }()
	levels := []float64{}
	repertoire = nil
	for _, op := range saved {
		name := op.name
		repertoire = append(repertoire, randOp{name, op.weight, func(_ *RandAugment, m, _ *raster.Image, level float64, _ *rand.Rand) *raster.Image {
			counts[name]++
			levels = append(levels, level)
			return m
		}})
	}
	r, err := ParseRandAugment("rand-m9-mstd0.5-inc1")
	require.NoError(t, err)
	rng := newRand(1)
	m, tmp := raster.New(2, 2, 3), &raster.Image{}
	const n = 30000
	for range n {
		r.Apply(m, tmp, rng)
	}
	total := 0
	for _, op := range saved {
		total += counts[op.name]
		assert.InDelta(t, n/15, counts[op.name], 200, op.name)
	}
	assert.InDelta(t, n, total, 400, "two layers, each with probability one half")
	mean, atMost := 0.0, 0
	for _, l := range levels {
		require.LessOrEqual(t, l, 10.0)
		mean += l
		if l == 10 {
			atMost++
		}
	}
	assert.InDelta(t, 9, mean/float64(len(levels)), 0.02)
	assert.InDelta(t, 0.0228, float64(atMost)/float64(len(levels)), 0.006, "two standard deviations up is cut off")

	clear(counts)
	r, err = ParseRandAugment("rand-m9-n2-p1-tweights")
	require.NoError(t, err)
	for range n {
		r.Apply(m, tmp, rng)
	}
	// Chances of coming first or second without replacement, by hand.
	chance := func(weight float64) float64 {
		total, p := 0.0, 0.0
		for _, op := range saved {
			total += op.weight
		}
		for _, op := range saved {
			p += op.weight / total * weight / (total - op.weight)
		}
		return p + weight/total - weight/total*weight/(total-weight)
	}
	for _, op := range saved {
		assert.InDelta(t, chance(op.weight), float64(counts[op.name])/n, 0.01, op.name)
	}
	assert.Less(t, counts["Rotate"], n, "never twice on one image")
}

func TestColorJitter(t *testing.T) {
	assert.Equal(t, ColorJitter{0.4, 0.4, 0.4, 0}, newColorJitter([]float64{0.4}))
	assert.Equal(t, ColorJitter{1, 2, 3, 0}, newColorJitter([]float64{1, 2, 3}))
	assert.Equal(t, ColorJitter{1, 2, 3, 0.1}, newColorJitter([]float64{1, 2, 3, 0.1}))
	// A single gray value shows the factor of brightness alone.
	rng := newRand(3)
	lo, hi, sum := 255, 0, 0
	const n = 5000
	for range n {
		m := raster.New(1, 1, 1)
		m.Pix[0] = 100
		ColorJitter{Brightness: 0.4}.Apply(m, rng)
		v := int(m.Pix[0])
		lo, hi, sum = min(lo, v), max(hi, v), sum+v
	}
	assert.Equal(t, [2]int{60, 139}, [2]int{lo, hi})
	assert.InDelta(t, 99.5, float64(sum)/n, 1)
}

func TestErase(t *testing.T) {
	const size, n = 40, 3000
	erased, area := 0, 0.0
	rng := newRand(5)
	for range n {
		x := make([]float32, 3*size*size)
		for i := range x {
			x[i] = 7
		}
		Erase(x, 3, size, size, 0.25, EraseConst, 1, rng)
		zeros := 0
		for i, v := range x {
			if v != x[i%(size*size)] {
				t.Fatal("channels are erased alike")
			}
			if v == 0 {
				zeros++
			}
		}
		if zeros > 0 {
			erased++
			part := float64(zeros) / float64(len(x))
			require.InDelta(t, 0.17, part, 0.17)
			area += part
		}
	}
	assert.InDelta(t, 0.25, float64(erased)/n, 0.025)
	assert.InDelta(t, (0.02+1.0/3)/2, area/float64(erased), 0.01)

	for mode, distinct := range map[string]bool{ErasePixel: true, EraseRand: false} {
		var sum, squares float64
		count := 0
		for range 200 {
			x := make([]float32, size*size)
			Erase(x, 1, size, size, 1, mode, 3, rng)
			values := map[float32]bool{}
			for _, v := range x {
				if v != 0 {
					values[v] = true
					sum += float64(v)
					squares += float64(v) * float64(v)
					count++
				}
			}
			if distinct {
				assert.Greater(t, len(values), 20)
			} else {
				assert.LessOrEqual(t, len(values), 3)
			}
		}
		if distinct {
			assert.InDelta(t, 0, sum/float64(count), 0.03)
			assert.InDelta(t, 1, squares/float64(count), 0.03)
		}
	}
}
