package blocks_test

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/sugarme/gotch"
	gotchnn "github.com/sugarme/gotch/nn"
	"github.com/sugarme/gotch/ts"

	"github.com/gonatten/gonatten/internal/torch"
	"github.com/gonatten/gonatten/models/blocks"
	"github.com/gonatten/gonatten/nn"
)

func root() *gotchnn.Path { return gotchnn.NewVarStore(gotch.CPU).Root() }

func values(t *testing.T, x *ts.Tensor) []float64 {
	t.Helper()
	v, err := torch.Slice[float64](x)
	require.NoError(t, err)
	return v
}

// shape applies a layer to zeros of that shape and tells the result's.
func shape(t *testing.T, l nn.Layer, in ...int64) []int64 {
	t.Helper()
	s := torch.NewScope()
	defer s.Close()
	y := s.Own(l.Apply(s.Zeros(in, gotch.Float, torch.CPU), false))
	require.NoError(t, s.Err())
	return y.MustSize()
}

func TestTokenizersRoundUp(t *testing.T) {
	for stride, want := range map[int64][]int64{4: {2, 8, 10, 16}, 2: {2, 15, 19, 16}, 1: {2, 29, 37, 16}} {
		l, err := blocks.NewConvTokenizer(root(), 3, 16, stride)
		require.NoError(t, err)
		require.Equal(t, want, shape(t, l, 2, 3, 29, 37))
	}
	_, err := blocks.NewConvTokenizer(root(), 3, 16, 8)
	require.EqualError(t, err, "blocks: ConvTokenizer: stride is 8, want 4, 2 or 1")

	l, err := blocks.NewPatchEmbed(root(), 1, 16, 4)
	require.NoError(t, err)
	require.Equal(t, []int64{2, 8, 10, 16}, shape(t, l, 2, 1, 29, 37))
	_, err = l.Apply(ts.MustZeros([]int64{1, 29, 37}, gotch.Float, gotch.CPU), false)
	require.EqualError(t, err, "nn: PatchEmbed: image has shape [1 29 37], want [batch, channels, height, width]")
}

// Forward and ForwardT are Apply, whichever layers a layer is made of.
func TestForwardIsApply(t *testing.T) {
	embed, err := blocks.NewPatchEmbed(root(), 1, 16, 4)
	require.NoError(t, err)
	merging, err := blocks.NewPatchMerging(root(), 16, 0)
	require.NoError(t, err)
	global, err := blocks.NewGlobalAttention(root(), blocks.BlockConfig{Dim: 16, NumHeads: 2, GlobalSize: 3})
	require.NoError(t, err)
	x := ts.MustZeros([]int64{1, 5, 16}, gotch.Float, gotch.CPU)
	larger := ts.MustZeros([]int64{1, 5, 5, 16}, gotch.Float, gotch.CPU)
	for _, c := range []struct {
		layer interface {
			nn.Layer
			ts.ModuleT
			ts.Module
		}
		input *ts.Tensor
	}{{embed, x}, {merging, x}, {global, x}, {global, larger}} {
		_, err := c.layer.Apply(c.input, false)
		var layer *nn.Error
		require.ErrorAs(t, err, &layer)
		require.PanicsWithError(t, err.Error(), func() { c.layer.Forward(c.input) })
		require.PanicsWithError(t, err.Error(), func() { c.layer.ForwardT(c.input, true) })
	}
}

// The order of the four tokens is part of the checkpoints' meaning: the weight
// here picks each of them in turn.
func TestPatchMergingOrder(t *testing.T) {
	vs := gotchnn.NewVarStore(gotch.CPU)
	l, err := blocks.NewPatchMerging(vs.Root(), 2, 0)
	require.NoError(t, err)
	s := torch.NewScope()
	defer s.Close()
	pick := make([]float32, 4*8) // [2*dim, 4*dim]: output i is channel 0 of token i
	for i := range 4 {
		pick[i*8+2*i] = 1
	}
	require.NoError(t, torch.NoGrad(func() error {
		s.Copy(l.Reduction.Weight, s.Own(torch.FromSlice(pick, 4, 8)))
		return s.Err()
	}))
	// One square of tokens whose channel 0 counts them, row by row: the norm
	// keeps their order and spacing.
	x := s.Own(torch.FromSlice([]float32{1, 0, 2, 0, 3, 0, 4, 0}, 1, 2, 2, 2))
	got := values(t, s.Own(l.Apply(x, false)))
	mean, deviation := 10.0/8, math.Sqrt((1+4+9+16)/8.0-(10.0/8)*(10.0/8))
	for i, token := range []float64{1, 3, 2, 4} { // (0,0) (1,0) (0,1) (1,1)
		require.InDelta(t, (token-mean)/deviation, got[i], 1e-4)
	}
	require.Equal(t, []int64{3, 4, 2, 4}, shape(t, l, 3, 7, 3, 2), "odd sides are extended")
}

func TestConvDownsamplerRoundsUp(t *testing.T) {
	l, err := blocks.NewConvDownsampler(root(), 4)
	require.NoError(t, err)
	require.Equal(t, []int64{3, 4, 2, 8}, shape(t, l, 3, 7, 3, 4))
}

