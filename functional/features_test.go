package functional_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/sugarme/gotch"
	"github.com/sugarme/gotch/ts"

	"github.com/gonatten/gonatten/functional"
	"github.com/gonatten/gonatten/internal/torch"
)

func floats(t *testing.T, x *ts.Tensor) []float64 {
	t.Helper()
	values, err := torch.Slice[float64](x)
	require.NoError(t, err)
	return values
}

// One softmax over the neighborhood's logits and those of the additional keys,
// spelled out.
func TestAdditionalKeysShareTheSoftmax(t *testing.T) {
	for _, layout := range []functional.Layout{functional.HeadsLast, functional.HeadsFirst} {
		s := torch.NewScope()
		defer s.Close()
		random := func(shape ...int64) *ts.Tensor { return s.Randn(shape, gotch.Double, device) }
		const b, h, w, heads, dim, extra = 2, 4, 5, 3, 4, 6
		q, k, v := random(b, h, w, heads, dim), random(b, h, w, heads, dim), random(b, h, w, heads, dim)
		ek, ev := random(b, extra, heads, dim), random(b, extra, heads, dim)
		logits := s.Own(functional.NA2DQK(q, k, functional.Options{KernelSize: []int64{3}, Scale: 0.5}))
		// [b, heads, tokens, extra] -> [b, h, w, heads, extra]
		first := s.Transpose(s.Reshape(q, b, h*w, heads, dim), 1, 2)
		dense := s.MulScalar(s.Matmul(first, s.Permute(ek, 0, 2, 3, 1)), 0.5)
		both := s.Softmax(s.Cat([]*ts.Tensor{logits, s.Reshape(s.Transpose(dense, 1, 2), b, h, w, heads, extra)}, -1), -1)
		near := s.Own(functional.NA2DAV(s.Contiguous(s.Narrow(both, -1, 0, 9)), v, functional.K(3)))
		far := s.Matmul(s.Transpose(s.Reshape(s.Narrow(both, -1, 9, extra), b, h*w, heads, extra), 1, 2), s.Transpose(ev, 1, 2))
		want := s.Add(near, s.Reshape(s.Transpose(far, 1, 2), b, h, w, heads, dim))
		require.NoError(t, s.Err())

		o := functional.Options{KernelSize: []int64{3}, ExtraK: ek, ExtraV: ev, Layout: layout}
		if layout == functional.HeadsFirst {
			q, k, v, want = s.Movedim(q, -2, 1), s.Movedim(k, -2, 1), s.Movedim(v, -2, 1), s.Movedim(want, -2, 1)
			o.ExtraK, o.ExtraV = s.Transpose(ek, 1, 2), s.Transpose(ev, 1, 2)
		}
		got := s.Own(functional.NA2D(q, k, v, o))
		require.NoError(t, s.Err())
		require.InDeltaSlice(t, floats(t, want), floats(t, got), 1e-12)
	}
}

// No additional keys at all are none.
func TestNoAdditionalKeys(t *testing.T) {
	s := torch.NewScope()
	defer s.Close()
	q, none := s.Randn([]int64{2, 5, 2, 4}, gotch.Float, torch.CPU), s.Zeros([]int64{2, 0, 2, 4}, gotch.Float, torch.CPU)
	want := s.Own(functional.NA1D(q, q, q, functional.K(3)))
	got := s.Own(functional.NA1D(q, q, q, functional.Options{KernelSize: []int64{3}, ExtraK: none, ExtraV: none}))
	require.NoError(t, s.Err())
	require.Equal(t, floats(t, want), floats(t, got))
}

