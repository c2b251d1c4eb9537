package train_test

import (
	"context"
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/sugarme/gotch"
	gotchnn "github.com/sugarme/gotch/nn"

	"github.com/gonatten/gonatten/data"
	"github.com/gonatten/gonatten/internal/procmem"
	"github.com/gonatten/gonatten/internal/testproc"
	"github.com/gonatten/gonatten/internal/torch"
	"github.com/gonatten/gonatten/models"
	"github.com/gonatten/gonatten/train"
	"github.com/gonatten/gonatten/train/optim"
)

// smallNAT is a model for blobs with everything random that a model has.
func smallNAT(t testing.TB, edit func(*models.Config)) *models.Model {
	t.Helper()
	require.NoError(t, torch.ManualSeed(3))
	c := models.Config{
		Family: models.DiNAT, ImageSize: 8, InChans: 1, NumClasses: 4, EmbedDim: 16, Depths: []int64{2, 2}, NumHeads: []int64{2, 2},
		KernelSize: 3, Dilations: [][]int64{{1, 2}, {1, 1}}, StemStride: 1, DropRate: 0.1, AttnDropRate: 0.1, DropPathRate: 0.3,
		LayerScale: 0.5, InitStd: 0.1,
	}
	if edit != nil {
		edit(&c)
	}
	m, err := models.FromConfig(c, gotchnn.NewVarStore(device.Gotch()).Root())
	require.NoError(t, err)
	t.Cleanup(func() {
		for _, p := range m.Tensors() {
			p.Tensor.MustDrop()
		}
	})
	return m
}

func parametersOf(m *models.Model) []optim.Parameter {
	var list []optim.Parameter
	for _, p := range m.Parameters() {
		list = append(list, optim.Parameter(p))
	}
	return list
}

// modelLoop is a loop over blobs with AdamW at a constant rate.
func modelLoop(t testing.TB, m *models.Model, source train.Source) *train.Loop {
	t.Helper()
	return loopWith(t, "adamw", m, source)
}

func loopWith(t testing.TB, optimizer string, m *models.Model, source train.Source) *train.Loop {
	t.Helper()
	groups, err := optim.Groups(parametersOf(m), optim.Grouping{WeightDecay: 0.05})
	require.NoError(t, err)
	opt, err := optim.New(optimizer, groups, optim.Options{})
	require.NoError(t, err)
	t.Cleanup(opt.Close)
	return &train.Loop{
		Model: m, Optimizer: opt, Source: source, Loss: train.CrossEntropy(0.1),
		Schedule: func(int) float64 { return 1e-3 }, Epochs: 1, ClipNorm: 5, Device: device,
	}
}

// TestRecomputeChangesNothing: losses and weights have the same bits with and
// without, whatever is random in the model, in every precision, with
// accumulation and with a frozen tokenizer. On CUDA sums come in any order, so
// losses, and what plain gradient descent has made of the weights, are compared
// within the precision.
func TestRecomputeChangesNothing(t *testing.T) {
	optimizer := "adamw"
	if device.Is(torch.CUDA) {
		optimizer = "sgd"
	}
	run := func(t *testing.T, precision gotch.DType, recompute bool) (losses []float64, weights [][]float32) {
		m := smallNAT(t, nil)
		_, err := m.Freeze("patch_embed", "levels.0.blocks.1.norm1")
		require.NoError(t, err)
		l := loopWith(t, optimizer, m, loader(t, blobs(t, 64), data.LoaderOptions{BatchSize: 8, Shuffle: true, Seed: 1}))
		l.Precision, l.Recompute, l.Accumulate = precision, recompute, 2
		if precision == gotch.Half {
			l.Scaler, err = optim.NewScaler(device, optim.ScalerOptions{Init: 1024})
			require.NoError(t, err)
			defer l.Scaler.Close()
		}
		l.On(train.StepEnd, func(context.Context, *train.Loop) error {
			losses = append(losses, l.State.Loss)
			return nil
		})
		require.NoError(t, l.Run(context.Background()))
		require.Zero(t, l.State.Overflows)
		for _, p := range m.Parameters() {
			v, err := torch.Slice[float32](p.Tensor)
			require.NoError(t, err)
			weights = append(weights, v)
		}
		return losses, weights
	}
	for name, precision := range map[string]gotch.DType{"float32": gotch.Float, "bfloat16": gotch.BFloat16, "float16": gotch.Half} {
		t.Run(name, func(t *testing.T) {
			plainLosses, plain := run(t, precision, false)
			losses, weights := run(t, precision, true)
			require.Len(t, losses, 4)
			if device.Is(torch.CUDA) {
				limit := map[gotch.DType]float64{gotch.Float: 1e-5, gotch.BFloat16: 2e-2, gotch.Half: 3e-3}[precision]
				require.InEpsilonSlice(t, plainLosses, losses, limit)
				t.Logf("the losses of the last step are %g and %g", plainLosses[3], losses[3])
				start := smallNAT(t, nil)
				for i, p := range start.Parameters() {
					before, err := torch.Slice[float32](p.Tensor)
					require.NoError(t, err)
					require.LessOrEqual(t, apart(before, plain[i], weights[i]), limit, p.Name)
				}
				return
			}
			require.Equal(t, plainLosses, losses)
			require.Equal(t, plain, weights)
		})
	}
}

