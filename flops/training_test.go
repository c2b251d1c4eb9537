package flops_test

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/sugarme/gotch"
	gotchnn "github.com/sugarme/gotch/nn"
	"github.com/sugarme/gotch/ts"

	"github.com/gonatten/gonatten/flops"
	"github.com/gonatten/gonatten/internal/torch"
	"github.com/gonatten/gonatten/models"
	"github.com/gonatten/gonatten/nn"
)

// trainingStep counts forward, sum, backward of a layer on an input that wants
// its gradient or not.
func trainingStep(t *testing.T, build func(*gotchnn.Path) (nn.Layer, error), inputGradient bool, shape ...int64) *flops.Training {
	t.Helper()
	vs := gotchnn.NewVarStore(gotch.CPU)
	layer, err := build(vs.Root())
	require.NoError(t, err)
	x := ts.MustRandn(shape, gotch.Float, gotch.CPU).MustSetRequiresGrad(inputGradient, true)
	defer x.MustDrop()
	r, err := flops.TrainingStep(func() error {
		s := torch.NewScope()
		defer s.Close()
		y := s.Own(layer.Apply(x, true))
		s.Call(backward, y, []*ts.Tensor{}, s.Op(onesLike, y))
		return s.Err()
	}, flops.WithVariables(vs))
	require.NoError(t, err)
	require.Empty(t, r.Unsupported)
	require.Equal(t, r.FLOPs, r.Forward.FLOPs+r.Backward.FLOPs+r.Update.FLOPs)
	return r
}

var (
	backward = torch.NewOp("aten::_backward")
	onesLike = torch.NewOp("aten::ones_like")
)

func TestBackwardOfLinear(t *testing.T) {
	const rows, in, out = 10, 16, 32
	build := func(p *gotchnn.Path) (nn.Layer, error) { return nn.NewLinear(p, in, out, nn.LinearConfig{}) }
	r := trainingStep(t, build, true, 2, 5, in)
	require.EqualValues(t, rows*in*out, r.Forward.MACs)
	require.EqualValues(t, 2*rows*in*out+rows*out, r.Forward.FLOPs)
	// dx = dy W, dW = dy^T x, db = the sum of dy over rows
	require.EqualValues(t, 2*rows*in*out, r.Backward.MACs)
	require.EqualValues(t, 2*2*rows*in*out+(rows-1)*out, r.Backward.FLOPs)
	require.Zero(t, r.Update.FLOPs)

	r = trainingStep(t, build, false, 2, 5, in)
	require.EqualValues(t, rows*in*out, r.Backward.MACs, "no gradient towards the input")
}

func TestBackwardOfConv(t *testing.T) {
	const b, in, out, size, kernel = 2, 3, 8, 9, 3
	const side = (size+2-kernel)/2 + 1
	const forward = b * out * side * side * in * kernel * kernel
	build := func(p *gotchnn.Path) (nn.Layer, error) {
		return nn.NewConv2d(p, in, out, kernel, nn.Conv2dConfig{Stride: 2, Padding: 1})
	}
	r := trainingStep(t, build, true, b, in, size, size)
	require.EqualValues(t, forward, r.Forward.MACs)
	require.EqualValues(t, 2*forward+b*out*side*side, r.Forward.FLOPs)
	require.EqualValues(t, 2*forward, r.Backward.MACs)
	require.EqualValues(t, 4*forward+b*out*side*side-out, r.Backward.FLOPs)
	r = trainingStep(t, build, false, b, in, size, size)
	require.EqualValues(t, forward, r.Backward.MACs, "no gradient towards the input")
}

func TestBackwardOfLayerNorm(t *testing.T) {
	const rows, n = 14, 16
	build := func(p *gotchnn.Path) (nn.Layer, error) { return nn.NewLayerNorm(p, n) }
	r := trainingStep(t, build, true, 2, 7, n)
	require.Zero(t, r.MACs)
	require.EqualValues(t, rows*(7*n+3), r.Forward.FLOPs)
	// dx: 10 per element; dweight: product and sum; dbias: sum
	require.EqualValues(t, rows*n*10+(2*rows*n-n)+(rows*n-n), r.Backward.FLOPs)
}