func TestLogSumExpIsThatOfTheLogits(t *testing.T) {
	s := torch.NewScope()
	defer s.Close()
	q := s.Randn([]int64{2, 3, 7, 4}, gotch.Double, device) // [batch, heads, length, dim]
	o := functional.Options{KernelSize: []int64{3}, Dilation: []int64{2}, Layout: functional.HeadsFirst}
	out, lse, err := functional.NA1DLSE(q, q, q, o)
	s.Own(out, err)
	s.Own(lse, err)
	o.Scale = 0.5
	want := s.Op(torch.NewOp("aten::logsumexp"), s.Own(functional.NA1DQK(q, q, o)), []int64{-1})
	require.NoError(t, s.Err())
	require.Equal(t, []int64{2, 3, 7}, lse.MustSize())
	require.InDeltaSlice(t, floats(t, want), floats(t, lse), 1e-12)
	_, _, err = functional.NA1DLSE(q, q, q, functional.Options{KernelSize: []int64{3}, DropoutP: 0.5})
	require.ErrorContains(t, err, "DropoutP does not apply")
}

// float16 ends at 65504 and has eleven bits; the gradient of the log-sum-exp is float32.
func TestGradientOfTheLogSumExpIsNotRounded(t *testing.T) {
	for dtype, within := range map[gotch.DType]float64{gotch.Half: 2e-3, gotch.BFloat16: 1e-2} {
		s := torch.NewScope()
		q := s.To(s.Randn([]int64{1, 20, 2, 16}, gotch.Float, device), dtype)
		dlse := s.MulScalar(s.Randn([]int64{1, 20, 2}, gotch.Float, device), 1e5)
		dq := func(as gotch.DType) []float64 {
			leaf := s.To(q, as)
			if as == dtype {
				leaf = s.Own(leaf.ShallowClone())
			}
			leaf = s.Own(leaf.Detach(false))
			s.RequiresGrad(leaf, true)
			// Small gradients: the large ones are of the inside, where float16 would end.
			out, lse, err := functional.NA1DLSE(leaf, s.Own(leaf.Detach(false)), leaf, functional.Options{KernelSize: []int64{5}, Scale: 1e-3})
			s.Own(out, err)
			s.Own(lse, err)
			require.NoError(t, s.Err())
			s.Fail(torch.BackwardWith(lse, s.To(dlse, lse.DType())))
			require.NoError(t, s.Err())
			return floats(t, gradient(t, s, leaf))
		}
		want, got := dq(gotch.Double), dq(dtype)
		largest := 0.0
		for _, v := range want {
			largest = max(largest, math.Abs(v))
		}
		require.Greater(t, largest, 10.0)
		require.InDeltaSlice(t, want, got, within*largest)
		s.Close()
	}
}

func TestOptionsThatDoNotApply(t *testing.T) {
	s := torch.NewScope()
	defer s.Close()
	q := s.Randn([]int64{1, 8, 2, 4}, gotch.Float, torch.CPU)
	seed := int64(1)
	for name, o := range map[string]functional.Options{
		"ExtraK": {ExtraK: q}, "ExtraV": {ExtraV: q}, "DropoutP": {DropoutP: 0.5}, "Seed": {Seed: &seed},
	} {
		o.KernelSize = []int64{3}
		_, err := functional.NA1DQK(q, q, o)
		require.EqualError(t, err, "functional: NA1DQK: "+name+" does not apply")
		_, err = functional.NA1DAV(q, q, o)
		require.EqualError(t, err, "functional: NA1DAV: "+name+" does not apply")
		_, err = functional.NAVarlen(q, q, q, [][]int64{{8}}, o)
		require.EqualError(t, err, "functional: NAVarlen: "+name+" does not apply to packed batches")
	}
	nested := s.Own(functional.Nest([]*ts.Tensor{s.Randn([]int64{8, 2, 4}, gotch.Float, torch.CPU)}))
	_, err := functional.NA1D(nested, nested, nested, functional.Options{KernelSize: []int64{3}, Layout: functional.HeadsFirst})
	require.EqualError(t, err, "functional: NA1D: Layout is heads_first, want heads_last: q is nested")
	_, err = functional.NAVarlen(q, nil, q, [][]int64{{8}}, functional.K(3))
	require.ErrorContains(t, err, "functional: NAVarlen: k: ")
	_, err = functional.Nest([]*ts.Tensor{q, nil})
	require.ErrorContains(t, err, "functional: Nest: samples[1]: ")
	_, err = functional.Unnest(q)
	require.EqualError(t, err, "functional: Unnest: tensor of shape [1 8 2 4], want a nested one")
	_, err = functional.Unnest(nil)
	require.ErrorContains(t, err, "functional: Unnest: ")
}