// While training a sample's branch is either dropped or scaled by 1/(1-rate).
func TestDropPathDropsWholeSamples(t *testing.T) {
	b, err := blocks.NewBlock(root(), blocks.BlockConfig{Dim: 8, NumHeads: 2, KernelSize: 3, MLPRatio: 2, DropPath: 0.25})
	require.NoError(t, err)
	s := torch.NewScope()
	defer s.Close()
	require.NoError(t, torch.ManualSeed(5))
	require.NoError(t, torch.NoGrad(func() error { // leave the attention branch alone
		s.Copy(b.MLP.FC2.Weight, s.Zeros([]int64{8, 16}, gotch.Float, torch.CPU))
		return s.Err()
	}))
	const samples, size = 400, 3 * 3 * 8
	x := s.Randn([]int64{samples, 3, 3, 8}, gotch.Float, torch.CPU)
	branch := values(t, s.Sub(s.Own(b.Apply(x, false)), x))
	trained := values(t, s.Sub(s.Own(b.Apply(x, true)), x))
	dropped := 0
	for i := range samples {
		factor := 1 / 0.75
		// A single element may come out unchanged because its branch is less than it rounds off.
		if !slices.ContainsFunc(trained[i*size:(i+1)*size], func(x float64) bool { return x != 0 }) {
			factor, dropped = 0, dropped+1
		}
		for j := i * size; j < (i+1)*size; j++ {
			require.InDelta(t, factor*branch[j], trained[j], 1e-5)
		}
	}
	require.InDelta(t, 0.25, float64(dropped)/samples, 0.08)
}

// Layer scale multiplies each channel of both branches.
func TestLayerScale(t *testing.T) {
	b, err := blocks.NewBlock(root(), blocks.BlockConfig{Dim: 8, NumHeads: 2, KernelSize: 3, MLPRatio: 2, LayerScale: 1e-5})
	require.NoError(t, err)
	s := torch.NewScope()
	defer s.Close()
	require.Equal(t, []float64{1e-5}, dedupe(values(t, b.Gamma1)))
	require.Equal(t, []float64{1e-5}, dedupe(values(t, b.Gamma2)))
	require.NoError(t, torch.NoGrad(func() error {
		zero := s.Zeros([]int64{8}, gotch.Float, torch.CPU)
		s.Copy(b.Gamma1, zero)
		s.Copy(b.Gamma2, zero)
		return s.Err()
	}))
	x := s.Randn([]int64{2, 4, 4, 8}, gotch.Float, torch.CPU)
	require.Equal(t, values(t, x), values(t, s.Own(b.Apply(x, false))))
}

func dedupe(list []float64) []float64 {
	out := list[:1]
	for _, v := range list[1:] {
		if v != out[len(out)-1] {
			out = append(out, v)
		}
	}
	for i := range out {
		out[i] = math.Round(out[i]*1e10) / 1e10
	}
	return out
}

// The official initialisation: deviations, and zeros and ones.
func TestInitialisation(t *testing.T) {
	require.NoError(t, torch.ManualSeed(1))
	b, err := blocks.NewBlock(root(), blocks.BlockConfig{Dim: 128, NumHeads: 4, KernelSize: 7, MLPRatio: 3})
	require.NoError(t, err)
	local := b.Attn.Local()
	for name, weight := range map[string]*ts.Tensor{"qkv": local.QKV.Weight, "proj": local.Proj.Weight, "fc1": b.MLP.FC1.Weight,
		"fc2": b.MLP.FC2.Weight, "rpb": local.RPB} {
		sum, square := 0.0, 0.0
		list := values(t, weight)
		for _, v := range list {
			sum, square = sum+v, square+v*v
		}
		n := float64(len(list))
		require.InDelta(t, 0, sum/n, 5*0.02/math.Sqrt(n), name)
		require.InDelta(t, 0.02, math.Sqrt(square/n), 5*0.02/math.Sqrt(2*n), name)
	}
	for _, bias := range []*ts.Tensor{local.QKV.Bias, local.Proj.Bias, b.MLP.FC1.Bias, b.MLP.FC2.Bias, b.Norm1.Bias, b.Norm2.Bias} {
		require.Equal(t, []float64{0}, dedupe(values(t, bias)))
	}
	require.Equal(t, []float64{1}, dedupe(values(t, b.Norm1.Weight)))
}

// A block is a layer like any other; its parameters have the official names.
func ExampleBlock() {
	vs := gotchnn.NewVarStore(gotch.CPU)
	block, err := blocks.NewBlock(vs.Root().Sub("block"), blocks.BlockConfig{Dim: 64, NumHeads: 2, KernelSize: 7, Dilation: 2, MLPRatio: 3})
	if err != nil {
		fmt.Println(err)
		return
	}
	tokens := ts.MustZeros([]int64{1, 14, 14, 64}, gotch.Float, gotch.CPU)
	defer tokens.MustDrop()
	out, err := block.Apply(tokens, false)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer out.MustDrop()
	fmt.Println(out.MustSize())
	block.Visit(func(name string, t *ts.Tensor) {
		if name == "block.attn.rpb" {
			fmt.Println(name, t.MustSize())
		}
	})
	// Output:
	// [1 14 14 64]
	// block.attn.rpb [2 13 13]
}