func TestBackwardOfNeighborhoodAttention(t *testing.T) {
	const b, length, dim, heads, kernel = 2, 20, 32, 4, 7
	const rows, pairs = b * length, b * heads * length * kernel
	build := func(p *gotchnn.Path) (nn.Layer, error) {
		return nn.NewNeighborhoodAttention1D(p, dim, heads, nn.AttentionConfig{KernelSize: kernel, Dilation: 2})
	}
	r := trainingStep(t, build, true, b, length, dim)
	const d = dim / heads
	qkv, proj := int64(rows*dim*3*dim), int64(rows*dim*dim)
	require.Equal(t, qkv+proj+pairs*2*d, r.Forward.MACs)
	softmax := int64(5*pairs - 2*b*heads*length)
	require.Equal(t, 2*r.Forward.MACs+rows*3*dim+rows*dim+softmax+pairs+rows*dim, r.Forward.FLOPs,
		"biases of qkv and proj, softmax, rpb, scale")
	attention := r.Operator("na1d_backward")
	require.EqualValues(t, pairs*5*d, attention.MACs, "logits anew, dv, dout v^T, dq, dk")
	require.EqualValues(t, 2*pairs*5*d+4*pairs+2*pairs+b*heads*length*(2*d-1+2*d), attention.FLOPs)
	require.Equal(t, 2*(qkv+proj)+pairs*5*d, r.Backward.MACs)
	// The gradient of qkv gathers those of q, k and v.
	module := r.Module("qkv")
	require.NotNil(t, module)
	require.Equal(t, 3*qkv, module.MACs, "backward belongs to the layer")
	require.Equal(t, 3*proj, r.Module("proj").MACs)
}

// A whole step: the parts add up, everything has a formula, every module is there.
func TestTrainingStep(t *testing.T) {
	vs := gotchnn.NewVarStore(gotch.CPU)
	m, err := models.FromConfig(models.Config{Family: models.DiNAT, NumClasses: 10, EmbedDim: 16, Depths: []int64{1, 1},
		NumHeads: []int64{1, 2}, KernelSize: 3, LayerScale: 1e-5, DropPathRate: 0.1, DropRate: 0.1}, vs.Root())
	require.NoError(t, err)
	optimizer, err := gotchnn.DefaultAdamWConfig().Build(vs, 1e-3)
	require.NoError(t, err)
	s := torch.NewScope()
	defer s.Close()
	x := s.Randn([]int64{2, 3, 32, 32}, gotch.Float, torch.CPU)
	labels := s.Own(torch.FromSlice([]int64{3, 7}, 2))
	require.NoError(t, s.Err())
	r, err := flops.TrainingStep(func() error {
		s := torch.NewScope()
		defer s.Close()
		loss := s.CrossEntropy(s.Own(m.Apply(x, true)), labels, 0.1)
		if s.Err() != nil {
			return s.Err()
		}
		if err := torch.Backward(loss); err != nil {
			return err
		}
		return optimizer.Step()
	}, flops.WithVariables(vs), flops.WithName("dinat"))
	require.NoError(t, err)
	require.Empty(t, r.Unsupported)
	require.Empty(t, r.Uncalled)
	parameters, err := m.NumParameters()
	require.NoError(t, err)
	require.Equal(t, parameters, r.Parameters)

	forward := count(t, m, vs, flops.Exact, 2, 3, 32, 32)
	require.Equal(t, forward.MACs, r.Forward.MACs)
	require.Greater(t, r.Backward.MACs, 2*r.Forward.MACs*9/10)
	require.Less(t, r.Backward.MACs, 3*r.Forward.MACs)
	require.Greater(t, r.Update.FLOPs, 10*parameters, "AdamW takes 13 to 14 per parameter")
	require.Less(t, r.Update.FLOPs, 20*parameters)
	require.Greater(t, r.Module("levels.0.blocks.0.attn.qkv").MACs, int64(0))
	require.InDelta(t, float64(r.FLOPs)/2, r.Rate(2*time.Second), 1)
	require.InDelta(t, float64(r.MACs)*2/1e12, r.Utilisation(time.Second, 1e12), 1e-9)
}

func TestTrainingStepFails(t *testing.T) {
	cause := errors.New("no data")
	_, err := flops.TrainingStep(func() error { return cause })
	require.ErrorIs(t, err, cause)
	_, err = flops.TrainingStep(func() error { panic(cause) })
	require.ErrorIs(t, err, cause)
	_, err = flops.TrainingStep(func() error { return nil })
	require.NoError(t, err, "the thread records no longer")
}

func TestPeak(t *testing.T) {
	peak, ok := flops.PeakFLOPs("NVIDIA H200", gotch.BFloat16, false)
	require.True(t, ok)
	require.Equal(t, 989.4e12, peak)
	peak, ok = flops.PeakFLOPs("NVIDIA A100-SXM4-80GB", gotch.BFloat16, false)
	require.True(t, ok)
	require.Equal(t, 312e12, peak)
	for _, unknown := range []string{"Some CPU", "NVIDIA RTX A1000", "NVIDIA RTX A4000", "NVIDIA T400 4GB"} {
		_, ok = flops.PeakFLOPs(unknown, gotch.Float, false)
		require.False(t, ok, unknown)
	}
}
