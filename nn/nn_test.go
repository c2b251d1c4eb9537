package nn_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/sugarme/gotch"
	gotchnn "github.com/sugarme/gotch/nn"
	"github.com/sugarme/gotch/ts"

	"github.com/gonatten/gonatten/functional"
	"github.com/gonatten/gonatten/internal/torch"
	"github.com/gonatten/gonatten/nn"
)

func TestLayersAreGotchModules(t *testing.T) {
	vs := gotchnn.NewVarStore(gotch.CPU)
	l, err := nn.NewNeighborhoodAttention2D(vs.Root().Sub("attn"), 32, 4, nn.AttentionConfig{KernelSize: 3})
	require.NoError(t, err)
	var _ ts.Module = l
	var _ ts.ModuleT = l
	names := []string{}
	for name := range vs.Variables() {
		names = append(names, name)
	}
	require.ElementsMatch(t, []string{"attn.rpb", "attn.qkv.weight", "attn.qkv.bias", "attn.proj.weight", "attn.proj.bias"}, names)

	s := torch.NewScope()
	defer s.Close()
	x := s.Randn([]int64{2, 5, 6, 32}, gotch.Float, torch.CPU)
	y := l.Forward(x)
	defer y.MustDrop()
	require.Equal(t, []int64{2, 5, 6, 32}, y.MustSize())
}

func TestErrorsNameTheLayer(t *testing.T) {
	vs := gotchnn.NewVarStore(gotch.CPU)
	_, err := nn.NewNeighborhoodAttention1D(vs.Root().Sub("a"), 30, 4, nn.AttentionConfig{KernelSize: 3})
	require.EqualError(t, err, "nn: NeighborhoodAttention1D a: dim is 30, want a positive multiple of num_heads 4")

	l, err := nn.NewLinear(vs.Root().Sub("fc"), 4, 8, nn.LinearConfig{})
	require.NoError(t, err)
	s := torch.NewScope()
	defer s.Close()
	x := s.Randn([]int64{2, 5}, gotch.Float, torch.CPU)
	_, err = l.Apply(x, false)
	require.ErrorContains(t, err, "nn: Linear fc: mat1 and mat2 shapes cannot be multiplied")
	require.PanicsWithError(t, err.Error(), func() { l.Forward(x) })
}

func TestOptionsOutOfRange(t *testing.T) {
	path := gotchnn.NewVarStore(gotch.CPU).Root()
	nan := math.NaN()
	for want, c := range map[string]nn.AttentionConfig{
		"AttnDrop and ProjDrop are NaN and 0, want rates in [0, 1)":    {AttnDrop: nan},
		"AttnDrop and ProjDrop are 0 and 1, want rates in [0, 1)":      {ProjDrop: 1},
		"QKScale is NaN, want a finite number":                         {QKScale: nan},
		"IsCausal has 2 entries, want 1 or 1":                          {IsCausal: []bool{true, false}, NoRPB: true},
		"IsCausal is [true], want NoRPB with it: a causal axis has no": {IsCausal: []bool{true}},
	} {
		c.KernelSize = 3
		_, err := nn.NewNeighborhoodAttention1D(path, 8, 2, c)
		require.ErrorContains(t, err, want)
	}
	_, err := nn.NewConv2d(path.Sub("conv"), 3, 4, 3, nn.Conv2dConfig{Stride: -2})
	require.ErrorContains(t, err, "stride is -2 and padding 0, want none below 0")
	s := torch.NewScope()
	defer s.Close()
	require.Nil(t, nn.DropPath(s, s.Zeros(nil, gotch.Float, torch.CPU), 0.5, true))
	require.ErrorContains(t, s.Err(), "branch has no dimension")
}

// A causal layer is the causal operator between its projections, whatever becomes of the list that it was given.
func TestCausalLayer(t *testing.T) {
	causal := []bool{true}
	l, err := nn.NewNeighborhoodAttention1D(gotchnn.NewVarStore(gotch.CPU).Root(), 8, 2,
		nn.AttentionConfig{KernelSize: 3, IsCausal: causal, NoRPB: true})
	require.NoError(t, err)
	causal[0] = false
	s := torch.NewScope()
	defer s.Close()
	x := s.Randn([]int64{1, 9, 8}, gotch.Float, torch.CPU)
	before := s.Narrow(s.Own(l.Apply(x, false)), 1, 0, 5)
	later := s.Cat([]*ts.Tensor{s.Narrow(x, 1, 0, 5), s.Zeros([]int64{1, 4, 8}, gotch.Float, torch.CPU)}, 1)
	after := s.Narrow(s.Own(l.Apply(later, false)), 1, 0, 5)
	require.NoError(t, s.Err())
	require.Equal(t, before.Float64Values(), after.Float64Values(), "what comes later changes nothing")
}

