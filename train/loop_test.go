package train_test

import (
	"context"
	"errors"
	"math"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/sugarme/gotch"

	"github.com/gonatten/gonatten/data"
	"github.com/gonatten/gonatten/internal/procmem"
	"github.com/gonatten/gonatten/internal/torch"
	"github.com/gonatten/gonatten/models"
	"github.com/gonatten/gonatten/train"
	"github.com/gonatten/gonatten/train/optim"
)

func TestLoopLearns(t *testing.T) {
	for name, precision := range map[string]gotch.DType{"float32": gotch.Float, "bfloat16": gotch.BFloat16} {
		t.Run(name, func(t *testing.T) {
			m := newLinear(t, 64, 4, 1)
			l := newLoop(t, m, loader(t, blobs(t, 256), data.LoaderOptions{BatchSize: 16, Shuffle: true, Seed: 1}))
			l.Epochs, l.ClipNorm, l.Precision = 3, 5, precision
			var moments []train.Moment
			var losses []float64
			for _, moment := range []train.Moment{train.RunStart, train.EpochStart, train.StepEnd, train.EpochEnd, train.RunEnd} {
				l.On(moment, func(_ context.Context, l *train.Loop) error {
					if moment == train.StepEnd {
						losses = append(losses, l.State.Loss)
						norm, err := torch.Scalar(l.State.GradNorm)
						require.Greater(t, norm, 0.0)
						return err
					}
					moments = append(moments, moment)
					return nil
				})
			}
			require.NoError(t, l.Run(context.Background()))
			require.Equal(t, []train.Moment{train.RunStart, train.EpochStart, train.EpochEnd, train.EpochStart, train.EpochEnd,
				train.EpochStart, train.EpochEnd, train.RunEnd}, moments)
			require.Len(t, losses, 48)
			require.Equal(t, train.State{Epoch: 3, Step: 48, Images: 768, Loss: losses[47], LR: 0.01}, l.State)
			require.Less(t, losses[47], 0.6)

			e := train.Evaluator{Model: m, Source: loader(t, blobs(t, 101), data.LoaderOptions{BatchSize: 16}), Precision: precision}
			seen := 0
			e.OnBatch = func(b *data.Batch, ranked [][]int64, losses []float64) {
				seen += len(b.Labels)
				require.Len(t, ranked, len(b.Labels))
				require.Len(t, ranked[0], 4)
				require.Len(t, losses, len(b.Labels))
			}
			result, err := e.Run(context.Background())
			require.NoError(t, err)
			require.Equal(t, []any{101, 101, 100.0, 100.0}, []any{seen, result.Images, result.Top1, result.Top5})
			require.Less(t, result.Loss, 0.5)
		})
	}
}

// What the first step computed, by hand: a linear layer whose input wants no
// gradient is two products of its size; AdamW takes 14 operations a parameter.
func TestStepCost(t *testing.T) {
	const batch, in, out = 16, 64, 4
	m := newLinear(t, in, out, 1)
	l := newLoop(t, m, loader(t, blobs(t, 64), data.LoaderOptions{BatchSize: batch}))
	l.Epochs, l.Cost = 1, new(train.StepCost)
	operations, macs := l.Cost.Of(batch, 1)
	require.Zero(t, operations+macs, "before the first step")
	require.NoError(t, l.Run(context.Background()))
	operations, macs = l.Cost.Of(batch, 1)
	require.EqualValues(t, 2*batch*in*out, macs)
	require.Greater(t, operations, 2*macs)
	twice, _ := l.Cost.Of(2*batch, 2)
	require.Equal(t, 2*operations, twice)
	update, _ := l.Cost.Of(0, 1)
	require.GreaterOrEqual(t, update, 13.0*(in*out+out))
	require.Less(t, update, 20.0*(in*out+out))

	var none *train.StepCost
	operations, macs = none.Of(1, 1)
	require.Zero(t, operations+macs)
}