// apart is how far two ways from one start lie apart, relative to their length.
func apart(start, a, b []float32) float64 {
	length, distance := 0.0, 0.0
	for i := range start {
		length += math.Pow(float64(a[i]-start[i]), 2)
		distance += math.Pow(float64(a[i]-b[i]), 2)
	}
	if distance == 0 {
		return 0 // frozen, for example
	}
	return math.Sqrt(distance / length)
}

// TestRecomputeSavesMemory compares the peaks of resident memory above what was
// there before. Eight blocks keep some 17 tensors each; their inputs are one.
func TestRecomputeSavesMemory(t *testing.T) {
	if device.Is(torch.CUDA) {
		t.Skip("it watches the memory of the CPU")
	}
	if !procmem.ResetPeak() {
		t.Skip("the system does not let a process reset its peak of memory")
	}
	if !testproc.Alone(t) {
		return
	}
	peak := func(recompute bool) int64 {
		m := smallNAT(t, func(c *models.Config) {
			c.EmbedDim, c.Depths, c.NumHeads, c.Dilations = 64, []int64{8}, []int64{2}, nil
			c.DropRate, c.AttnDropRate = 0, 0
		})
		l := modelLoop(t, m, loader(t, blobs(t, 128), data.LoaderOptions{BatchSize: 128}))
		l.Recompute = recompute
		require.True(t, procmem.ResetPeak())
		before := procmem.Peak()
		require.NotZero(t, before)
		require.NoError(t, l.Run(context.Background()))
		return procmem.Peak() - before
	}
	less, plain := peak(true), peak(false)
	t.Logf("peak above the start: %d MB with, %d MB without", less>>20, plain>>20)
	require.Less(t, 2*less, plain)
}

func TestRecomputeNeedsSegments(t *testing.T) {
	l := newLoop(t, newLinear(t, 64, 4, 1), loader(t, blobs(t, 16), data.LoaderOptions{BatchSize: 16}))
	l.Recompute = true
	require.ErrorContains(t, l.Run(context.Background()), "Recompute needs a model with Segments")
}

// TestScaledSteps: with a scale that no float16 gradient survives, steps are left
// out until the scale has fallen far enough.
func TestScaledSteps(t *testing.T) {
	m := newLinear(t, 64, 4, 1)
	l := newLoop(t, m, loader(t, blobs(t, 256), data.LoaderOptions{BatchSize: 16, Shuffle: true, Seed: 1}))
	l.Precision, l.Epochs, l.ClipNorm = gotch.Half, 3, 5
	var err error
	l.Scaler, err = optim.NewScaler(device, optim.ScalerOptions{Init: 1 << 24})
	require.NoError(t, err)
	defer l.Scaler.Close()
	before := m.weights(t)
	l.On(train.StepEnd, func(context.Context, *train.Loop) error {
		if l.State.Step == 1 {
			require.Equal(t, before, m.weights(t), "the first step is left out")
		}
		return nil
	})
	require.NoError(t, l.Run(context.Background()))
	require.Equal(t, 48, l.State.Step)
	require.Greater(t, l.State.Overflows, 0)
	require.Less(t, l.State.Overflows, 20)
	require.Less(t, l.State.Loss, 0.6)
	scale, _, err := l.Scaler.State()
	require.NoError(t, err)
	require.Less(t, scale, float64(1<<24))
}
