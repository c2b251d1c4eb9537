package train_test

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/sugarme/gotch/ts"

	"github.com/gonatten/gonatten/data"
	"github.com/gonatten/gonatten/internal/torch"
	"github.com/gonatten/gonatten/train"
)

var opSqrt = torch.NewOp("aten::sqrt")

// A finite loss whose gradients are none: the weights are left alone.
func TestInfiniteGradientsAreSkipped(t *testing.T) {
	start := func(bad func(step int) bool) (*train.Loop, *linear) {
		m := newLinear(t, 64, 4, 1)
		l := newLoop(t, m, loader(t, blobs(t, 256), data.LoaderOptions{BatchSize: 16}))
		l.Epochs, l.ClipNorm, l.MaxSkipped = 1, 5, 2
		loss := l.Loss
		l.Loss = func(s *torch.Scope, logits, targets *ts.Tensor) *ts.Tensor {
			value := loss(s, logits, targets)
			if bad(l.State.Step) {
				value = s.Add(value, s.Op(opSqrt, s.Sum(s.MulScalar(logits, 0)))) // its slope at 0 is infinite
			}
			return value
		}
		return l, m
	}
	l, m := start(func(step int) bool { return step == 3 || step == 7 || step == 8 })
	require.NoError(t, l.Run(context.Background()))
	require.Equal(t, []int{16, 3, 0}, []int{l.State.Step, l.State.Skipped, l.State.SkippedInRow})
	for _, w := range m.weights(t) {
		require.InDelta(t, 0, w, 10, "and a number")
	}
	l, _ = start(func(step int) bool { return step >= 3 })
	require.EqualError(t, l.Run(context.Background()), "train: epoch 0, batch 5: the norm of the gradients is NaN, "+
		"for the 3rd time in a row, and at most 2 such steps are skipped")
}

// The step at hand is made up of all of its batches, whenever the signal comes.
func TestInterruptionWithinAnAccumulatedStep(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	l := newLoop(t, newLinear(t, 64, 4, 1), loader(t, blobs(t, 256), data.LoaderOptions{BatchSize: 16}))
	l.Accumulate, l.Epochs = 4, 1
	l.Mix = func(b *data.Batch, _ int) ([]float32, error) {
		if b.Number == 5 {
			cancel()
		}
		return nil, nil
	}
	require.NoError(t, l.Run(ctx))
	require.True(t, l.State.Interrupted)
	require.Equal(t, []int{8, 2}, []int{l.State.Batch, l.State.Step})
}

// A run that max_steps ends is evaluated there, wherever that is.
func TestRunIsEvaluatedWhereItEnds(t *testing.T) {
	dir := imageFolder(t, 16, 12, 4) // 4 steps an epoch
	for _, at := range []struct {
		settings string
		step     int
		partial  bool
	}{
		{"max_steps: 3\nlog_interval: 50\nrecovery_interval: 3", 3, true},
		{"max_steps: 6\nlog_interval: 4", 6, true},
		{"max_steps: 4\nepochs: 3\nval_interval: 3", 4, false},
	} {
		c := smallRun(t, dir)
		require.NoError(t, c.Read([]byte(at.settings)))
		s, err := train.Run(context.Background(), c, train.RunOptions{})
		require.NoError(t, err)
		require.Equal(t, at.step, s.Steps, at.settings)
		require.Contains(t, []int{4, at.step}, s.BestStep, at.settings)
		require.Greater(t, s.TestAccuracy, 0.0)
		rows := course(t, s.Folder)
		last, before := rows[len(rows)-1], rows[len(rows)-2]
		require.Equal(t, []any{"eval", at.step, (at.step - 1) / 4, at.partial}, []any{last.Kind, last.Step, last.Epoch, last.Partial}, at.settings)
		require.Equal(t, []any{"train", at.step, (at.step - 1) / 4}, []any{before.Kind, before.Step, before.Epoch}, "no step is left out of the record")

		// The end has a checkpoint that knows of it: going on finds nothing left.
		c.Resume = s.Folder
		again, err := train.Run(context.Background(), c, train.RunOptions{})
		require.NoError(t, err)
		require.Equal(t, s.TestAccuracy, again.TestAccuracy)
		require.Equal(t, rows, course(t, s.Folder))
	}
}