func TestMergingTwoHalvesIsTheWhole(t *testing.T) {
	s := torch.NewScope()
	defer s.Close()
	q := s.Randn([]int64{1, 8, 2, 4}, gotch.Double, device)
	ek := s.Randn([]int64{1, 6, 2, 4}, gotch.Double, device)
	attend := func(e *ts.Tensor) (*ts.Tensor, *ts.Tensor) {
		// The additional keys as a sequence of their own, seen by every query: a
		// window as large as the axis.
		logits := s.MulScalar(s.Matmul(s.Transpose(q, 1, 2), s.Permute(e, 0, 2, 3, 1)), 0.5)
		return s.Transpose(s.Matmul(s.Softmax(logits, -1), s.Transpose(e, 1, 2)), 1, 2),
			s.Transpose(s.Op(torch.NewOp("aten::logsumexp"), logits, []int64{-1}), 1, 2)
	}
	a, la := attend(s.Narrow(ek, 1, 0, 2))
	b, lb := attend(s.Narrow(ek, 1, 2, 4))
	want, wantLSE := attend(ek)
	got, lse, err := functional.MergeAttentions([]*ts.Tensor{a, b}, []*ts.Tensor{la, lb})
	s.Own(got, err)
	s.Own(lse, err)
	require.NoError(t, s.Err())
	require.InDeltaSlice(t, floats(t, want), floats(t, got), 1e-12)
	require.InDeltaSlice(t, floats(t, wantLSE), floats(t, lse), 1e-12)
	_, _, err = functional.MergeAttentions([]*ts.Tensor{a}, nil)
	require.ErrorContains(t, err, "functional: MergeAttentions: outs has 1 tensors and lses 0")
}

func TestDropoutIsReproducibleAndUnbiased(t *testing.T) {
	s := torch.NewScope()
	defer s.Close()
	q := s.Randn([]int64{1, 64, 64, 1, 4}, gotch.Float, device)
	ones := s.Full([]int64{1, 64, 64, 1, 4}, 1, gotch.Float, device)
	seed, other := int64(3), int64(4)
	drop := func(seed *int64) []float64 {
		return floats(t, s.Own(functional.NA2D(q, q, ones, functional.Options{KernelSize: []int64{7}, DropoutP: 0.25, Seed: seed})))
	}
	first := drop(&seed)
	require.Equal(t, first, drop(&seed))
	require.NotEqual(t, first, drop(&other))
	mean := 0.0
	for _, v := range first {
		mean += v / float64(len(first))
	}
	require.InDelta(t, 1, mean, 0.05)
	_, err := functional.NA2D(q, q, q, functional.Options{KernelSize: []int64{7}, DropoutP: 1})
	require.EqualError(t, err, "functional: NA2D: dropout_p is 1, want a probability in [0, 1)")
}

// The weights of a query add up to one in half precision too, however large its
// logits are: with values of one the results say so.
func TestDropoutNormalizesInHalfPrecision(t *testing.T) {
	for dtype, within := range map[gotch.DType]float64{gotch.BFloat16: 0.012, gotch.Half: 0.002} {
		s := torch.NewScope()
		q := s.To(s.MulScalar(s.Randn([]int64{1, 64, 2, 16}, gotch.Float, torch.CPU), 4), dtype)
		ones := s.Full([]int64{1, 64, 2, 16}, 1, dtype, torch.CPU)
		seed := int64(1)
		out := s.Own(functional.NA1D(q, q, ones, functional.Options{KernelSize: []int64{9}, DropoutP: 1e-7, Seed: &seed}))
		require.NoError(t, s.Err())
		for _, x := range floats(t, out) {
			require.InDelta(t, 1, x, within, dtype)
		}
		s.Close()
	}
}