// Dropout of the output zeroes some of it, while training.
func TestDropoutOfTheOutput(t *testing.T) {
	l, err := nn.NewNeighborhoodAttention1D(gotchnn.NewVarStore(gotch.CPU).Root(), 8, 2, nn.AttentionConfig{KernelSize: 3, ProjDrop: 0.5})
	require.NoError(t, err)
	s := torch.NewScope()
	defer s.Close()
	x := s.Randn([]int64{4, 32, 8}, gotch.Float, torch.CPU)
	zeros := func(train bool) (n int) {
		out := s.Own(l.Apply(x, train))
		require.NoError(t, s.Err())
		for _, v := range out.Float64Values() {
			if v == 0 {
				n++
			}
		}
		return n
	}
	require.Zero(t, zeros(false))
	require.InDelta(t, 512, zeros(true), 100)
}

func TestDropoutOfAttentionWeightsTrains(t *testing.T) {
	vs := gotchnn.NewVarStore(gotch.CPU)
	l, err := nn.NewNeighborhoodAttention1D(vs.Root(), 16, 2, nn.AttentionConfig{KernelSize: 5, Dilation: 2, AttnDrop: 0.5})
	require.NoError(t, err)
	s := torch.NewScope()
	defer s.Close()
	x := s.Randn([]int64{2, 12, 16}, gotch.Float, torch.CPU)
	a, b := s.Own(l.Apply(x, true)), s.Own(l.Apply(x, true))
	require.NoError(t, s.Err())
	va, err := torch.Slice[float64](a)
	require.NoError(t, err)
	vb, err := torch.Slice[float64](b)
	require.NoError(t, err)
	require.NotEqual(t, va, vb)
	c, d := s.Own(l.Apply(x, false)), s.Own(l.Apply(x, false))
	require.NoError(t, s.Err())
	vc, err := torch.Slice[float64](c)
	require.NoError(t, err)
	vd, err := torch.Slice[float64](d)
	require.NoError(t, err)
	require.Equal(t, vc, vd)
}

func TestRaggedBatchesEqualTheirSamples(t *testing.T) {
	vs := gotchnn.NewVarStore(gotch.CPU)
	l, err := nn.NewNeighborhoodAttention2D(vs.Root(), 16, 2, nn.AttentionConfig{KernelSize: 3})
	require.NoError(t, err)
	s := torch.NewScope()
	defer s.Close()
	var samples []*ts.Tensor
	for _, size := range [][]int64{{4, 7}, {3, 3}} {
		x := s.Randn(append(size, 16), gotch.Float, torch.CPU)
		s.RequiresGrad(x, true)
		samples = append(samples, x)
	}
	nested := s.Own(functional.Nest(samples))
	outs, err := functional.Unnest(s.Own(l.Apply(nested, true)))
	require.NoError(t, err)
	for i, x := range samples {
		size := x.MustSize()
		want := s.Own(l.Apply(s.Reshape(x, 1, size[0], size[1], size[2]), false))
		wantValues, err := torch.Slice[float64](want)
		require.NoError(t, err)
		got, err := torch.Slice[float64](s.Own(outs[i], nil))
		require.NoError(t, err)
		require.InDeltaSlice(t, wantValues, got, 1e-6)
	}
	require.NoError(t, torch.Backward(s.Sum(s.Mul(outs[0], outs[0]))))
	require.NotNil(t, s.Own(torch.Grad(samples[0])))

	small := s.Own(functional.Nest([]*ts.Tensor{s.Zeros([]int64{2, 5, 16}, gotch.Float, torch.CPU)}))
	_, err = l.Apply(small, false)
	require.ErrorContains(t, err, "kernel_size[0] is 3 at dilation 1, which exceeds the 2 tokens of spatial axis 0")
}