// A signal in the midst of an evaluation: the weights are those of the end, and
// going on evaluates them first.
func TestInterruptedEvaluation(t *testing.T) {
	c := smallRun(t, imageFolder(t, 16, 12, 4))
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	s, err := train.Run(ctx, c, train.RunOptions{Prepare: func(l *train.Loop) error {
		l.On(train.StepEnd, func(context.Context, *train.Loop) error {
			if l.State.Step == 4 { // the epoch's last
				cancel()
			}
			return nil
		})
		return nil
	}})
	require.NoError(t, err)
	require.True(t, s.Interrupted)
	require.Equal(t, filepath.Join(s.Folder, train.LastFile), s.Checkpoint)
	p, err := train.OpenPredictor(s.Checkpoint, train.PredictorOptions{})
	require.NoError(t, err)
	defer p.Close()
	require.Equal(t, 4, p.Card.Step)
	c.Resume = s.Folder
	s, err = train.Run(context.Background(), c, train.RunOptions{})
	require.NoError(t, err)
	kinds := ""
	for _, row := range course(t, s.Folder) {
		kinds += row.Kind[:1]
	}
	require.Equal(t, "ttette", kinds)
}

// Weights that give no number are not kept, and the run says so.
func TestRunThatLearnsNothing(t *testing.T) {
	c := smallRun(t, imageFolder(t, 16, 12, 4))
	require.NoError(t, c.Read([]byte("max_steps: 3\nexperiment: one")))
	_, err := train.Run(context.Background(), c, train.RunOptions{Prepare: func(l *train.Loop) error {
		spoiled(l, func(int) bool { return true })
		return nil
	}})
	require.ErrorContains(t, err, "nothing was learnt that could be saved: the last 3 steps gave no finite loss")
	require.NoFileExists(t, filepath.Join(c.Output, "one", train.BestFile))
	require.NoFileExists(t, filepath.Join(c.Output, "one", train.LastFile))
}

// A picture that cannot be read counts nowhere, nor does another in its place.
func TestEvaluationLeavesOutTheUnreadable(t *testing.T) {
	dir := imageFolder(t, 16, 12, 4)
	c := smallRun(t, dir)
	require.NoError(t, c.Read([]byte("max_bad_samples: 2")))
	whole, err := train.Run(context.Background(), c, train.RunOptions{})
	require.NoError(t, err)
	p, err := train.OpenPredictor(whole.Checkpoint, train.PredictorOptions{})
	require.NoError(t, err)
	defer p.Close()
	measure := func() *train.Evaluation {
		pictures, err := p.OpenData(context.Background(), c, nil)
		require.NoError(t, err)
		bad := 0
		e, err := p.EvaluateOn(context.Background(), c, pictures, train.EvaluateOptions{OnBad: func(*data.SampleError) { bad++ }})
		require.NoError(t, err)
		require.Equal(t, bad, e.Unreadable)
		return e
	}
	before := measure()
	require.Equal(t, []int{12, 0}, []int{before.Images, before.Unreadable})
	broken := filepath.Join(dir, "val", "blue", "0.png")
	picture, err := os.ReadFile(broken)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(broken, picture[:50], 0o600))
	after := measure()
	require.Equal(t, []int{11, 1}, []int{after.Images, after.Unreadable})
	require.InDelta(t, before.Loss*12, after.Loss*11, 12, "one loss less")
	require.NotEqual(t, before.Loss, after.Loss)
}

// A head of more classes than the data has is one for these data.
func TestInitialCheckpointWithMoreClassesKeepsItsHead(t *testing.T) {
	c := smallRun(t, imageFolder(t, 16, 12, 4))
	require.NoError(t, c.Read([]byte("num_classes: 7\nmax_steps: 1")))
	first, err := train.Run(context.Background(), c, train.RunOptions{})
	require.NoError(t, err)
	c.InitialCheckpoint = first.Checkpoint
	var log bytes.Buffer
	_, err = train.Run(context.Background(), c, train.RunOptions{Log: slog.New(slog.NewTextHandler(&log, nil))})
	require.NoError(t, err)
	require.Contains(t, log.String(), "initial checkpoint")
	require.NotContains(t, log.String(), "head.weight")
}

// The recipe's twenty epochs of warm-up are all of a run of three.
func TestWarmUpWithoutEndIsTold(t *testing.T) {
	c := smallRun(t, imageFolder(t, 16, 12, 4))
	require.NoError(t, c.Read([]byte("warmup_epochs: 20\nmax_steps: 1")))
	var log bytes.Buffer
	_, err := train.Run(context.Background(), c, train.RunOptions{Log: slog.New(slog.NewTextHandler(&log, nil))})
	require.NoError(t, err)
	require.Contains(t, log.String(), "never leaves its warm-up")
}