func TestPackedBatchesTakeABackend(t *testing.T) {
	s := torch.NewScope()
	defer s.Close()
	x := s.Randn([]int64{5, 2, 4}, gotch.Float, torch.CPU)
	_, err := functional.NAVarlen(x, x, x, [][]int64{{5}}, functional.Options{KernelSize: []int64{3}, Backend: "tile"})
	require.EqualError(t, err, `functional: NAVarlen: option Backend is "tile", a class of CUDA kernels, and q is on cpu`)
}

func TestRaggedBatchesEqualTheirSamples(t *testing.T) {
	s := torch.NewScope()
	defer s.Close()
	sizes := [][]int64{{5, 6}, {3, 3}, {8, 4}}
	rpb := s.Randn([]int64{2, 5, 5}, gotch.Double, device)
	s.RequiresGrad(rpb, true)
	o := functional.Options{KernelSize: []int64{3}, RPB: rpb}
	var samples, flat []*ts.Tensor
	var want, wantGrad [][]float64
	for _, size := range sizes {
		x := s.Randn([]int64{size[0], size[1], 2, 4}, gotch.Double, device)
		s.RequiresGrad(x, true)
		batch := s.Reshape(x, 1, size[0], size[1], 2, 4)
		out := s.Own(functional.NA2D(batch, batch, batch, o))
		require.NoError(t, torch.Backward(s.Sum(s.Mul(out, out))))
		want = append(want, floats(t, out))
		wantGrad = append(wantGrad, floats(t, s.Own(torch.Grad(x))))
		require.NoError(t, torch.ZeroGrad(x))
		samples = append(samples, x)
		flat = append(flat, s.Reshape(x, -1, 2, 4))
	}
	wantBias := floats(t, s.Own(torch.Grad(rpb)))
	check := func(outs []*ts.Tensor) {
		loss := s.Zeros([]int64{}, gotch.Double, device)
		for i, out := range outs {
			require.InDeltaSlice(t, want[i], floats(t, out), 1e-12)
			loss = s.Add(loss, s.Sum(s.Mul(out, out)))
		}
		require.NoError(t, torch.ZeroGrad(rpb))
		require.NoError(t, torch.Backward(loss))
		for i, x := range samples {
			require.InDeltaSlice(t, wantGrad[i], floats(t, s.Own(torch.Grad(x))), 1e-12)
			require.NoError(t, torch.ZeroGrad(x))
		}
		require.InDeltaSlice(t, wantBias, floats(t, s.Own(torch.Grad(rpb))), 1e-12)
	}

	nested := s.Own(functional.Nest(samples))
	outs, err := functional.Unnest(s.Own(functional.NA2D(nested, nested, nested, o)))
	require.NoError(t, err)
	for _, out := range outs {
		s.Own(out, nil)
	}
	check(outs)

	packed := s.Cat(flat, 0)
	out := s.Own(functional.NAVarlen(packed, packed, packed, sizes, o))
	require.NoError(t, s.Err())
	outs, at := nil, int64(0)
	for _, size := range sizes {
		outs = append(outs, s.Narrow(out, 0, at, size[0]*size[1]))
		at += size[0] * size[1]
	}
	check(outs)

	_, err = functional.NAVarlen(packed, packed, packed, [][]int64{{5, 6}, {3, 3}}, o)
	require.ErrorContains(t, err, "functional: NAVarlen: q has 71 tokens, want 39")
	_, err = functional.NA2D(nested, samples[0], nested, o)
	require.ErrorContains(t, err, "k is a plain tensor, want a nested one")
}