// TestAccumulationEqualsALargerBatch: k batches per step move the weights as one
// k times larger batch does, also where an epoch's last step has fewer.
func TestAccumulationEqualsALargerBatch(t *testing.T) {
	run := func(batch, accumulate int) []float32 {
		m := newLinear(t, 64, 4, 1)
		l := newLoop(t, m, loader(t, blobs(t, 80), data.LoaderOptions{BatchSize: batch, Shuffle: true, Seed: 1}))
		l.Accumulate, l.Epochs, l.ClipNorm = accumulate, 2, 0.5
		require.NoError(t, l.Run(context.Background()))
		require.Equal(t, 2*l.StepsPerEpoch(), l.State.Step)
		return m.weights(t)
	}
	large, small := run(32, 1), run(8, 4)
	for i := range large {
		require.InDelta(t, large[i], small[i], 1e-6)
	}
}

func TestLoopStops(t *testing.T) {
	start := func() *train.Loop {
		return newLoop(t, newLinear(t, 64, 4, 1), loader(t, blobs(t, 256), data.LoaderOptions{BatchSize: 16}))
	}
	t.Run("context", func(t *testing.T) {
		l := start()
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		l.On(train.StepEnd, func(context.Context, *train.Loop) error {
			if l.State.Step == 5 {
				cancel()
			}
			return nil
		})
		ended := false
		l.On(train.RunEnd, func(ctx context.Context, _ *train.Loop) error {
			ended = true
			return ctx.Err() // saving is not forbidden
		})
		require.NoError(t, l.Run(ctx))
		require.True(t, ended)
		require.True(t, l.State.Interrupted)
		require.Equal(t, []int{0, 5, 5}, []int{l.State.Epoch, l.State.Batch, l.State.Step})
		l.State.Interrupted = false
		l.State.Batch = 5
		require.NoError(t, l.Run(context.Background()), "and goes on where it was")
		require.Equal(t, []int{1, 16}, []int{l.State.Epoch, l.State.Step})
	})
	t.Run("hook", func(t *testing.T) {
		l := start()
		l.On(train.StepEnd, func(_ context.Context, l *train.Loop) error {
			if l.State.Step == 3 {
				l.Stop("enough")
			}
			return nil
		})
		require.NoError(t, l.Run(context.Background()))
		require.Equal(t, "enough", l.State.StopReason)
		require.Equal(t, 3, l.State.Step)
	})
	t.Run("steps", func(t *testing.T) {
		l := start()
		l.MaxSteps, l.Epochs = 20, 5
		require.NoError(t, l.Run(context.Background()))
		require.Equal(t, []int{1, 4, 20}, []int{l.State.Epoch, l.State.Batch, l.State.Step})
	})
	t.Run("error", func(t *testing.T) {
		l := start()
		l.On(train.StepEnd, func(context.Context, *train.Loop) error { return errors.New("no room") })
		require.EqualError(t, l.Run(context.Background()), "step end: no room")
		l.Loss = nil
		require.ErrorContains(t, l.Run(context.Background()), "Loss and Schedule are needed")
	})
	t.Run("shapes", func(t *testing.T) {
		l := newLoop(t, newLinear(t, 63, 4, 1), loader(t, blobs(t, 32), data.LoaderOptions{BatchSize: 16}))
		require.ErrorContains(t, l.Run(context.Background()), "train: epoch 0, batch 0: ")
	})
}

func TestMixedTargets(t *testing.T) {
	m := newLinear(t, 64, 4, 1)
	l := newLoop(t, m, loader(t, blobs(t, 64), data.LoaderOptions{BatchSize: 16}))
	calls := 0
	l.Mix = func(b *data.Batch, epoch int) ([]float32, error) {
		calls++
		targets := make([]float32, len(b.Labels)*4)
		for i, label := range b.Labels {
			targets[i*4+int(label)] = 1
		}
		return targets, nil
	}
	l.Loss = train.SoftTarget
	require.NoError(t, l.Run(context.Background()))
	require.Equal(t, 4, calls)

	hard := newLoop(t, newLinear(t, 64, 4, 1), l.Source)
	hard.Loss = train.CrossEntropy(0)
	require.NoError(t, hard.Run(context.Background()))
	require.InDelta(t, hard.State.Loss, l.State.Loss, 1e-6, "one-hot targets are labels")
}

