package augment

import (
	"fmt"
	"image"
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestMixParamsDistribution(t *testing.T) {
	m := RecipeMix(10)
	require.NoError(t, m.Check())
	rng := newRand(1)
	const n = 20000
	cut := 0
	var mixup, mixup2, cutmix float64
	for range n {
		p := m.Params(rng, 32, 48)
		require.GreaterOrEqual(t, p.Lambda, 0.0)
		require.LessOrEqual(t, p.Lambda, 1.0)
		if p.CutMix {
			cut++
			cutmix += p.Lambda
			require.True(t, p.Box.In(image.Rect(0, 0, 48, 32)))
			require.InDelta(t, 1-float64(p.Box.Dx()*p.Box.Dy())/(48*32), p.Lambda, 1e-12)
			continue
		}
		require.True(t, p.Box.Empty())
		mixup += p.Lambda
		mixup2 += p.Lambda * p.Lambda
	}
	assert.InDelta(t, 0.5, float64(cut)/n, 0.015)
	k := float64(n - cut)
	assert.InDelta(t, 0.5, mixup/k, 0.01)
	assert.InDelta(t, 0.25/(2*0.8+1), mixup2/k-math.Pow(mixup/k, 2), 0.003, "variance of Beta(0.8, 0.8)")
	assert.Greater(t, cutmix/float64(cut), 0.5, "boxes are cut off at the border")

	none := Mix{MixupAlpha: 0.8, Prob: 0.25, Classes: 2}
	mixed := 0
	for range n {
		if p := none.Params(rng, 8, 8); p.Lambda != 1 {
			assert.False(t, p.CutMix)
			mixed++
		}
	}
	assert.InDelta(t, 0.25, float64(mixed)/n, 0.015)
	assert.Equal(t, MixParams{Lambda: 1}, Mix{Prob: 1}.Params(rng, 8, 8))
	assert.True(t, Mix{CutmixAlpha: 1, Prob: 1}.Params(rng, 8, 8).CutMix)
}

func TestMixApply(t *testing.T) {
	batch := func() []float32 {
		x := make([]float32, 3*2*2*3) // three samples, the middle one its own partner
		for i := range x {
			x[i] = float32(i)
		}
		return x
	}
	x := batch()
	MixParams{Lambda: 0.75}.Apply(x, 3, 2, 2, 3)
	for i := range 12 {
		assert.InDelta(t, 0.75*float64(i)+0.25*float64(i+24), x[i], 1e-5)
		assert.InDelta(t, 0.75*float64(i+24)+0.25*float64(i), x[i+24], 1e-5)
		assert.Equal(t, float32(i+12), x[i+12])
	}
	x = batch()
	MixParams{Lambda: 2.0 / 3, CutMix: true, Box: image.Rect(1, 0, 2, 2)}.Apply(x, 3, 2, 2, 3)
	want := batch()
	for _, i := range []int{1, 4, 7, 10} { // column 1 of both rows and channels
		want[i], want[i+24] = want[i+24], want[i]
	}
	assert.Equal(t, want, x)
	x = batch()
	MixParams{Lambda: 1}.Apply(x, 3, 2, 2, 3)
	assert.Equal(t, batch(), x)
}

func TestMixTargets(t *testing.T) {
	m := Mix{LabelSmoothing: 0.1, Classes: 4}
	got := make([]float32, 8)
	require.NoError(t, m.Targets(got, []int64{0, 2}, MixParams{Lambda: 0.7}))
	want := []float64{0.63 + 0.025, 0.025, 0.27 + 0.025, 0.025, 0.27 + 0.025, 0.025, 0.63 + 0.025, 0.025}
	assert.InDeltaSlice(t, want, []float64{
		float64(got[0]), float64(got[1]), float64(got[2]), float64(got[3]),
		float64(got[4]), float64(got[5]), float64(got[6]), float64(got[7]),
	}, 1e-6)
	require.NoError(t, m.Targets(got, []int64{1, 1}, MixParams{Lambda: 0.3}))
	assert.InDelta(t, 0.925, got[1], 1e-6)
	assert.ErrorContains(t, m.Targets(got, []int64{1, 4}, MixParams{Lambda: 1}), "label 4 of sample 1 is not in [0, 4)")
	assert.ErrorContains(t, m.Targets(got[:7], []int64{1, 1}, MixParams{Lambda: 1}), "7 targets for 2 labels")
	for _, bad := range []Mix{{}, {Classes: 1, Prob: 2}, {Classes: 1, MixupAlpha: -1}, {Classes: 1, LabelSmoothing: 1}} {
		assert.Error(t, bad.Check())
	}
}

func ExampleMix() {
	mix := RecipeMix(2)
	mix.LabelSmoothing = 0
	images, labels := []float32{0, 0, 10, 10}, []int64{0, 1}
	p := MixParams{Lambda: 0.75} // usually mix.Params(rng, height, width)
	p.Apply(images, 2, 1, 1, 2)
	targets := make([]float32, 4)
	if err := mix.Targets(targets, labels, p); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(images, targets)
	// Output: [2.5 2.5 7.5 7.5] [0.75 0.25 0.25 0.75]
}