func TestLosses(t *testing.T) {
	s := torch.NewScope()
	defer s.Close()
	logits := s.Own(torch.FromSlice([]float32{1, -2, 0.5, 0, 3, -1}, 2, 3))
	soft := s.Own(torch.FromSlice([]float32{0.7, 0.2, 0.1, 0, 0.5, 0.5}, 2, 3))
	sigmoid := func(x float64) float64 { return 1 / (1 + math.Exp(-x)) }
	x := [][]float64{{1, -2, 0.5}, {0, 3, -1}}
	p := [][]float64{{0.7, 0.2, 0.1}, {0, 0.5, 0.5}}
	var ce, bce, bceHard float64
	for i := range x {
		total := 0.0
		for _, v := range x[i] {
			total += math.Exp(v)
		}
		for j, v := range x[i] {
			ce -= p[i][j] * (v - math.Log(total)) / 2
			bce -= (p[i][j]*math.Log(sigmoid(v)) + (1-p[i][j])*math.Log(sigmoid(-v))) / 6
			if p[i][j] > 0.2 {
				bceHard -= math.Log(sigmoid(v)) / 6
			} else {
				bceHard -= math.Log(sigmoid(-v)) / 6
			}
		}
	}
	check := func(want float64, loss train.Loss) {
		t.Helper()
		got, err := torch.Scalar(loss(s, logits, soft))
		require.NoError(t, err)
		require.InDelta(t, want, got, 1e-6)
	}
	check(ce, train.SoftTarget)
	check(bce, train.BinaryCrossEntropy(0))
	check(bceHard, train.BinaryCrossEntropy(0.21))
}

// TestMemoryIsFlat trains a tiny NAT for 2,000 steps with everything on, the
// second half with recomputation, and compares resident memory, goroutines and
// the tensors alive with those after the first 250.
func TestMemoryIsFlat(t *testing.T) {
	m := smallNAT(t, func(c *models.Config) { c.Depths, c.NumHeads, c.Dilations = []int64{1}, []int64{1}, nil })
	l := modelLoop(t, m, loader(t, blobs(t, 64), data.LoaderOptions{BatchSize: 4, Shuffle: true}))
	ema, err := optim.NewEMA(parametersOf(m), 0.99, true)
	require.NoError(t, err)
	defer ema.Close()
	l.Epochs, l.EMA, l.MaxSteps = 1000, ema, 2000
	e := train.Evaluator{Model: m, Source: l.Source}
	var resident, tensors []int64
	l.On(train.StepEnd, func(context.Context, *train.Loop) error {
		l.Recompute = l.State.Step >= 1000
		if l.State.Step%250 == 0 {
			runtime.GC()
			resident = append(resident, procmem.Resident())
			tensors = append(tensors, int64(torch.TensorsAlive()))
		}
		return nil
	})
	l.On(train.EpochEnd, func(ctx context.Context, _ *train.Loop) error {
		if l.State.Epoch%10 != 0 {
			return nil
		}
		_, err := e.Run(ctx)
		return err
	})
	goroutines := runtime.NumGoroutine()
	require.NoError(t, l.Run(context.Background()))
	require.Equal(t, 2000, l.State.Step)
	require.Len(t, tensors, 8)
	for i := range tensors {
		require.Equal(t, tensors[0], tensors[i], "tensors alive after %d steps", 250*(i+1))
		require.InDelta(t, resident[0], resident[i], 24<<20, "resident bytes after %d steps", 250*(i+1))
	}
	require.Equal(t, goroutines, runtime.NumGoroutine())
}
